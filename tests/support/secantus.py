"""SecantusDB, mended where it departs from MongoDB: `python -m tests.support.secantus --port …`.

A server of the tests' own process tree that speaks MongoDB's protocol; the application never
imports it. In two places it does other than mongod's manual says, and the official Django backend
counts on the manual:

- `{"$project": {"a": {"b": 1}}}` must mean `{"a.b": 1}`; here it would make a constant of `a`;
- `{"$addFields": {"a": {"b": …}}}` must set `a.b`; here it would replace all of `a`.

It also refuses `fsync` with `lock: true`, by which tests hold the writers up. Sent to `admin` it
locks all databases, as mongod's does; to another, that one alone: others of the run go on.

And two things for speed, which change no answer:

- nothing waits for the disk (`j: true`): what tests store need not outlive the machine;
- replies to writes that a driver may repeat are kept for the last few hundred of them. Of thousands
  it would look at each one, twice, at every write.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from secantus import aggregate, cli, commands, transactions

# A driver repeats a write at once, if at all.
REPLIES_KEPT = 200


def flat(spec: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a stage, with nested ones as dotted paths."""
    for name, value in spec.items():
        is_nested = isinstance(value, Mapping) and value and not next(iter(value)).startswith("$")
        if is_nested:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def with_flat_fields(stage: Any) -> Any:
    def mended(document: Any, spec: Any, variables: Any) -> Any:
        return stage(document, dict(flat(spec)), variables)

    return mended


class WriteLocks:
    """The databases that take no writes now."""

    WRITES = ("insert", "update", "delete", "findAndModify", "findandmodify")

    def __init__(self) -> None:
        self._locked: set[str] = set()
        self._changed = threading.Condition()

    def install(self, handlers: dict[str, Callable[..., Any]]) -> None:
        """Let those that write wait, and add the two commands."""
        for name in self.WRITES:
            handlers[name] = self._patient(handlers[name])
        handlers |= {"fsync": self._lock, "fsyncUnlock": self._unlock}

    def _patient(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def write(command: Any, context: Any) -> Any:
            with self._changed:
                self._changed.wait_for(lambda: not {"admin", context.db_name} & self._locked)
            return handler(command, context)

        return write

    def _lock(self, command: Any, context: Any) -> Any:
        assert command.get("lock") is True
        with self._changed:
            self._locked.add(context.db_name)
        return {"ok": 1.0}

    def _unlock(self, command: Any, context: Any) -> Any:
        with self._changed:
            self._locked.discard(context.db_name)
            self._changed.notify_all()
        return {"ok": 1.0}


def main() -> int:
    aggregate._project_one = with_flat_fields(aggregate._project_one)
    aggregate._add_fields_one = with_flat_fields(aggregate._add_fields_one)
    WriteLocks().install(commands._HANDLERS)
    commands._wants_journal = lambda document: False
    transactions._RETRYABLE_RECORD_MAX = REPLIES_KEPT
    return int(cli.main())


if __name__ == "__main__":
    sys.exit(main())
