"""`make run` as a newcomer uses it, on the run's store: in a checkout whose path has a space."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker
from websockets.sync.client import connect as websocket_connect

from tests.support.checkout import MakeRun, copy_checkout, oldest_and_newest_python
from tests.support.database import Database
from tests.support.environment import clean_environment
from tests.support.stores import kind_of_the_run

Run = Callable[..., MakeRun]

CHOSEN = "chosen by hand"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("source") / "a b")


@pytest.fixture
def make_run(source: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Run]:
    """`make_run(PORT="…")`: not started yet; killed after the test. Each test has new data: by
    default in the checkout's own SQLite, or an empty database of the run's store."""
    runs: list[MakeRun] = []
    where: dict[str, str] = {}
    if kind_of_the_run() != "sqlite":
        where = Database.empty(tmp_path, django_db_blocker).environment

    def make(**environment: str) -> MakeRun:
        default = {} if "DATABASE_URL" in environment else where
        runs.append(MakeRun(source, **(default | environment)))
        return runs[-1]

    yield make
    for run in runs:
        run.kill()
    MakeRun(source).reset()


def printed_password(run: MakeRun) -> str:
    return run.wait_for_line(r"shown only this once: (\S+)").group(1)


def token_works(run: MakeRun, token: str) -> bool:
    """Whether a REST call and a WebSocket both take the token."""
    bearer = {"Authorization": f"Bearer {token}"}
    if httpx.get(f"{run.url}/api/conversations", headers=bearer).status_code != 200:
        return False
    address = f"ws://127.0.0.1:{run.port}/ws/"
    with websocket_connect(address, additional_headers=bearer, proxy=None) as socket:
        return '"welcome"' in str(socket.recv(timeout=10))


def test_make_run_serves_and_prints_addresses_and_a_password_that_works(make_run: Run) -> None:
    run = make_run()
    run.start()
    for address in (f"{run.url}/", f"{run.url}/admin/", f"{run.url}/api/docs"):
        assert address in run.logs()
        assert httpx.get(address, follow_redirects=True).status_code == 200
    for username in ("alice", "bob", "staff"):
        assert run.access_token(username, printed_password(run))


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

    assert token_works(run, pair["access"])
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
    password = printed_password(run)
    token = run.access_token("alice", password)
    assert token
    run.terminate()
    mark = run.log_mark()
    run.start()
    assert token_works(run, token)
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
def test_a_port_in_use_is_refused_before_anything_is_changed(make_run: Run, source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = make_run(PORT=str(port)).fails()
    assert f"Cannot listen on 127.0.0.1, port {port}: Address already in use" in said
    assert "PORT=8001" in said
    assert "Traceback" not in said
    assert not (source / "var").exists()


@pytest.mark.storeless
@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"PORT": "80000"}, "PORT is '80000'"),
        ({"HOST": "no such host"}, "Cannot listen on no such host"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
        ({"DATABASE_URL": "oracle://user@host/name"}, "DATABASE_URL has the scheme 'oracle'"),
        ({"DATABASE_URL": "postgres://[half/name"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://host:port/name"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:////no/such/folder/db.sqlite3"}, "is not a folder"),
        ({"DATABASE_URL": "postgres://u:secret@127.0.0.1:1/name"}, "cannot be used"),
        ({"OVARA_IDLE_TIMEOUT": "5"}, "Did you mean OVARA_IDLE_TIMEOUT_SECONDS?"),
        ({"OVARA_FRAME_BURST": "many"}, "OVARA_FRAME_BURST is 'many'"),
        ({"DEBUG": "off"}, "SECRET_KEY is not set"),
        ({"DEBUG": "off", "SECRET_KEY": "x" * 50}, "Demo accounts are for development"),
    ],
)
def test_a_wrong_setting_is_refused_in_plain_words(
    make_run: Run, environment: dict[str, str], complaint: str
) -> None:
    said = make_run(**environment).fails()
    assert complaint in said
    assert "Traceback" not in said
    assert "secret" not in said


@pytest.mark.storeless
def test_demo_accounts_are_refused_when_debug_is_off() -> None:
    with pytest.raises(CommandError, match="set DEBUG=1"):
        call_command("demo")


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
    assert first.access_token("alice", printed_password(first))
    assert first.access_token("alice", printed_password(second)) is None


@pytest.mark.storeless
def test_make_test_runs_from_a_folder_with_a_space_again_and_again(source: Path) -> None:
    environment = clean_environment(VENV=sys.prefix, PYTHON="", WORKERS="2")
    for _ in range(2):
        done = subprocess.run(
            ["make", "test", "ARGS=tests/frontend/test_pages.py -p no:cacheprovider"],
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # Two workers, the tests of one file; before them, those of the browser library under Node.
        assert re.search(r"2 workers .*", done.stdout), done.stdout
        assert re.search(r"\d+ passed", done.stdout), done.stdout


if os.environ.get("CI"):
    # Installing takes the network and half a minute for each Python.
    @pytest.mark.storeless
    @pytest.mark.parametrize("python", oldest_and_newest_python())
    def test_make_run_installs_and_serves_under_the_oldest_and_the_newest_python(
        make_run: Run, tmp_path: Path, python: str
    ) -> None:
        run = make_run(VENV=str(tmp_path / "a venv"), PYTHON=python)
        run.start(timeout=170)
        token = run.access_token("alice", printed_password(run))
        assert token
        assert token_works(run, token)
