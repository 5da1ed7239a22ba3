"""An SQLite file that turns read-only under a running server, as if its volume was mounted anew."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.durability.scene import (
    Scene,
    is_healthy,
    running,
    server_in,
    set_writable,
    without_the_right_to_ignore_permissions,
)
from tests.support.database import Database
from tests.support.server import ServerProcess

pytestmark = pytest.mark.stores("sqlite")


@pytest.fixture
def volume_server(database_template: Database, tmp_path: Path) -> ServerProcess:
    """Not started yet; its database is alone in the folder `volume`."""
    (tmp_path / "volume").mkdir()
    server = server_in(tmp_path / "volume", database_template, tmp_path)
    server.command = [*without_the_right_to_ignore_permissions(), *server.command]
    return server


async def test_a_file_that_comes_back_read_only_is_read_and_service_returns_by_itself(
    volume_server: ServerProcess, tmp_path: Path
) -> None:
    volume, away = tmp_path / "volume", tmp_path / "away"
    again = uuid.uuid4().hex
    with running(volume_server) as server:
        async with Scene.on(server) as scene:
            await scene.say("before")
            volume.rename(away)
            assert (await scene.say("gone?"))["code"] == "overloaded"
            set_writable(away, False)
            mark = server.log_mark()
            away.rename(volume)
            for _ in range(3):
                refused = await scene.say("is it stored?", client_message_id=again)
                assert (refused["type"], refused["code"]) == ("error", "overloaded")
                assert "Nothing was stored; try again." in refused["message"]
            assert (await scene.ask("read", sequence=1))["code"] == "overloaded"
            page = await scene.ask("history")
            assert [message["content"] for message in page["messages"]] == ["before"]
            await scene.until_ready(is_ready=False)
            assert await is_healthy(server)
            assert "internal" not in "\n".join(server.logs().splitlines()[mark:])
            set_writable(volume, True)
            answer = await scene.say("is it stored?", client_message_id=again)
            assert answer["type"] == "ack" and "duplicate" not in answer
            await scene.check_that_it_serves()


async def test_where_the_permissions_change_under_an_open_file_what_is_acknowledged_is_stored(
    volume_server: ServerProcess, tmp_path: Path
) -> None:
    """Whoever has it open may go on; nothing is promised that is not kept."""
    with running(volume_server) as server:
        async with Scene.on(server) as scene:
            await scene.say("before")
            set_writable(tmp_path / "volume", False)
            for number in range(5):
                answer = await scene.say(f"meanwhile {number}")
                assert answer["type"] == "ack" or answer["code"] == "overloaded", answer
            set_writable(tmp_path / "volume", True)
            await scene.check_that_it_serves()


async def test_a_server_whose_database_may_only_be_read_serves_as_soon_as_it_may_write(
    volume_server: ServerProcess, tmp_path: Path
) -> None:
    set_writable(tmp_path / "volume", False)
    with running(volume_server) as server:
        assert await is_healthy(server)
        refused = await Scene.refused(server)
        assert (refused["code"], refused["reconnect"]) == (4413, True)
        set_writable(tmp_path / "volume", True)
        async with Scene.on(server) as scene:
            await scene.say("before")
            await scene.check_that_it_serves()
