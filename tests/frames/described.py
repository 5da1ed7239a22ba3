"""docs/asyncapi.yaml as a measure: whether a frame is one that it describes."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.support.environment import ROOT

PATH = Path(ROOT, "docs/asyncapi.yaml")
REQUEST_PREFIX = "request."
# Frames of clients may carry what nobody knows; those of the server have what is described.
OPEN = {"Request", "ConversationRequest"}


@functools.cache
def description() -> dict[str, Any]:
    """The description as it is written."""
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text())
    return loaded


def messages(*, reserved: bool = False) -> dict[str, Any]:
    """The messages by their keys; with `reserved` also those for answers that stream."""
    every = description()["components"]["messages"]
    return {key: one for key, one in every.items() if reserved or not one.get("x-reserved")}


def check(frame: dict[str, Any], *, from_client: bool = False) -> None:
    """Fail unless the frame is described; one of the server down to its last field."""
    keys = [
        key
        for key, message in messages().items()
        if message["name"] == frame["type"] and key.startswith(REQUEST_PREFIX) == from_client
    ]
    assert keys, f"{frame['type']} is not in {PATH.name}"
    fitting = [key for key in keys if required(key) <= frame.keys()]
    assert fitting, f"it lacks fields: {str(frame)[:500]}"
    # Of the answers that fit, the one that tells the most.
    best = max(fitting, key=lambda key: len(required(key)))
    errors = [
        f"{best}{error.json_path[1:]}: {error.message[:300]}"
        for error in validator(best).iter_errors(frame)
    ]
    assert not errors, f"{errors}: {str(frame)[:500]}"


def required(key: str) -> set[str]:
    return set(messages(reserved=True)[key]["payload"].get("required", ()))


@functools.cache
def validator(key: str) -> jsonschema.Draft7Validator:
    """For the payload of the message `key`."""
    return jsonschema.Draft7Validator(
        {"$ref": f"#/components/messages/{key}/payload", "components": _closed_components()}
    )


@functools.cache
def _closed_components() -> dict[str, Any]:
    components: dict[str, Any] = copy.deepcopy(description()["components"])
    for key, message in components["messages"].items():
        if not key.startswith(REQUEST_PREFIX):
            _close(message["payload"])
    for name, schema in components["schemas"].items():
        if name not in OPEN:
            _close(schema)
    return components


def _close(schema: Any) -> None:
    """Let no object of `schema` have more fields than are described."""
    if isinstance(schema, list):
        for item in schema:
            _close(item)
    elif isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for name, item in schema.items():
            if name != "additionalProperties":
                _close(item)
