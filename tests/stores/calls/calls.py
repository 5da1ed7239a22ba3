"""What the calls have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.test import Client as Browser

from ovara.accounts.models import User
from ovara.accounts.tokens import AccessToken
from sessions_app.models import Participant
from sessions_app.records import UserRef
from tests.support.crowd import Crowd

Call = Callable[[Crowd], Any]


class Calls(dict[str, Call]):
    """Calls by their names; a decorator."""

    def __call__(self, call: Call) -> Call:
        self[call.__name__] = call
        return call


def ref(user: User) -> UserRef:
    return UserRef(str(user.pk), user.username)


def rest(user: User, path: str, **query: Any) -> Any:
    """What REST answers to the user."""
    answer = Browser().get(path, query, HTTP_AUTHORIZATION=f"Bearer {AccessToken.for_user(user)}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def good(results: Sequence[Any]) -> Sequence[Any]:
    """The results of a batch, none of them an error."""
    assert not [one for one in results if isinstance(one, Exception)], results
    return results


def of_alice(crowd: Crowd, count: int) -> list[str]:
    """Conversations that she has a part in."""
    ids = Participant.objects.filter(user=crowd.alice).values_list("conversation_id", flat=True)
    return [str(pk) for pk in ids.order_by("pk")[:count]]
