"""The database fails under a running server: nothing is promised that is not stored, everybody
stays connected, and service returns by itself."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ServerWith
from tests.durability.scene import (
    ANSWER_SECONDS,
    SETTINGS,
    Scene,
    is_healthy,
    running,
    server_in,
)
from tests.support.database import Database
from tests.support.rest import rest_client

# Faults of a file and its file system; those of servers are in tests/stores.
pytestmark = pytest.mark.stores("sqlite")

# Of the small file system that is filled up.
DISK_BYTES = 6 * 1024 * 1024


@pytest.fixture
async def scene(server_with: ServerWith) -> AsyncIterator[Scene]:
    async with Scene.on(server_with(**SETTINGS)) as scene:
        yield scene


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Another process, as far as SQLite is concerned, writes and does not come to an end."""
    other = sqlite3.connect(database.path, isolation_level=None)
    with contextlib.closing(other):
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


async def test_a_locked_database_is_said_in_time_and_all_is_well_when_it_is_free(
    scene: Scene,
) -> None:
    await scene.say("before")
    carol = await scene.connect(2)
    outside = await scene.connect(2)
    await carol.join(scene.conversation_id)
    again = uuid.uuid4().hex
    with locked(scene.server.database):
        refused = await scene.say("is it stored?", client_message_id=again)
        assert (refused["type"], refused["code"]) == ("error", "overloaded")
        assert await scene.failing_part() == ["database"]
        assert await is_healthy(scene.server)
        await carol.close()
        # Nobody can come in; what is stored can be read, also by who is not in.
        for one in (scene.alice, outside):
            page = await one.request({"type": "history", "conversation_id": scene.conversation_id})
            assert [message["content"] for message in page["messages"]] == ["before"]
        # Who is in already, and joins again in vain, misses nothing of what comes meanwhile.
        join = {"type": "join", "id": "again", "conversation_id": scene.conversation_id}
        await scene.bob.send(join)
        await scene.bob.barrier()
        await scene.ask("typing", is_typing=True)
        refused = await scene.bob.expect("error", id="again", timeout=ANSWER_SECONDS)
        assert refused["code"] == "overloaded"
        await scene.bob.expect("typing", is_typing=True)
    answer = await scene.say("is it stored?", client_message_id=again)
    assert answer["type"] == "ack" and "duplicate" not in answer
    await scene.check_that_it_serves()
    await scene.check_that_carol_left()
    assert "overloaded" not in {frame.get("code") for frame in outside.received}
    await outside.join(scene.conversation_id)
    await outside.close()


async def test_readers_go_on_while_many_wait_to_write_to_a_locked_database(scene: Scene) -> None:
    """Read positions and states do not hold up those who only read."""
    await scene.say("before")
    writes = [
        {"type": "read", "conversation_id": scene.conversation_id, "sequence": 1},
        *({"type": "state", "state": {"number": number}} for number in range(2)),
    ]
    others = [scene.bob, *[await scene.connect(1) for _ in range(3)]]
    with locked(scene.server.database):
        waiting = [
            asyncio.ensure_future(client.request(frame, timeout=ANSWER_SECONDS))
            for client in others
            for frame in writes
        ]
        async with asyncio.timeout(2):
            for _ in range(5):
                assert (await scene.ask("history"))["messages"][0]["content"] == "before"
            async with rest_client(scene.server, scene.people[0]) as rest:
                for path in ("/api/conversations", "/api/sessions"):
                    assert (await rest.get(path)).status_code == 200
        assert not any(future.done() for future in waiting), "they had no need to wait"
        answers = await asyncio.gather(*waiting)
        assert {answer.get("code") for answer in answers} == {"overloaded"}
        # These come while it is still locked, and wait for it.
        again = [
            asyncio.ensure_future(scene.bob.request(frame, timeout=ANSWER_SECONDS))
            for frame in writes
        ]
        await scene.bob.barrier()
    assert {answer["type"] for answer in await asyncio.gather(*again)} == {"ack"}
    page = await scene.alice.expect("read", sequence=1)
    assert page["user"] == scene.people[1].as_json
    async with rest_client(scene.server, scene.people[1]) as rest:
        (found,) = (await rest.get("/api/conversations")).json()["results"]
        assert found["unread"] == 0
        sessions = (await rest.get("/api/sessions")).json()["results"]
    assert {"number": 1} in [session["state"] for session in sessions]
    for client in others[1:]:
        await client.close()
    await scene.check_that_it_serves()


async def test_a_short_lock_is_waited_for(scene: Scene) -> None:
    with locked(scene.server.database):
        await scene.alice.send(
            {
                "type": "message",
                "id": "patient",
                "conversation_id": scene.conversation_id,
                "content": "hello",
                "client_message_id": "patient",
            }
        )
        await scene.alice.barrier()
    ack = await scene.alice.expect("ack", id="patient")
    scene.promised["patient"] = ack["message"]
    await scene.check_that_it_serves()


async def test_a_database_that_is_gone_is_said_and_all_is_well_when_it_is_back(
    database_template: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    with running(server_in(folder, database_template, tmp_path)) as server:
        async with Scene.on(server) as scene:
            # A volume with all of it, then the file alone: its write-ahead log stays behind.
            for path in (folder, folder / "db.sqlite3"):
                await scene.say("before")
                path.rename(tmp_path / "away")
                assert (await scene.say("lost?"))["code"] == "overloaded"
                assert (await scene.ask("history"))["code"] == "overloaded"
                await scene.until_ready(is_ready=False)
                assert await is_healthy(server)
                assert not path.exists(), "an empty database was made in its place"
                (tmp_path / "away").rename(path)
                await scene.check_that_it_serves()


async def test_a_disk_that_is_full_is_said_and_all_is_well_when_there_is_room(
    database_template: Database, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path) as folder,
        running(server_in(folder, database_template, tmp_path)) as server,
    ):
        async with Scene.on(server) as scene:
            await fails_when_full(scene, lambda: fill(folder / "filler"))
            (folder / "filler").unlink()
            await scene.check_that_it_serves()


async def test_an_error_of_the_disk_is_said_and_all_is_well_when_it_is_mended(
    scene: Scene,
) -> None:
    """Where nothing can be mounted: a limit to the size of files does as well."""
    limits = resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE)
    log = Path(f"{scene.server.database.path}-wal")

    def no_file_may_grow() -> None:
        resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, limits[1]))

    await fails_when_full(scene, no_file_may_grow)
    resource.prlimit(scene.server.pid, resource.RLIMIT_FSIZE, limits)
    await scene.check_that_it_serves()


async def fails_when_full(scene: Scene, fill: Callable[[], None]) -> None:
    """The write-ahead log may have some room left; sooner or later it has to grow."""
    await scene.say("before")
    fill()
    for _ in range(300):
        answer = await scene.say("." * 30_000)
        if answer["type"] == "error":
            break
    assert answer.get("code") == "overloaded", answer
    await scene.until_ready(is_ready=False)
    assert (await scene.ask("history"))["type"] == "ack"
    assert await is_healthy(scene.server)


@contextlib.contextmanager
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `DISK_BYTES`; skips the test where we may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Leave no room in `path`'s file system."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (65_536, 512):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
