"""Refused sign-ins on pages."""

from __future__ import annotations

import math

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from ovara.errors import OvaraError


class ErrorTextMiddleware(MiddlewareMixin):
    """Turns our own errors into a line of text where a page has no better answer.

    The sign-in pages, the admin's too, end here when there were too many attempts. REST never
    does: its own handler answers first.
    """

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer an OvaraError; any other goes on."""
        if not isinstance(exception, OvaraError):
            return None
        response = HttpResponse(
            f"{exception}\n", status=exception.status, content_type="text/plain; charset=utf-8"
        )
        if exception.retry_after is not None:
            response["Retry-After"] = str(math.ceil(exception.retry_after))
        return response
