"""The ASGI application: Django for HTTP, Ovara's consumer for WebSockets, the node around both."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ovara.settings")
django_application = get_asgi_application()

# Only now: these need the apps to be loaded.
from connections.lifespan import NodeApplication  # noqa: E402
from connections.routing import websocket_application  # noqa: E402

application = NodeApplication(
    ProtocolTypeRouter({"http": django_application, "websocket": websocket_application})
)
