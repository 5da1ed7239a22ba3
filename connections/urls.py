"""Addresses about connections: exact, without a slash at the end."""

from __future__ import annotations

from django.urls import path

from connections import views

urlpatterns = [
    path("api/connections/stats", views.StatsView.as_view(), name="connection-stats"),
    path("api/connections/cleanup", views.CleanupView.as_view(), name="connection-cleanup"),
    path("api/connections/<id:connection_id>", views.ConnectionView.as_view(), name="connection"),
    path(
        "api/clients/<id:client_id>/connections",
        views.ClientConnectionsView.as_view(),
        name="client-connections",
    ),
    path("metrics", views.MetricsView.as_view(), name="metrics"),
]
