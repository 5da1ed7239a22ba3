"""`make run` with what it cannot use: refused in plain words, before anything is changed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.make.conftest import Run

pytestmark = pytest.mark.storeless


def test_a_port_in_use_is_refused_before_anything_is_changed(make_run: Run, source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = make_run(PORT=str(port)).fails()
    assert f"Cannot listen on 127.0.0.1, port {port}: Address already in use" in said
    assert "PORT=8001" in said
    assert "Traceback" not in said
    assert not (source / "var").exists()


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


def test_demo_accounts_are_refused_when_debug_is_off() -> None:
    with pytest.raises(CommandError, match="set DEBUG=1"):
        call_command("demo")
