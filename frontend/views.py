"""The pages: sign in, sign out, chat. Everything else the browser gets over the wire."""

from __future__ import annotations

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView, LogoutView
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.generic import TemplateView

from frontend.content_security_policy import with_page_policy


@method_decorator(with_page_policy, name="dispatch")
class SignInView(LoginView):
    """Signs in by Django session; the page takes its access tokens with that."""

    template_name = "frontend/login.html"
    redirect_authenticated_user = True
    next_page = "frontend:chat"


@method_decorator(with_page_policy, name="dispatch")
class SignOutView(LogoutView):
    """Ends the Django session (POST)."""

    next_page = "frontend:login"


@method_decorator((never_cache, ensure_csrf_cookie, with_page_policy), name="dispatch")
class ChatView(LoginRequiredMixin, TemplateView):
    """The chat page: a frame that its scripts fill. The CSRF cookie is for their REST calls."""

    template_name = "frontend/chat.html"
    login_url = "frontend:login"
