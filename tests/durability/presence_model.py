"""Who is in which conversation, as a list of tabs and their seats: what presence shall be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sessions_app.records import UserRef

Place = tuple[str, str]  # conversation id, user id


@dataclass
class Seat:
    """A tab in a conversation: open, in its grace, or past it."""

    is_away: bool
    ended: bool = False
    past: bool = False

    def end(self, *, past: bool = False) -> None:
        self.past = self.past or (past and not self.ended)
        self.ended = True


@dataclass(eq=False)
class Tab:
    """A connection. `seats`: conversation id → what it is there."""

    id: str
    client_id: str
    user: UserRef
    node_id: str
    is_away: bool = False
    is_open: bool = True
    seats: dict[str, Seat] = field(default_factory=dict)


class Model:
    """Everybody's tabs, those that are gone included; what each method does is one job's effect."""

    def __init__(self) -> None:
        self.tabs: list[Tab] = []

    def seats(self, place: Place | None = None) -> list[Seat]:
        return [
            seat
            for tab in self.tabs
            for talk, seat in tab.seats.items()
            if place in (None, (talk, tab.user.id))
        ]

    def present(self) -> dict[Place, str]:
        """The state of everybody who is present."""
        seats: dict[Place, list[Seat]] = {}
        for tab in self.tabs:
            for talk, seat in tab.seats.items():
                seats.setdefault((talk, tab.user.id), []).append(seat)
        return {
            place: "away" if all(seat.is_away for seat in some) else "active"
            for place, some in seats.items()
        }

    def join(self, joins: Iterable[tuple[Tab, str]]) -> None:
        some = list(joins)
        for tab, talk in some:
            # Whoever comes back in time keeps their seats warm.
            before = self.seats((talk, tab.user.id))
            if all(seat.ended for seat in before):
                for seat in before:
                    seat.past = False
        for tab, talk in some:
            if talk not in tab.seats or tab.seats[talk].ended:
                tab.seats[talk] = Seat(tab.is_away)

    def leave(self, tab: Tab, talk: str) -> None:
        if talk in tab.seats:
            tab.seats[talk].end()

    def look(self, tab: Tab) -> None:
        """The tab is hidden or shown, as `is_away` says."""
        for seat in tab.seats.values():
            seat.is_away = seat.is_away if seat.ended else tab.is_away

    def close(self, tab: Tab) -> None:
        tab.is_open = False
        for seat in tab.seats.values():
            seat.end()

    def end(self, tab: Tab) -> None:
        """Its node is dead, or was taken for it: nobody waits for it any more."""
        for seat in tab.seats.values():
            seat.end(past=True)

    def expel(self, user: UserRef, talk: str) -> None:
        for tab in self.tabs:
            if tab.user == user:
                tab.seats.pop(talk, None)

    def pass_time(self) -> None:
        """Every grace ends."""
        for seat in self.seats():
            seat.past = seat.ended

    def settle(self) -> None:
        for tab in self.tabs:
            tab.seats = {talk: seat for talk, seat in tab.seats.items() if not seat.past}
