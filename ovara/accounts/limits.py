"""How many sign-ins an address and an account may try in a minute."""

from __future__ import annotations

import hashlib
import logging
from time import time

from django.core.cache import cache
from redis.exceptions import RedisError

from ovara.conf import ovara_settings
from ovara.errors import Overloaded, RateLimited

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60


def login_attempt_count(*, address: str | None, username: str) -> None:
    """Count one attempt, before the password is looked at.

    An address over its limit no longer counts against accounts, so that it can't lock them out.

    Args:
        address: the peer's; None where there is no request.

    Raises:
        RateLimited: too many from this address, or for this account.
        Overloaded: the counters are out of reach; letting everybody try would be no limit.
    """
    try:
        if address:
            _count("address", address)
        _count("account", username)
    except RedisError as error:
        log.warning("sign-ins can't be counted: %s", error)
        raise Overloaded("Signing in is not possible right now: try again in a minute.") from error


def _count(kind: str, name: str) -> None:
    window, elapsed = divmod(time(), WINDOW_SECONDS)
    # Hashed: names of accounts are of any length and any characters, keys of a cache are not.
    digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()
    key = f"ovara-logins-{kind}-{int(window)}-{digest}"
    # Longer than the window, so that a counter can't end between the two calls.
    cache.add(key, 0, timeout=2 * WINDOW_SECONDS)
    if cache.incr(key) > ovara_settings().logins_per_minute:
        seconds = int(WINDOW_SECONDS - elapsed) + 1
        raise RateLimited(
            f"Too many sign-ins: try again in {seconds} seconds.", retry_after=seconds
        )
