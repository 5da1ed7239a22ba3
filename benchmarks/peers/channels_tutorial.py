"""The chat consumer of Channels' tutorial, as it stands there, with the in-memory layer.

https://channels.readthedocs.io/en/stable/tutorial/part_3.html

Beside it, at /store/, the same with one `objects.create` a message, acknowledged
(https://channels.readthedocs.io/en/stable/topics/databases.html), and at /jwt/ with a middleware
that checks a token and loads its user, as the documentation's custom authentication does
(https://channels.readthedocs.io/en/stable/topics/authentication.html).

    daphne -p PORT benchmarks.peers.channels_tutorial:application
"""

from __future__ import annotations

import json
import os
from urllib.parse import parse_qs

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="benchmark" * 6,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["BENCHMARK_DATABASE"],
            # As Ovara's own, so that the way of writing is what differs.
            "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL;", "timeout": 20},
        }
    },
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.urls import re_path  # noqa: E402
from rest_framework_simplejwt.tokens import AccessToken  # noqa: E402


class Message(models.Model):  # noqa: DJ008
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True)
    room = models.CharField(max_length=100, db_index=True)
    content = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "peers"


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.room_group_name = "chat_room"
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data):
        text_data_json = json.loads(text_data)
        if text_data_json.get("type") == "ping":
            await self.send(text_data=json.dumps(text_data_json))
            return
        message = text_data_json["message"]
        await self.channel_layer.group_send(
            self.room_group_name, {"type": "chat.message", "message": message}
        )

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


class StoringConsumer(ChatConsumer):
    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        row = await database_sync_to_async(Message.objects.create)(room="room", content=message)
        await self.send(text_data=json.dumps({"id": row.pk, "message": message}))


class TokenAuthMiddleware:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        token = AccessToken(parse_qs(scope["query_string"].decode())["token"][0])
        user = await database_sync_to_async(get_user_model().objects.get)(pk=token["user_id"])
        return await self.app(dict(scope, user=user), receive, send)


def prepare() -> None:
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        if Message._meta.db_table not in connection.introspection.table_names():
            editor.create_model(Message)
    get_user_model().objects.get_or_create(pk=1, defaults={"username": "one"})


prepare()
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [
                re_path("chat/", AuthMiddlewareStack(ChatConsumer.as_asgi())),
                re_path("store/", AuthMiddlewareStack(StoringConsumer.as_asgi())),
                re_path("jwt/", TokenAuthMiddleware(ChatConsumer.as_asgi())),
            ]
        ),
    }
)
