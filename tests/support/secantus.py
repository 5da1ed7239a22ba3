"""SecantusDB, mended where it departs from MongoDB: `python -m tests.support.secantus --port …`.

A server of the tests' own process tree that speaks MongoDB's protocol; the application never
imports it. In two places it does other than mongod's manual says, and the official Django backend
counts on the manual:

- `{"$project": {"a": {"b": 1}}}` must mean `{"a.b": 1}`; here it would make a constant of `a`;
- `{"$addFields": {"a": {"b": …}}}` must set `a.b`; here it would replace all of `a`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from secantus import aggregate, cli


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


def main() -> int:
    aggregate._project_one = with_flat_fields(aggregate._project_one)
    aggregate._add_fields_one = with_flat_fields(aggregate._add_fields_one)
    return int(cli.main())


if __name__ == "__main__":
    sys.exit(main())
