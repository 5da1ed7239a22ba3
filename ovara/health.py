"""Whether this process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from channels.layers import get_channel_layer
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ovara import background
from ovara.accounts.models import RevokedToken
from ovara.database import in_thread
from ovara.write_health import write_health

log = logging.getLogger(__name__)

# Whoever asks wants to know now: a part that takes longer is as good as down.
TIMEOUT_SECONDS = 2.0
# A group that nobody is in; several, so that every one of a few Redis shards gets one.
_GROUPS = [f"ovara-ready-{number}" for number in range(16)]

# Says what is wrong with the channel layer, or None.
LayerProblem = Callable[[], str | None]
_layer_problems: list[LayerProblem] = []


def watch_channel_layer(problem: LayerProblem) -> None:
    """Ask `problem` too before this process is called ready: publishing alone says little about a
    layer, since a publication that nobody hears succeeds as well."""
    _layer_problems.append(problem)


class HealthSerializer(serializers.Serializer[Any]):
    """Well."""

    status = serializers.ChoiceField(["ok"])


class NotReadySerializer(serializers.Serializer[Any]):
    """Not ready, and what is failing."""

    detail = serializers.CharField()
    code = serializers.ChoiceField(["unavailable"])
    failed = serializers.ListField(child=serializers.ChoiceField(["database", "channel layer"]))


class HealthView(APIView):
    """Liveness."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(operation_id="healthz", tags=["health"], responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        """Whether the process answers at all."""
        return Response({"status": "ok"})


class ReadinessView(APIView):
    """Readiness."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="readyz",
        tags=["health"],
        responses={
            200: HealthSerializer,
            503: OpenApiResponse(NotReadySerializer, "A part that is needed does not answer."),
        },
    )
    def get(self, request: Request) -> Response:
        """Whether database and channel layer answer."""
        failed = background.run(failing_parts())
        if not failed:
            return Response({"status": "ok"})
        detail = f"Not ready: {' and '.join(failed)}."
        return Response({"detail": detail, "code": "unavailable", "failed": failed}, status=503)


async def failing_parts() -> list[str]:
    """Those of database and channel layer that do not answer in time."""
    checks = {"database": _check_database(), "channel layer": _check_channel_layer()}
    results = await asyncio.gather(
        *(asyncio.wait_for(check, TIMEOUT_SECONDS) for check in checks.values()),
        return_exceptions=True,
    )
    failed = []
    for part, error in zip(checks, results, strict=True):
        if error is not None:
            log.error("not ready: %s: %r", part, error)
            failed.append(part)
    return failed


async def _check_database() -> None:
    # It may well be read where it is locked, full or read-only.
    if (problem := write_health.problem()) is not None:
        raise RuntimeError(problem)
    await in_thread(RevokedToken.objects.filter(pk="readyz").exists)


async def _check_channel_layer() -> None:
    for problem in _layer_problems:
        if (text := problem()) is not None:
            raise RuntimeError(text)
    layer = get_channel_layer()
    for group in _GROUPS:
        await layer.group_send(group, {"type": "ready"})
