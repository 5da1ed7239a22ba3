"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from frontend import views

app_name = "frontend"

urlpatterns = [
    path("", views.ChatView.as_view(), name="chat"),
    path("login/", views.SignInView.as_view(), name="login"),
    path("logout/", views.SignOutView.as_view(), name="logout"),
    # Browsers ask for it by themselves on pages that name no icon, such as the admin's.
    path("favicon.ico", views.IconView.as_view(), name="icon"),
]
