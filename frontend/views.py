"""The pages: sign in, sign out, chat. Everything else the browser gets over the wire."""

from __future__ import annotations

import math
from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.generic import RedirectView, TemplateView

from frontend.content_security_policy import with_page_policy
from ovara.errors import OvaraError


@method_decorator(with_page_policy, name="dispatch")
class SignInView(LoginView):
    """Signs in by Django session; the page takes its access tokens with that."""

    template_name = "frontend/login.html"
    redirect_authenticated_user = True
    next_page = "frontend:chat"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say on the page itself when there were too many attempts."""
        try:
            return super().post(request, *args, **kwargs)
        except OvaraError as error:
            form = self.get_form_class()(
                request, initial={"username": request.POST.get("username")}
            )
            context = self.get_context_data(form=form, refusal=str(error))
            response = self.render_to_response(context, status=error.status)
            if error.retry_after is not None:
                response["Retry-After"] = str(math.ceil(error.retry_after))
            return response


@method_decorator(with_page_policy, name="dispatch")
class SignOutView(LogoutView):
    """Ends the Django session (POST)."""

    next_page = "frontend:login"


@method_decorator((never_cache, ensure_csrf_cookie, with_page_policy), name="dispatch")
class ChatView(LoginRequiredMixin, TemplateView):
    """The chat page: a frame that its scripts fill. The CSRF cookie is for their REST calls."""

    template_name = "frontend/chat.html"
    login_url = "frontend:login"


class IconView(RedirectView):
    """The site's icon, at the address where browsers look for it."""

    def get_redirect_url(self, *args: Any, **kwargs: Any) -> str:
        return static("frontend/icon.svg")
