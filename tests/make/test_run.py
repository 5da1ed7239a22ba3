"""`make run` as a newcomer uses it, on the run's store: in a checkout whose path has a space."""

from __future__ import annotations

import re
import signal
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.make.conftest import Run
from tests.support.checkout import MakeRun

CHOSEN = "chosen by hand"


def test_make_run_serves_and_prints_addresses_and_a_password_that_works(make_run: Run) -> None:
    run = make_run()
    run.start()
    for address in (f"{run.url}/", f"{run.url}/admin/", f"{run.url}/api/docs"):
        assert address in run.logs()
        assert httpx.get(address, follow_redirects=True).status_code == 200
    for username in ("alice", "bob", "staff"):
        assert run.access_token(username, run.printed_password())


def sign_in(run: MakeRun, username: str, address: str) -> httpx.Client:
    """A browser that has signed in on a page."""
    browser = httpx.Client(base_url=run.url, follow_redirects=True, timeout=15)
    browser.get(address)
    form = {
        "username": username,
        "password": CHOSEN,
        "csrfmiddlewaretoken": browser.cookies["csrftoken"],
    }
    answer = browser.post(address, data=form, headers={"Referer": run.url})
    assert answer.status_code == 200, answer.text
    return browser


def test_everything_works_in_the_database_that_make_run_has_prepared(make_run: Run) -> None:
    run = make_run(OVARA_DEMO_PASSWORD=CHOSEN)
    run.start()
    credentials = {"username": "alice", "password": CHOSEN}
    pair = httpx.post(f"{run.url}/api/token/", json=credentials).json()
    bearer = {"Authorization": f"Bearer {pair['access']}"}
    [talk] = httpx.get(f"{run.url}/api/conversations", headers=bearer).json()["results"]
    messages = f"{run.url}/api/conversations/{talk['id']}/messages"
    stored = httpx.post(messages, headers=bearer, json={"content": "hello"})
    assert (stored.status_code, stored.json()["sequence"]) == (201, 1)
    assert httpx.get(messages, headers=bearer).json()["messages"] == [stored.json()]

    assert run.takes(pair["access"])
    revoked = httpx.post(f"{run.url}/api/token/blacklist/", json={"refresh": pair["refresh"]})
    assert revoked.status_code == 200
    assert httpx.get(messages, headers=bearer).status_code == 401

    with closing(sign_in(run, "alice", "/login/")) as browser:
        assert browser.get("/").url.path == "/"
        assert browser.get("/admin/").url.path == "/admin/login/"
    with closing(sign_in(run, "staff", "/admin/login/")) as browser:
        assert talk["title"] in browser.get("/admin/sessions_app/conversation/").text
        assert browser.get("/admin/connections/connection/").status_code == 200

    cleaned = run.manage("cleanup", "--max-inactive-minutes", "30")
    assert cleaned.returncode == 0, cleaned.stderr
    assert "Connections inactive for 30 minutes, closed: 0" in cleaned.stdout


@pytest.mark.storeless
def test_alice_and_bob_share_one_conversation_after_two_runs(make_run: Run) -> None:
    run = make_run(OVARA_DEMO_PASSWORD=CHOSEN)
    run.start()
    run.terminate()
    run.start()
    token = run.access_token("bob", CHOSEN)
    answer = httpx.get(f"{run.url}/api/conversations", headers={"Authorization": f"Bearer {token}"})
    [conversation] = answer.json()["results"]
    people = {participant["user"]["username"] for participant in conversation["participants"]}
    assert people == {"alice", "bob"}


def test_a_second_run_keeps_accounts_tokens_and_passwords_and_says_how_to_reset(
    make_run: Run,
) -> None:
    run = make_run()
    run.start()
    password = run.printed_password()
    token = run.access_token("alice", password)
    assert token
    run.terminate()
    mark = run.log_mark()
    run.start()
    assert run.takes(token)
    assert run.access_token("alice", password)
    run.wait_for_line("make reset", since=mark)
    assert len(re.findall("shown only this once", run.logs())) == 1


@pytest.mark.storeless
def test_a_given_password_is_set_anew_on_every_run(make_run: Run) -> None:
    for password in ("the first one", "the second one"):
        run = make_run(OVARA_DEMO_PASSWORD=password)
        run.start()
        assert run.access_token("alice", password)
        assert password not in run.logs()
        run.terminate()
    run.start()
    assert run.access_token("staff", "the first one") is None


@pytest.mark.storeless
@pytest.mark.parametrize("end", ["SIGTERM", "Ctrl-C"])
def test_the_server_ends_cleanly_with_make(make_run: Run, end: str) -> None:
    run = make_run()
    run.start()
    mark = run.log_mark()
    code = run.terminate() if end == "SIGTERM" else run.interrupt()
    # make itself ends as the signal has it, once the server has.
    assert code in {0, 2, -signal.SIGTERM, -signal.SIGINT}
    assert "Traceback" not in "\n".join(run.logs().splitlines()[mark:])
    with pytest.raises(httpx.ConnectError):
        httpx.get(run.url)


@pytest.mark.storeless
def test_two_can_run_side_by_side(make_run: Run, tmp_path: Path) -> None:
    first = make_run()
    second = make_run(DATABASE_URL=f"sqlite:///{tmp_path}/second.sqlite3")
    first.start()
    second.start()
    assert first.access_token("alice", first.printed_password())
    assert first.access_token("alice", second.printed_password()) is None
