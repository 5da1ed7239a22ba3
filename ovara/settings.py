"""Django settings, read from the environment. docs/operations.md documents every variable."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from ovara.conf import OvaraSettings
from ovara.database_settings import database_settings
from ovara.environment import (
    cache_config,
    channel_layer_config,
    env,
    refuse_workers_without_redis,
    secret_key,
)
from ovara.logs import logging_config
from ovara.times import CLOCK_TOLERANCE

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR / "var"

OVARA = OvaraSettings.from_environment(os.environ)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = secret_key(DATA_DIR, debug=DEBUG)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

REDIS_URLS = env.list("REDIS_URL", default=[])
refuse_workers_without_redis(REDIS_URLS)
CHANNEL_LAYERS = {"default": channel_layer_config(REDIS_URLS)}
CACHES = {"default": cache_config(REDIS_URLS)}
_database = database_settings(DATA_DIR)
DATABASES = {"default": _database.config}
# Which variable names the database, for messages.
DATABASE_VARIABLE = _database.variable
DEFAULT_AUTO_FIELD = _database.auto_field
MIGRATION_MODULES = _database.migration_modules

INSTALLED_APPS = [
    "ovara.apps.DaphneConfig",  # first, so that its `runserver` serves WebSockets
    "ovara.accounts",
    "sessions_app",
    "connections",
    "frontend",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    *_database.contrib_apps,
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ovara.accounts.middleware.ErrorTextMiddleware",
]

ROOT_URLCONF = "ovara.urls"
ASGI_APPLICATION = "ovara.asgi.application"
# Paths of the API are exact: no redirect to a slash.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["ovara.accounts.backends.LimitedModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "frontend:login"
LOGIN_REDIRECT_URL = "frontend:chat"
LOGOUT_REDIRECT_URL = "frontend:login"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Without `collectstatic` (development) the files are found where the apps keep them.
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", default=False)
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "ovara.accounts.authentication.BearerAuthentication",
        "ovara.accounts.authentication.BrowserSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["ovara.rest.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "ovara.rest.JSONNegotiation",
    "DEFAULT_PAGINATION_CLASS": "ovara.rest.Pagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "ovara.rest.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=OVARA.access_token_lifetime_seconds),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=OVARA.refresh_token_lifetime_days),
    "SIGNING_KEY": OVARA.jwt_signing_key or SECRET_KEY,
    "AUTH_TOKEN_CLASSES": ("ovara.accounts.tokens.AccessToken",),
    # A token that another node has just issued is not from the future. Access tokens end on time
    # all the same: `verify_access_token` sees to it.
    "LEEWAY": CLOCK_TOLERANCE,
    "UPDATE_LAST_LOGIN": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Ovara",
    "DESCRIPTION": "Connections, conversations and messages over REST. The WebSocket side is "
    "described in docs/protocol.md.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    # A PATCH needs what its serializer requires.
    "COMPONENT_SPLIT_PATCH": False,
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "format": "uuid"}},
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

LOGGING = logging_config(level=env.str("LOG_LEVEL", default="INFO"))
