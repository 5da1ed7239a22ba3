"""The addresses of WebSockets."""

from __future__ import annotations

from channels.routing import URLRouter
from django.urls import path, re_path

from connections.auth import JWTAuthMiddleware, OriginMiddleware
from connections.consumers import NoSuchSocket, OvaraConsumer

websocket_application = OriginMiddleware(
    JWTAuthMiddleware(
        URLRouter([path("ws/", OvaraConsumer.as_asgi()), re_path(r"", NoSuchSocket.as_asgi())])
    )
)
