"""Views that call the manager: a plain one by its synchronous twin, a coroutine by itself."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from connections.manager import websocket_manager


@csrf_exempt
def plain_view(request: HttpRequest, method: str) -> HttpResponse:
    result = getattr(websocket_manager.sync, method)(**_arguments(request))
    return _answer(result)


@csrf_exempt
async def async_view(request: HttpRequest, method: str) -> HttpResponse:
    result = await getattr(websocket_manager, method)(**_arguments(request))
    return _answer(result)


def _arguments(request: HttpRequest) -> dict[str, Any]:
    arguments: dict[str, Any] = json.loads(request.body)
    return arguments


def _answer(result: object) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(result), content_type="application/json")


urlpatterns = [
    path("plain/<method>", plain_view),
    path("async/<method>", async_view),
    path("", include("ovara.urls")),
]
