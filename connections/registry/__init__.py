"""Connections, subscriptions and nodes in the database, written in batches.

A job says what shall be written; the writer thread takes all that wait and writes them in one
transaction, kind by kind in the order of a connection's life: a connection is opened before it
joins, and joins before it closes. Jobs of one connection that must keep another order are awaited;
only the leave that takes back a failed join is not, and the next join may come right behind it.

On MongoDB there is no transaction, and each kind stands for itself
(docs/adr/0030-writes-without-transactions.md).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import IntegrityError

from connections.registry import activity, closing, gate, opening, presence, requests
from connections.registry.liveness import live_counts
from ovara.group_commit import GroupCommit
from ovara.transactions import atomically, batches_roll_back
from ovara.turns import in_turn
from ovara.write_health import write_health

T = TypeVar("T")
Handler = Callable[[Sequence[Any]], Sequence[Any]]

HANDLERS: dict[type, Handler] = {
    opening.Open: opening.write_opens,
    opening.Authenticate: opening.write_authentications,
    opening.Renew: opening.write_renewals,
    opening.Confirm: opening.write_confirmations,
    presence.Unsubscribe: presence.write_unsubscribes,
    # Who was taken out and brought in again may have joined again in the same batch.
    presence.Expel: presence.write_expulsions,
    presence.Subscribe: presence.write_subscribes,
    presence.SetAway: presence.write_aways,
    closing.Close: closing.write_closes,
    activity.Beat: activity.write_beats,
    requests.RequestClose: requests.write_requests,
    presence.Settle: presence.write_settlements,
}


# How often a batch may find that another node was faster before it fails.
LOOKS = 5
# What these write depends on what others have written: limits, who is first or last in a
# conversation, and whether all tabs of somebody are away. Of two nodes that decide at the same
# time, one must see the other.
DECIDING = (
    opening.Open,
    opening.Authenticate,
    presence.Subscribe,
    presence.SetAway,
    presence.Settle,
)


def write_batch(jobs: Sequence[Any]) -> list[Any]:
    """Write `jobs` in one transaction; for each its result or its own error, in order."""
    if batches_roll_back():
        isolated = any(isinstance(job, DECIDING) for job in jobs)
        write = functools.partial(_write, jobs, _just_once)
        results = look_again(lambda: atomically(write, isolated=isolated))
    else:
        # What a kind has written stays: the others must not write again because of one.
        results = _write(jobs, look_again)
    _tell_in_order(jobs, results)
    return results


def _write(
    jobs: Sequence[Any], attempt: Callable[[Callable[[], Sequence[Any]]], Sequence[Any]]
) -> list[Any]:
    results: list[Any] = [None] * len(jobs)
    places_of: dict[type, list[int]] = defaultdict(list)
    for place, job in enumerate(jobs):
        places_of[type(job)].append(place)
    for kind, handler in HANDLERS.items():
        if places := places_of.get(kind):
            written = attempt(functools.partial(handler, [jobs[place] for place in places]))
            for place, result in zip(places, written, strict=True):
                results[place] = result
    _count_again(jobs, results)
    return results


def _just_once(write: Callable[[], T]) -> T:
    return write()


def look_again(write: Callable[[], T]) -> T:
    """Call `write`, which looks what is there before it inserts; again, where another node was
    faster: a client's tabs come to two nodes at the same moment."""
    for _ in range(LOOKS - 1):
        with contextlib.suppress(IntegrityError):
            return write()
    return write()


def _count_again(jobs: Sequence[Any], results: list[Any]) -> None:
    """A client's tabs that came were counted before those that went in the same batch."""
    left = {job.client_id for job in jobs if type(job) is closing.Close}
    came = [
        place
        for place, result in enumerate(results)
        if isinstance(result, gate.Admitted) and result.client_id in left
    ]
    counts = live_counts("client_id", {results[place].client_id for place in came})
    for place in came:
        count = counts[results[place].client_id]
        results[place] = dataclasses.replace(results[place], client_connections=count)


def _tell_in_order(jobs: Sequence[Any], results: list[Any]) -> None:
    """Callers tell what they get in the order of their jobs; what happened to one user in one
    conversation has to be told in the order in which it was written."""
    kinds = list(HANDLERS)
    written = sorted(
        (kinds.index(type(job)), place)
        for place, job in enumerate(jobs)
        if type(job) in presence.TELLING and isinstance(results[place], list)
    )
    told: dict[presence.Place, list[tuple[int, presence.PresenceChange]]] = defaultdict(list)
    for _, place in written:
        for change in results[place]:
            told[change.conversation_id, change.user.id].append((place, change))
    for changes in told.values():
        places = [place for place, _ in changes]
        if places != sorted(places):
            for place, change in changes:
                results[place] = [one for one in results[place] if one is not change]
            results[min(places)] += [change for _, change in changes]


registry: GroupCommit[Any, Any] = GroupCommit("registry", in_turn(write_batch), health=write_health)
