"""The OVARA settings: one typed, validated, documented table, read once from the environment.

Every field is `OVARA_<FIELD NAME>` in the environment. `docs/operations.md` lists them all; a test
compares that page with this table.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django import conf
from django.core.exceptions import ImproperlyConfigured

PREFIX = "OVARA_"

# Names that begin like ours but are read elsewhere.
OTHER_NAMES = frozenset({"OVARA_DEMO_PASSWORD", "OVARA_TEST_MONGODB_URI"})

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def _setting(default: Any, unit: str, *, above: float | None = None, at_least: float = 0) -> Any:
    """A field: its default, its unit for people, and the smallest value that makes sense."""
    return field(default=default, metadata={"unit": unit, "above": above, "at_least": at_least})


def _secret(unit: str) -> Any:
    """A text that is not shown where the settings are, as on Django's pages of errors."""
    return field(default="", repr=False, metadata={"unit": unit, "above": None, "at_least": 0})


@dataclass(frozen=True, slots=True)
class OvaraSettings:
    """All of Ovara's own settings. Durations are seconds unless the name says otherwise."""

    heartbeat_interval_seconds: float = _setting(25.0, "seconds", above=0)
    idle_timeout_seconds: float = _setting(75.0, "seconds", above=0)
    auth_timeout_seconds: float = _setting(10.0, "seconds", above=0)
    cleanup_interval_seconds: float = _setting(60.0, "seconds", above=0)
    cleanup_inactive_minutes: float = _setting(0.0, "minutes; 0 is off")
    connection_retention_days: float = _setting(7.0, "days")
    session_ttl_days: float = _setting(30.0, "days", above=0)
    node_heartbeat_seconds: float = _setting(2.0, "seconds", above=0)
    node_lapse_seconds: float = _setting(10.0, "seconds", above=0)
    presence_grace_seconds: float = _setting(5.0, "seconds")
    max_connections_per_client: int = _setting(10, "connections", at_least=1)
    max_connections_per_user: int = _setting(50, "connections", at_least=1)
    max_connections_per_address: int = _setting(200, "connections", at_least=1)
    max_connections_per_node: int = _setting(50_000, "connections", at_least=1)
    max_conversations_per_connection: int = _setting(200, "conversations", at_least=1)
    handshakes_per_second: float = _setting(50.0, "a second and address", above=0)
    handshake_burst: int = _setting(200, "handshakes", at_least=1)
    logins_per_minute: int = _setting(30, "a minute, by address and by account", at_least=1)
    max_frame_bytes: int = _setting(524_288, "bytes", at_least=1)
    frames_per_second: float = _setting(20.0, "frames a second and connection", above=0)
    frame_burst: int = _setting(40, "frames", at_least=1)
    outbox_max_bytes: int = _setting(1_048_576, "bytes", at_least=1)
    reconnect_min_delay_seconds: float = _setting(0.5, "seconds")
    reconnect_max_delay_seconds: float = _setting(20.0, "seconds", above=0)
    access_token_lifetime_seconds: float = _setting(900.0, "seconds", above=0)
    refresh_token_lifetime_days: float = _setting(7.0, "days", above=0)
    jwt_signing_key: str = _secret("text; empty: `SECRET_KEY`")
    allowed_origins: tuple[str, ...] = _setting((), "origins, comma-separated")
    allow_query_token: bool = _setting(False, "on or off")
    metrics_token: str = _secret("text; empty: staff only")

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            _check_range(spec, getattr(self, spec.name))
        self._check_pairs()

    def _check_pairs(self) -> None:
        smaller_first = (
            ("heartbeat_interval_seconds", "idle_timeout_seconds"),
            ("node_heartbeat_seconds", "node_lapse_seconds"),
            ("reconnect_min_delay_seconds", "reconnect_max_delay_seconds"),
        )
        for low, high in smaller_first:
            if getattr(self, low) >= getattr(self, high):
                raise ImproperlyConfigured(
                    f"{PREFIX}{low.upper()} ({getattr(self, low):g}) must be below "
                    f"{PREFIX}{high.upper()} ({getattr(self, high):g})."
                )
        for origin in self.allowed_origins:
            if "://" not in origin:
                raise ImproperlyConfigured(
                    f"OVARA_ALLOWED_ORIGINS has {origin!r}: write an origin with its scheme, "
                    "such as https://app.example.com."
                )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> OvaraSettings:
        """Read `OVARA_*` from `environment`.

        Raises:
            ImproperlyConfigured: an unknown name, or a value of the wrong kind or range; the
                message names the variable.
        """
        specs = {PREFIX + spec.name.upper(): spec for spec in dataclasses.fields(cls)}
        _refuse_unknown(environment, specs.keys() | OTHER_NAMES)
        values = {
            spec.name: _parse(name, environment[name], spec.default)
            for name, spec in specs.items()
            if name in environment
        }
        return cls(**values)


def _refuse_unknown(environment: Mapping[str, str], known: set[str] | frozenset[str]) -> None:
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ImproperlyConfigured(
                f"Unknown setting {name} in the environment.{hint} "
                "docs/operations.md lists every setting."
            )


def _parse(name: str, text: str, default: Any) -> Any:
    """Turn the text of one variable into the type of its default."""
    if isinstance(default, bool):
        if text.strip().lower() in _TRUE | _FALSE:
            return text.strip().lower() in _TRUE
        raise ImproperlyConfigured(f"{name} is {text!r}: write on or off.")
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        return text
    kind = type(default)
    try:
        return kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise ImproperlyConfigured(f"{name} is {text!r}: it must be {noun}.") from None


def _check_range(spec: dataclasses.Field[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    name, above, at_least = PREFIX + spec.name.upper(), spec.metadata["above"], None
    if above is None:
        at_least = spec.metadata["at_least"]
    # `not >` rather than `<=`, so that NaN is refused too.
    if above is not None and not value > above:
        raise ImproperlyConfigured(f"{name} is {value:g}: it must be above {above:g}.")
    if at_least is not None and not value >= at_least:
        raise ImproperlyConfigured(f"{name} is {value:g}: it must be at least {at_least:g}.")
    if value == float("inf"):
        raise ImproperlyConfigured(f"{name} must be a finite number.")


def ovara_settings() -> OvaraSettings:
    """The settings in force (`django.conf.settings.OVARA`, so that tests can override them)."""
    # By the module: Django's settings are still to be made when they import this one.
    settings: OvaraSettings = conf.settings.OVARA
    return settings
