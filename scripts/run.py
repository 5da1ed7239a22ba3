"""`make run`: check what can be checked first, migrate, make the demo accounts, and serve.

Becomes the Daphne process itself (exec), so that Ctrl-C and SIGTERM reach the server.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import Error as DatabaseError

# What a browser cannot open, though a server can listen there.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


def main() -> None:
    host = os.environ.get("HOST") or "127.0.0.1"
    port = port_number(os.environ.get("PORT") or "8000")
    refuse_port_in_use(host, port)
    prepare(host)
    print_addresses(host, port)
    serve(host, port)


def port_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        fail(f"PORT is {text!r}: it must be a whole number from 1 to 65535.")
    return int(text)


def refuse_port_in_use(host: str, port: int) -> None:
    """Bind as the server will, before anything is changed; its own error is a traceback."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        fail(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}.",
            "Stop what uses it, or choose others: make run HOST=127.0.0.1 PORT=8001",
        )


def prepare(host: str) -> None:
    """Settings, migrations and demo accounts; whatever is wrong is said in one line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ovara.settings")
    os.environ.setdefault("DEBUG", "1")
    if host not in WILDCARDS:
        os.environ.setdefault("ALLOWED_HOSTS", f"localhost,127.0.0.1,[::1],{host}")
    try:
        django.setup()
        refuse_unusable_database()
        call_command("check")
        call_command("migrate", verbosity=0)
        call_command("demo")
    except (ImproperlyConfigured, CommandError) as error:
        fail(str(error))
    except DatabaseError as error:
        fail(f"The database cannot be used: {error}")


def refuse_unusable_database() -> None:
    # Only now: it needs the settings.
    from ovara.database_checks import connection_problem

    if problem := connection_problem():
        fail(problem)


def print_addresses(host: str, port: int) -> None:
    shown = WILDCARDS.get(host, f"[{host}]" if ":" in host else host)
    base = f"http://{shown}:{port}"
    print()
    print(f"  Page      {base}/")
    print(f"  Admin     {base}/admin/")
    print(f"  API docs  {base}/api/docs")
    print()


def serve(host: str, port: int) -> NoReturn:
    sys.stdout.flush()
    # Daphne closes every WebSocket after a day unless told otherwise.
    daphne = ["-m", "daphne", "--websocket_timeout", "-1", "-b", host, "-p", str(port)]
    os.execv(sys.executable, [sys.executable, *daphne, "ovara.asgi:application"])  # noqa: S606 - our own command


def fail(*lines: str) -> NoReturn:
    sys.exit("\n".join(lines))


if __name__ == "__main__":
    main()
