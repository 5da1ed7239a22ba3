"""The Python API that docs/protocol.md promises, call by call, against the manager's signatures."""

from __future__ import annotations

import ast
import inspect

import pytest

from connections.manager import WebSocketManager
from tests.docs.snippets import snippets

pytestmark = pytest.mark.storeless


def documented_calls() -> dict[str, ast.Call]:
    """method → the call as the page writes it."""
    (code,) = [found.text for found in snippets("docs/protocol.md") if found.language == "python"]
    tree = ast.parse(code.replace(", …}", "}").replace("=…", "=...").replace('"…"', "'x'"))
    return {
        node.func.attr: node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def test_every_call_of_the_page_is_a_coroutine_that_takes_these_arguments() -> None:
    calls = documented_calls()
    assert len(calls) >= 13
    for name, call in calls.items():
        method = getattr(WebSocketManager, name)
        assert inspect.iscoroutinefunction(method), name
        keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        bound = inspect.signature(method).bind(None, *call.args, **keywords)
        # Positional arguments bear the same names on both sides.
        for value, parameter in zip(call.args, list(bound.arguments)[1:], strict=False):
            if isinstance(value, ast.Name):
                assert value.id == parameter, name


def test_the_defaults_of_the_page_are_the_managers() -> None:
    calls = documented_calls()
    for name, argument in (
        ("post_message", "role"),
        ("post_message", "sender"),
        ("disconnect", "code"),
        ("cleanup_inactive_connections", "max_inactive_minutes"),
    ):
        (value,) = [one.value for one in calls[name].keywords if one.arg == argument]
        default = inspect.signature(getattr(WebSocketManager, name)).parameters[argument].default
        assert ast.literal_eval(value) == default, (name, argument)
