"""Addresses of the token calls, the only ones with a slash at the end."""

from __future__ import annotations

from django.urls import path

from ovara.accounts import views

urlpatterns = [
    path("api/token/", views.TokenView.as_view(), name="token"),
    path("api/token/refresh/", views.TokenRefreshView.as_view(), name="token-refresh"),
    path("api/token/verify/", views.TokenVerifyView.as_view(), name="token-verify"),
    path("api/token/blacklist/", views.TokenBlacklistView.as_view(), name="token-blacklist"),
    path("api/token/session/", views.SessionTokenView.as_view(), name="token-session"),
]
