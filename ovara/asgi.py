"""The ASGI application: Django for HTTP, Ovara's consumer for WebSockets, the node around both."""

from __future__ import annotations

import os
import sys

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

# What uvicorn's and gunicorn's workers end with where the next start would fail alike: the whole
# server then gives up, rather than start worker after worker.
BAD_SETTINGS = 3

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ovara.settings")
try:
    django_application = get_asgi_application()
except ImproperlyConfigured as error:
    print(f"Ovara cannot start. {error}", file=sys.stderr)  # noqa: T201 - no logging yet
    sys.exit(BAD_SETTINGS)

# Only now: these need the apps to be loaded.
from connections.lifespan import NodeApplication  # noqa: E402 - see above
from connections.routing import websocket_application  # noqa: E402 - see above
from ovara.memory import settle_down  # noqa: E402 - see above

application = NodeApplication(
    ProtocolTypeRouter({"http": django_application, "websocket": websocket_application})
)
settle_down()
