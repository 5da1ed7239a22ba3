"""Every address of the project; each app brings its own."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from ovara.health import HealthView, ReadinessView
from ovara.rest import no_such_address
from ovara.schema import DocsView, SchemaView

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("", include("ovara.accounts.urls")),
    path("", include("sessions_app.urls")),
    path("", include("connections.urls")),
    path("", include("frontend.urls")),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", DocsView.as_view(url_name="schema"), name="docs"),
    path("healthz", HealthView.as_view(), name="healthz"),
    path("readyz", ReadinessView.as_view(), name="readyz"),
    re_path(r"^api(?:/|$)", no_such_address),
]

handler400 = "ovara.rest.bad_request"
handler500 = "ovara.rest.server_error"
