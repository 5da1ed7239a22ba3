"""Logs: one line an event, `key=value` fields behind the event's name, never a token or content."""

from __future__ import annotations

import logging
import re
from typing import Any

# A JWT is three base64url parts with dots; its header begins with {" which encodes to eyJ.
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
_QUERY_TOKEN = re.compile(r"(?<=[?&]token=)[^&\s\"']+")
REDACTED = "[redacted]"


def redact(text: str) -> str:
    """`text` without any token in it."""
    return _QUERY_TOKEN.sub(REDACTED, _JWT.sub(REDACTED, text))


def install_redaction() -> None:
    """Take tokens out of every record of every logger, the ASGI server's own included."""
    if getattr(logging.getLogRecordFactory(), "redacts", False):
        return
    make_record = logging.getLogRecordFactory()

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if isinstance(record.msg, str):
            record.msg = redact(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in record.args)
        return record

    make_redacted.redacts = True  # type: ignore[attr-defined]  # a mark on our own function
    logging.setLogRecordFactory(make_redacted)


def redact_daphne() -> None:
    """Daphne writes its access log past `logging`, with the query of plain HTTP requests."""
    from daphne.access import AccessLogGenerator

    write_entry = AccessLogGenerator.write_entry
    if getattr(write_entry, "redacts", False):
        return

    def write_redacted(self: Any, *args: Any, request: str, **kwargs: Any) -> None:
        write_entry(self, *args, request=redact(request), **kwargs)

    write_redacted.redacts = True  # type: ignore[attr-defined]  # a mark on our own function
    AccessLogGenerator.write_entry = write_redacted


class RedactingFormatter(logging.Formatter):
    """Takes tokens out of the whole line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def fields(event: str, **values: Any) -> str:
    """`event key=value key="two words"`; absent values are left out.

    >>> fields("connected", connection="c1", reason="going away", code=None)
    'connected connection=c1 reason="going away"'
    """
    parts = [event]
    for key, value in values.items():
        if value is None:
            continue
        text = _printable(str(value))
        parts.append(
            f'{key}="{text}"' if not text or " " in text or '"' in text else f"{key}={text}"
        )
    return " ".join(parts)


def _printable(text: str) -> str:
    """`text` as one line without anything that a terminal would obey."""
    if not text.isprintable():
        text = "".join(one if one.isprintable() else " " for one in text)
    return text.replace('"', "'")


def logging_config(*, level: str) -> dict[str, Any]:
    """The `LOGGING` setting: everything to standard error, redacted."""
    install_redaction()
    redact_daphne()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "ovara.logs.RedactingFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django.server": {"handlers": ["console"], "level": level, "propagate": False},
            # It warns of statements that a unique constraint refused: how races are lost.
            "psycopg": {"level": "ERROR"},
            "psycopg.pool": {"level": "WARNING"},
        },
    }
