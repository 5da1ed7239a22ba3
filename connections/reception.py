"""The handshake: who is let in, the `welcome`, and the words of a refusal."""

from __future__ import annotations

import functools
import ipaddress
import logging
from typing import Any

from connections import metrics, protocol
from connections.auth import Credentials, Scope, header
from connections.close_codes import CloseCode, should_reconnect
from connections.errors import Disconnect
from connections.hub import ConnectionInfo
from connections.limits import AddressBuckets
from connections.models import USER_AGENT_MAX_LENGTH
from connections.outbox import Socket
from connections.registry.gate import Admitted
from ovara.conf import ovara_settings
from ovara.logs import fields
from ovara.times import wire

log = logging.getLogger("connections")

BACKOFF_FACTOR = 2
BACKOFF_JITTER = 0.5
# Whoever comes once comes again; and many come from behind one address.
ADDRESSES_REMEMBERED = 1_000


@functools.cache
def _handshakes() -> AddressBuckets:
    settings = ovara_settings()
    return AddressBuckets(settings.handshakes_per_second, settings.handshake_burst)


def check_handshake(address: str | None, credentials: Credentials) -> None:
    """Refuse what can be refused without the database.

    Raises:
        Disconnect: too many handshakes of this address, a malformed id, a bad token.
    """
    wait = _handshakes().take(address) if address else 0.0
    if wait:
        raise Disconnect(CloseCode.FLOOD, "too many handshakes", retry_after=max(wait, 1.0))
    if credentials.malformed is not None:
        raise Disconnect(CloseCode.PROTOCOL, f"{credentials.malformed} is not a UUID")
    if credentials.problem is not None:
        raise Disconnect(CloseCode.UNAUTHENTICATED, credentials.problem)


def address_of(scope: Scope) -> str | None:
    """The peer's IP address, in the one form that limits and the database know.

    None behind a Unix socket, and where a proxy's header brought something else.
    """
    client = scope.get("client")
    return _address(client[0]) if client else None


@functools.lru_cache(ADDRESSES_REMEMBERED)
def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def user_agent_of(scope: Scope) -> str:
    """What the client calls itself: no longer than its column, and without control characters."""
    words = (header(scope, b"user-agent") or "")[:USER_AGENT_MAX_LENGTH]
    return words if words.isprintable() else "".join(filter(str.isprintable, words))


async def refuse(socket: Socket, connection: ConnectionInfo, refusal: Disconnect) -> None:
    """Say why in a `disconnect` frame, the only one of this connection, and close."""
    metrics.FRAMES_SENT.counts["disconnect"] += 1
    metrics.REFUSED_HANDSHAKES.labels(str(refusal.code.value)).inc()
    log.info(
        fields(
            "refused",
            connection=connection.connection_id,
            address=connection.ip_address,
            code=refusal.code.value,
            reason=refusal.reason,
        )
    )
    code = refusal.code.value
    await socket.send_text(
        protocol.disconnect_frame(code, refusal.reason, should_reconnect(code), refusal.retry_after)
    )
    await socket.close(code, refusal.reason)


def welcome(node_id: str, connection: ConnectionInfo, admitted: Admitted | None) -> str:
    """The first frame of an accepted connection; `admitted` is None where the token is to come."""
    settings = ovara_settings()
    token = connection.token
    frame: dict[str, Any] = {
        "type": "welcome",
        "protocol": protocol.PROTOCOL_VERSION,
        "connection_id": connection.connection_id,
        "client_id": connection.client_id,
        "client_connections": admitted.client_connections if admitted else None,
        "node": node_id,
        "authenticated": connection.authenticated,
        "user": connection.user,
        "session": admitted.session if admitted else None,
        "token_expires_at": wire(token.expires_at) if token else None,
        "heartbeat_interval": settings.heartbeat_interval_seconds,
        "idle_timeout": settings.idle_timeout_seconds,
        "reconnect": {
            "min_delay": settings.reconnect_min_delay_seconds,
            "max_delay": settings.reconnect_max_delay_seconds,
            "factor": BACKOFF_FACTOR,
            "jitter": BACKOFF_JITTER,
        },
        "limits": {
            "max_frame_bytes": settings.max_frame_bytes,
            "frames_per_second": settings.frames_per_second,
            "burst": settings.frame_burst,
        },
    }
    return protocol.encode(frame)
