"""What the tests of the manager share: it runs in the test's process, on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connections.manager import WebSocketManager
from tests.support.in_process import running_manager


@pytest.fixture
async def manager(transactional_db: None) -> AsyncIterator[WebSocketManager]:
    """The process's manager; its node runs in the test's loop."""
    async with running_manager() as manager:
        yield manager
