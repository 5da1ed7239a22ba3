"""Errors that a caller can cause, each with the stable code that REST and frames carry."""

from __future__ import annotations


class OvaraError(Exception):
    """Something the caller should know. `str(error)` says what to do and repeats no id."""

    code = "internal"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        fields: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.fields = fields or {}


class Invalid(OvaraError):
    """A malformed request, a wrong field; `fields` names them for REST."""

    code = "invalid"
    status = 400


class TooLarge(OvaraError):
    """`content`, `metadata` or `state` over its size."""

    code = "too_large"
    status = 400


class Unauthenticated(OvaraError):
    """No valid token."""

    code = "unauthenticated"
    status = 401


class Forbidden(OvaraError):
    """Known to the caller, but not theirs to do."""

    code = "forbidden"
    status = 403


class NotFound(OvaraError):
    """Not there, or none of the caller's business: the same answer for both."""

    code = "not_found"
    status = 404

    def __init__(
        self, message: str = "There is no such conversation, or you have no part in it."
    ) -> None:
        super().__init__(message)


class NotJoined(OvaraError):
    """This connection has not joined the conversation."""

    code = "not_joined"
    status = 409

    def __init__(self, message: str = "Join the conversation first.") -> None:
        super().__init__(message)


class RateLimited(OvaraError):
    """Too many in too short a time; `retry_after` is in seconds."""

    code = "rate_limited"
    status = 429


class Overloaded(OvaraError):
    """Nothing was stored; trying again later is right."""

    code = "overloaded"
    status = 503
