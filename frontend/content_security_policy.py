"""A strict Content-Security-Policy for pages whose scripts and styles are all files of our own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.http import HttpRequest
from django.http.response import HttpResponseBase

Params = ParamSpec("Params")
PageView = Callable[Concatenate[HttpRequest, Params], HttpResponseBase]


def page_policy(host: str) -> str:
    """The header's value; `host` is the request's, to which the page opens its WebSocket.

    Browsers differ in whether 'self' covers ws: and wss:, so both are named.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            f"connect-src 'self' ws://{host} wss://{host}",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def with_page_policy(view: PageView[Params]) -> PageView[Params]:
    """Set the policy on every answer of the view."""

    @wraps(view)
    def wrapped(
        request: HttpRequest, /, *args: Params.args, **kwargs: Params.kwargs
    ) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response["Content-Security-Policy"] = page_policy(request.get_host())
        return response

    return wrapped
