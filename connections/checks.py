"""System checks: every wrong set-up that a person can make, and the sentence that mends it.

`manage.py check` runs them, and so do `runserver` and `migrate`. W001 asks the database, so it
comes with `migrate` and `check --database default`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from channels.exceptions import InvalidChannelLayerError
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, connection
from rest_framework_simplejwt import settings as simplejwt

from connections.bus import is_shared
from connections.registry.liveness import live_nodes
from ovara.accounts.tokens import AccessToken
from ovara.conf import OvaraSettings, ovara_settings
from ovara.database_checks import connection_problem

# All that a node receives goes through one channel; a smaller one overflows in a busy second.
LEAST_CAPACITY = 1000
# HS256 is as strong as its key up to here (RFC 7518, 3.2).
LEAST_KEY_BYTES = 32
# The ways to name the app whose `runserver` serves WebSockets.
DAPHNE = frozenset({"daphne", "daphne.apps.DaphneConfig", "ovara.apps.DaphneConfig"})
# Fewer heartbeats within the lapse, and one that is late makes others take a node for dead.
LEAST_BEATS = 2


def register_all() -> None:
    """Called once, when the apps are ready."""
    for check in (check_project, check_channel_layer, check_tokens, check_settings):
        register(check)
    register(check_nodes, Tags.database)
    register(check_deployment, deploy=True)


def check_project(**_: Any) -> Iterable[CheckMessage]:
    """E001, E002: the settings of Django that WebSockets need."""
    if not getattr(settings, "ASGI_APPLICATION", None):
        yield Error(
            "ASGI_APPLICATION is not set, so `runserver` serves no WebSockets.",
            hint='Set ASGI_APPLICATION = "ovara.asgi.application".',
            id="connections.E001",
        )
    if settings.INSTALLED_APPS[0] not in DAPHNE:
        yield Error(
            "daphne is not the first of INSTALLED_APPS, so another app's `runserver` may be used, "
            "which serves no WebSockets.",
            hint='Put "daphne" or "ovara.apps.DaphneConfig" first.',
            id="connections.E002",
        )


def check_channel_layer(**_: Any) -> Iterable[CheckMessage]:
    """E003, W002, W003: what joins the nodes."""
    try:
        layer = get_channel_layer()
    except (InvalidChannelLayerError, ImportError) as error:
        layer, reason = None, str(error)
    else:
        reason = 'CHANNEL_LAYERS has no "default".'
    if layer is None:
        yield Error(
            f"There is no channel layer. {reason}",
            hint="Leave CHANNEL_LAYERS as it is made from REDIS_URL.",
            id="connections.E003",
        )
    elif isinstance(layer, InMemoryChannelLayer) and layer.capacity < LEAST_CAPACITY:
        yield Warning(
            f"The channel layer keeps {layer.capacity} messages and drops the rest in silence.",
            hint=f'Set "capacity" in its CONFIG, to {LEAST_CAPACITY} or more.',
            id="connections.W003",
        )
    elif is_shared() and connection.vendor == "sqlite":
        yield Warning(
            "REDIS_URL joins several processes, but the database is SQLite: only processes of one "
            "machine can share it, and they wait for each other to write.",
            hint="For several machines use PostgreSQL (DATABASE_URL=postgres://user:password@host:5432/"
            "name) or MongoDB (MONGODB_URI).",
            id="connections.W002",
        )


def check_tokens(**_: Any) -> Iterable[CheckMessage]:
    """E005, W005: tokens that can be revoked, and can't be forged."""
    if list(simplejwt.api_settings.AUTH_TOKEN_CLASSES) != [AccessToken]:
        yield Error(
            "REST takes tokens of other classes than Ovara's, which nobody can revoke.",
            hint='Set SIMPLE_JWT["AUTH_TOKEN_CLASSES"] = ("ovara.accounts.tokens.AccessToken",).',
            id="connections.E005",
        )
    if len(str(simplejwt.api_settings.SIGNING_KEY).encode()) < LEAST_KEY_BYTES:
        yield Warning(
            f"The key that signs tokens is shorter than {LEAST_KEY_BYTES} bytes.",
            hint="Set OVARA_JWT_SIGNING_KEY, or SECRET_KEY, to a long random text.",
            id="connections.W005",
        )


def check_settings(**_: Any) -> Iterable[CheckMessage]:
    """E004, W006: Ovara's own settings, where they are not refused outright."""
    if not isinstance(getattr(settings, "OVARA", None), OvaraSettings):
        yield Error(
            "The setting OVARA is missing.",
            hint="Set OVARA = OvaraSettings.from_environment(os.environ).",
            id="connections.E004",
        )
        return
    beat, lapse = ovara_settings().node_heartbeat_seconds, ovara_settings().node_lapse_seconds
    if lapse < LEAST_BEATS * beat:
        yield Warning(
            f"OVARA_NODE_LAPSE_SECONDS ({lapse:g}) is less than {LEAST_BEATS} times "
            f"OVARA_NODE_HEARTBEAT_SECONDS ({beat:g}): one late heartbeat, and a node is taken for "
            "dead.",
            hint="Raise the one, or lower the other.",
            id="connections.W006",
        )


def check_nodes(databases: Sequence[str] | None = None, **_: Any) -> Iterable[CheckMessage]:
    """W001: servers that run, and can't reach each other."""
    if "default" not in (databases or ()) or is_shared() or connection_problem():
        return
    try:
        count = live_nodes().count()
    except DatabaseError:
        # Before the first `migrate` there are no nodes.
        return
    if count > 1:
        yield Warning(
            f"{count} servers run on this database, and can't reach each other's connections: "
            "their channel layers are in memory.",
            hint="Set REDIS_URL for all of them, or run one.",
            id="connections.W001",
        )


def check_deployment(**_: Any) -> Iterable[CheckMessage]:
    """W004: what is fit for development alone; `manage.py check --deploy`."""
    if ovara_settings().allow_query_token:
        yield Warning(
            "OVARA_ALLOW_QUERY_TOKEN is on: tokens in addresses end up in the logs of proxies.",
            hint="Bring the token as a subprotocol or a header, and switch it off.",
            id="connections.W004",
        )
