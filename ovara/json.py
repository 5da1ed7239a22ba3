"""JSON as it went into the database."""

from __future__ import annotations

import json
from typing import Any

# What every client's numbers hold.
MAX_INTEGER = 2**53 - 1


class Decoder(json.JSONDecoder):
    """For PostgreSQL, which keeps 1e300 as an integer of 301 digits: integers of that size are not
    let in (sessions_app/validation.py), so it was a float."""

    def __init__(self, **options: Any) -> None:
        super().__init__(parse_int=_number, **options)


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if -MAX_INTEGER <= number <= MAX_INTEGER else float(number)
