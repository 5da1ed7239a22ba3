"""Who has left for good, in portions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connections.manager import WebSocketManager
from connections.models import Subscription
from connections.registry import presence, registry
from connections.registry.presence import Settle
from ovara.database import in_thread
from ovara.times import now
from tests.support.in_process import add, make_conversation, make_person, until


async def test_a_mass_departure_is_settled_portion_by_portion(
    manager: WebSocketManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SETTLED_AT_ONCE", 2)
    manager.node._timetable.stop()
    people = [await make_person() for _ in range(5)]
    talk = await make_conversation(*people)
    ids = [(await add(manager, person, None, talk))[0] for person in people]
    for connection_id in ids:
        await manager.remove_connection(connection_id)
    open_rows = Subscription.objects.filter(left_at=None)
    await until(lambda: in_thread(lambda: not open_rows.exists()))
    long_ago = now() - timedelta(hours=1)
    await in_thread(lambda: Subscription.objects.update(left_at=long_ago))
    portions = [await registry.commit(Settle()) for _ in range(4)]
    assert [len(changes) for changes in portions] == [2, 2, 1, 0]
    left = {change.user.id for changes in portions for change in changes}
    assert left == {person.id for person in people}
    assert not await in_thread(Subscription.objects.exists)
