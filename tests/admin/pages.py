"""The admin's addresses, and what its pages show."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.db.models import Model
from django.test import Client
from django.urls import reverse


def list_address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_address(row: Model, page: str = "change") -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def add_address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")


def listed(client: Client, model: type[Model], **query: Any) -> list[Any]:
    """The rows of a list page, in its order."""
    answer = client.get(list_address(model), query)
    assert answer.status_code == 200, answer
    return list(answer.context["cl"].result_list)


def text_of(client: Client, address: str, **query: Any) -> str:
    """What a person reads on the page."""
    answer = client.get(address, query)
    assert answer.status_code == 200, answer
    return readable(answer.content.decode())


def readable(html: str) -> str:
    """HTML without its tags, every white space one space."""
    words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(words))
