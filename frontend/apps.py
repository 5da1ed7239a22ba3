"""The browser's side: the client library, the chat page, sign-in."""

from __future__ import annotations

from django.apps import AppConfig


class FrontendConfig(AppConfig):
    """Knows the wire only, nothing of the other apps."""

    name = "frontend"
    verbose_name = "Pages"
