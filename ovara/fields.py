"""Serializer fields as the protocol counts and writes its values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ovara.times import wire

MAX_INTEGER = 2**53 - 1


class TextField(serializers.CharField):
    """Text as it is: no number becomes text, no space is taken away."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": False} | kwargs)

    def to_internal_value(self, data: Any) -> str:
        """`data`, if it is text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class SequenceField(serializers.IntegerField):
    """A message's place in its conversation, or 0 for before the first."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": MAX_INTEGER} | kwargs)


class TimeField(serializers.DateTimeField):
    """RFC 3339, UTC, milliseconds, `Z`."""

    def to_representation(self, value: datetime) -> str:
        """The text on the wire."""
        return wire(value)


@extend_schema_field(OpenApiTypes.OBJECT)
class ObjectField(serializers.JSONField):
    """A JSON object; whoever stores it checks its size and depth."""

    default_error_messages = {"not_an_object": "Write a JSON object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """`data`, if it is an object."""
        if not isinstance(data, dict):
            self.fail("not_an_object")
        return data
