"""The calls that a large database must not make slow, as the program makes them.

Each is a function of the crowd, and runs inside a transaction that is taken back.
"""

from __future__ import annotations

from tests.stores.calls import admin, messages, reading, registry, sweeping
from tests.stores.calls.calls import Call

HOT: dict[str, Call] = {**reading.CALLS, **messages.CALLS, **registry.CALLS}
SWEEPS: dict[str, Call] = dict(sweeping.CALLS)
ADMIN: dict[str, Call] = dict(admin.CALLS)
