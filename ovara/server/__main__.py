"""`python -m ovara.server`: uvicorn with everything set as Ovara wants it.

HOST, PORT and WEB_CONCURRENCY (workers; more than one need REDIS_URL) come from the environment or
the command line, where any other option of uvicorn may follow.
"""

from __future__ import annotations

import os
import sys

from uvicorn.main import main as uvicorn

APPLICATION = "ovara.asgi:application"
# As Daphne's own. Ovara's limit for a frame (OVARA_MAX_FRAME_BYTES) is below it.
MAX_MESSAGE_BYTES = 1_048_576


def arguments() -> list[str]:
    """What uvicorn's command line gets; what is given later wins."""
    return [
        *("--host", os.environ.get("HOST") or "127.0.0.1"),
        *("--port", os.environ.get("PORT") or "8000"),
        *("--ws", "ovara.server.protocol:PicowsProtocol"),
        *("--ws-max-size", str(MAX_MESSAGE_BYTES)),
        *("--ws-per-message-deflate", "false"),
        APPLICATION,
    ]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ovara.settings")
    uvicorn([*arguments(), *sys.argv[1:]], prog_name="python -m ovara.server")
