"""What every REST view shares: one shape of error, bounded bodies, pages, ids in paths."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import register_converter
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, parsers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.pagination import PageNumberPagination
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ovara.database import NOT_SERVED, UNSERVED
from ovara.errors import Invalid, NotFound, OvaraError, Overloaded, TooLarge
from ovara.ids import UUID_PATTERN

log = logging.getLogger(__name__)

# The largest good request is a message whose every character is escaped: 12 bytes each for content
# of 32,768, and 16 KiB of metadata.
MAX_BODY_BYTES = 1_048_576
MAX_PAGE_SIZE = 100
MAX_INTEGER = 2**53 - 1

_CODES = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Turn what a view raised into `{detail, code}`, with `fields` where the input was wrong.

    Returns:
        None for an error of ours: Django then logs it and answers 500.
    """
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.ValidationError):
        error = _invalid(error)
    if isinstance(error, UNSERVED):
        log.error("the database did not serve %s: %s", context["request"].path, error)
        error = Overloaded(NOT_SERVED)
    if isinstance(error, OvaraError):
        return _of_ours(error)
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    return None


def _of_ours(error: OvaraError) -> Response:
    body: dict[str, Any] = {"detail": str(error), "code": error.code}
    headers = {}
    if error.code == Invalid.code:
        body["fields"] = error.fields
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="api"'
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return Response(body, status=error.status, headers=headers)


def _of_framework(error: exceptions.APIException) -> Response:
    body: dict[str, Any] = {
        "detail": _text(error.detail),
        "code": _CODES.get(error.status_code, "error"),
    }
    if error.status_code == 400:
        body["fields"] = {}
    headers = {}
    # Set by the view, for the first of its ways to authenticate.
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    return Response(body, status=error.status_code, headers=headers)


def _text(detail: Any) -> str:
    """simplejwt's errors hold a dict with more than the sentence."""
    return str(detail["detail"] if isinstance(detail, dict) else detail)


def _invalid(error: exceptions.ValidationError) -> Invalid:
    fields: dict[str, list[str]] = {}
    _collect(error.detail, (), fields)
    name, texts = next(iter(fields.items()))
    return Invalid(f"{name}: {texts[0]}", fields=fields)


def _collect(detail: Any, path: tuple[str, ...], fields: dict[str, list[str]]) -> None:
    """Flatten a serializer's errors: `{"participants": {0: ["…"]}}` to `participants.0`."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            _collect(inner, (*path, str(name)), fields)
    elif isinstance(detail, list):
        for inner in detail:
            _collect(inner, path, fields)
    else:
        fields.setdefault(".".join(path) or "body", []).append(str(detail))


class JSONParser(parsers.JSONParser):
    """DRF's, with bodies bounded before they are parsed."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parsed body.

        Raises:
            TooLarge: over `MAX_BODY_BYTES`.
            ParseError: not JSON, or nested absurdly deep.
        """
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"The request is larger than {MAX_BODY_BYTES} bytes.")
        try:
            return super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise exceptions.ParseError("JSON parse error - nested too deep") from None


class JSONNegotiation(DefaultContentNegotiation):
    """JSON whatever `Accept` says: there is nothing else to choose from."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """The view's first renderer."""
        first = next(iter(renderers))
        return first, str(first.media_type)


class Pagination(PageNumberPagination):
    """`?page=` from 1, `page_size=` from 1 to 100; a page that is not there is 404."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE
    last_page_strings = ()

    def get_page_size(self, request: Request) -> int:
        """How many results a page has.

        Raises:
            Invalid: not a whole number from 1 to 100.
        """
        return _number(request, "page_size", MAX_PAGE_SIZE) or self.page_size

    def get_page_number(self, request: Request, paginator: Any) -> int:
        """Which page is wanted.

        Raises:
            Invalid: not a whole number above 0.
        """
        return _number(request, self.page_query_param, MAX_INTEGER) or 1

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What a page looks like; DRF's own is not OpenAPI 3.1."""
        link = {"type": ["string", "null"], "format": "uri"}
        count = {"type": "integer", "minimum": 0}
        properties = {"count": count, "next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(properties), "properties": properties}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Both parameters, with their bounds."""
        return [
            _parameter(self.page_query_param, "A page, from 1.", MAX_INTEGER, default=1),
            _parameter("page_size", "Results on a page.", MAX_PAGE_SIZE, default=self.page_size),
        ]


def _parameter(name: str, text: str, greatest: int, *, default: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": greatest, "default": default}
    return {"name": name, "in": "query", "required": False, "description": text, "schema": schema}


def _number(request: Request, name: str, greatest: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    # ASCII digits alone, and few of them: `int` takes more than a client can mean.
    if text.isascii() and text.isdigit() and len(text) <= 16 and 1 <= int(text) <= greatest:
        return int(text)
    message = f"Write a whole number from 1 to {greatest}."
    raise Invalid(f"{name}: {message}", fields={name: [message]})


class IdConverter:
    """`<id:…>` in a path: an id as the protocol writes it; anything else is no such address."""

    regex = UUID_PATTERN.removeprefix(r"\A").removesuffix(r"\Z")

    def to_python(self, value: str) -> str:
        """Ids travel as text."""
        return value

    def to_url(self, value: Any) -> str:
        """A UUID or its text."""
        return str(value)


register_converter(IdConverter, "id")


# Exempt, lest a method that changes things get Django's page about CSRF instead.
@csrf_exempt
def no_such_address(request: HttpRequest) -> HttpResponse:
    """404 for everything under /api/ that is nothing else."""
    return _error(NotFound("There is nothing at this address."))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 that Django answers itself, such as a wrong `Host`."""
    if not request.path.startswith("/api/"):
        return defaults.bad_request(request, exception)
    return JsonResponse(
        {"detail": "The request is malformed.", "code": Invalid.code, "fields": {}}, status=400
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """500: an error of ours, which Django has logged."""
    if not request.path.startswith("/api/"):
        return defaults.server_error(request)
    return _error(OvaraError("Something went wrong on the server."))


def _error(error: OvaraError) -> JsonResponse:
    return JsonResponse({"detail": str(error), "code": error.code}, status=error.status)
