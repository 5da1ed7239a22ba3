"""What the OpenAPI schema says of every view alike, and where it is served."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request

# Swagger UI writes style attributes, and has its icons in data addresses.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class ErrorSerializer(serializers.Serializer[dict[str, Any]]):
    """Every error: words for people, and a code that stays the same."""

    detail = serializers.CharField()
    code = serializers.CharField()


class InvalidSerializer(ErrorSerializer):
    """Wrong input; `fields` says what is wrong with which."""

    fields = serializers.DictField(  # type: ignore[assignment]  # the name is PROTOCOL's
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="Absent where `code` is not `invalid`.",
    )


_ERRORS = {
    400: OpenApiResponse(InvalidSerializer, "Wrong input (`invalid`), or `too_large`."),
    401: OpenApiResponse(ErrorSerializer, "No valid token or session (`unauthenticated`)."),
    403: OpenApiResponse(ErrorSerializer, "Not allowed, or the CSRF token is wrong (`forbidden`)."),
    404: OpenApiResponse(ErrorSerializer, "Not there, or not the caller's to see (`not_found`)."),
    415: OpenApiResponse(ErrorSerializer, "The body is not JSON (`unsupported_media_type`)."),
    429: OpenApiResponse(ErrorSerializer, "Too many (`rate_limited`); see `Retry-After`."),
    503: OpenApiResponse(ErrorSerializer, "Nothing was stored, try again (`overloaded`)."),
}


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """The error responses of a view, for `extend_schema(responses=…)`.

    503 is each view's: all need the database.
    """
    return {status: _ERRORS[status] for status in (*statuses, 503)}


class SchemaView(SpectacularAPIView):
    """The OpenAPI schema: JSON, or YAML for who asks for it."""

    authentication_classes = ()
    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = [
        OpenApiJsonRenderer2,
        OpenApiJsonRenderer,
        OpenApiYamlRenderer2,
        OpenApiYamlRenderer,
    ]


class DocsView(SpectacularSwaggerSplitView):
    """The schema as a page. Every asset is ours: nothing comes from elsewhere."""

    authentication_classes = ()
    content_negotiation_class = DefaultContentNegotiation

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page, or with `?script` the lines that start it."""
        response: HttpResponse = super().get(  # type: ignore[no-untyped-call]  # no types there
            request, *args, **kwargs
        )
        response["Content-Security-Policy"] = _DOCS_POLICY
        return response
