"""The pages as they come from the server, before any script of theirs runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from frontend.content_security_policy import page_policy
from ovara.accounts.models import User

STATIC = Path(__file__).parents[2] / "frontend/static/frontend"
PASSWORD = "a password for tests"


class Page(HTMLParser):
    """What a test asks about a page: tags with their attributes, ids, inline code."""

    def __init__(self, answer: HttpResponse) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._inside = ""
        self.feed(answer.content.decode())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"} and data.strip():
            self.inline.append(data)

    def of(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", password=PASSWORD)


@pytest.fixture
def signed_in(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def pages(client: Client, alice: User) -> dict[str, HttpResponse]:
    """Every page, the sign-in page before and after a mistake."""
    nobody = Client()
    answers = {
        "sign in": nobody.get("/login/"),
        "mistaken": nobody.post("/login/", {"username": "<alice>", "password": "wrong"}),
        "chat": client.get("/"),
    }
    assert {answer.status_code for answer in answers.values()} == {200}
    return answers


class TestPolicy:
    def test_every_answer_of_a_page_has_it_redirects_and_refusals_included(
        self, signed_in: Client, alice: User
    ) -> None:
        answers = [
            *pages(signed_in, alice).values(),
            Client().get("/"),
            signed_in.get("/login/"),
            signed_in.get("/logout/"),
            signed_in.post("/logout/"),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 302, 302, 405, 302]
        for answer in answers:
            assert answer["Content-Security-Policy"] == page_policy("testserver")

    def test_it_allows_files_of_ours_and_the_socket_alone(self) -> None:
        directives = dict(
            directive.split(" ", 1) for directive in page_policy("chat.example:8000").split("; ")
        )
        assert directives.pop("connect-src") == (
            "'self' ws://chat.example:8000 wss://chat.example:8000"
        )
        assert directives.pop("img-src") == "'self' data:"
        assert set(directives.values()) == {"'self'", "'none'"}
        assert directives["default-src"] == directives["frame-ancestors"] == "'none'"
        assert directives["script-src"] == "'self'"

    def test_pages_keep_to_it_with_no_inline_code_and_only_addresses_of_ours(
        self, signed_in: Client, alice: User
    ) -> None:
        for name, answer in pages(signed_in, alice).items():
            page = Page(answer)
            assert page.inline == [], name
            for tag, attributes in page.tags:
                assert not {key for key in attributes if key.startswith("on")}, (tag, name)
                assert "style" not in attributes, (tag, name)
                for key in ("src", "href", "action"):
                    assert re.match(r"[/#](?!/)|$", attributes.get(key) or ""), (tag, name)


class TestSignIn:
    def test_who_is_signed_out_is_led_to_it_and_back(self, client: Client, alice: User) -> None:
        answer = client.get("/?from=mail")
        assert answer.headers["Location"] == "/login/?next=/%3Ffrom%3Dmail"
        body = {"username": "alice", "password": PASSWORD, "next": "/?from=mail"}
        assert client.post("/login/", body).headers["Location"] == "/?from=mail"

    def test_it_leads_to_no_other_site(self, client: Client, alice: User) -> None:
        body = {"username": "alice", "password": PASSWORD, "next": "https://evil.example/"}
        assert client.post("/login/", body).headers["Location"] == "/"

    def test_who_is_signed_in_already_goes_to_the_chat(self, signed_in: Client) -> None:
        assert signed_in.get("/login/").headers["Location"] == "/"

    def test_a_mistake_keeps_the_name_as_text_and_never_the_password(
        self, client: Client, db: None
    ) -> None:
        body = {"username": '"><script>1</script>', "password": "a secret of mine"}
        answer = client.post("/login/", body)
        page = Page(answer)
        fields = {attributes.get("name"): attributes for attributes in page.of("input")}
        assert fields["username"]["value"] == body["username"]
        assert "value" not in fields["password"]
        assert "a secret of mine" not in answer.content.decode()
        assert list(page.of("script")) == []

    def test_too_many_attempts_are_told_on_the_page_itself(
        self, client: Client, db: None, settings: Settings
    ) -> None:
        settings.OVARA = dataclasses.replace(settings.OVARA, logins_per_minute=1)
        for _ in range(2):  # Once more, if a minute ends meanwhile.
            client.post("/login/", {"username": "alice", "password": "wrong"})
            answer = client.post("/login/", {"username": "alice", "password": "wrong"})
            if answer.status_code != 200:
                break
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        page = Page(answer)
        assert any(tag.get("role") == "alert" for tag in page.of("p"))
        fields = {attributes.get("name"): attributes for attributes in page.of("input")}
        assert fields["username"]["value"] == "alice"

    def test_the_form_needs_the_csrf_token(self, alice: User) -> None:
        strict = Client(enforce_csrf_checks=True)
        body = {"username": "alice", "password": PASSWORD}
        assert strict.post("/login/", body).status_code == 403
        strict.get("/login/")
        body["csrfmiddlewaretoken"] = strict.cookies["csrftoken"].value
        assert strict.post("/login/", body).status_code == 302

    def test_the_session_cookie_is_not_for_scripts(self, client: Client, alice: User) -> None:
        client.post("/login/", {"username": "alice", "password": PASSWORD})
        assert client.cookies["sessionid"]["httponly"] is True
        assert client.cookies["sessionid"]["samesite"] == "Lax"

    def test_signing_out_takes_a_post_and_leads_to_the_sign_in_page(
        self, signed_in: Client
    ) -> None:
        assert signed_in.get("/logout/").status_code == 405
        assert signed_in.get("/").status_code == 200
        assert signed_in.post("/logout/").headers["Location"] == "/login/"
        assert signed_in.get("/").status_code == 302


class TestChatPage:
    def test_it_tells_its_scripts_who_is_signed_in_and_is_kept_by_no_cache(
        self, signed_in: Client, alice: User
    ) -> None:
        answer = signed_in.get("/")
        (body,) = Page(answer).of("body")
        assert body["data-user-id"] == str(alice.pk)
        assert body["data-username"] == "alice"
        assert "no-store" in answer.headers["Cache-Control"]
        assert "csrftoken" in answer.cookies

    def test_it_has_every_element_that_the_scripts_ask_for_once(self, signed_in: Client) -> None:
        ids = Page(signed_in.get("/")).ids()
        assert len(ids) == len(set(ids))
        asked: set[str] = set()
        for script in (STATIC / "chat").glob("*.js"):
            asked |= set(re.findall(r'byId\("([^"]+)"\)', script.read_text()))
        assert len(asked) > 20
        assert asked <= set(ids)

    def test_every_file_it_names_and_every_module_they_import_is_there(
        self, signed_in: Client
    ) -> None:
        page = Page(signed_in.get("/"))
        addresses = [str(tag["src"]) for tag in page.of("script")]
        addresses += [str(tag["href"]) for tag in page.of("link")]
        for address in addresses:
            assert (STATIC.parent / address.removeprefix("/static/")).is_file(), address
        modules = [*(STATIC / "chat").glob("*.js"), *(STATIC / "ovara").glob("*.js")]
        assert len(modules) > 30
        for module in modules:
            for name in re.findall(r'(?m)^(?!\s*[/*]).*from "([^"]+)"', module.read_text()):
                assert (module.parent / name).resolve().is_file(), f"{module.name} imports {name}"


def test_the_icon_is_where_browsers_look_for_it() -> None:
    answer = Client().get("/favicon.ico")
    assert (answer.status_code, answer["Location"]) == (302, "/static/frontend/icon.svg")
