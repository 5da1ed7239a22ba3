"""Filters with a text field, where a list of all choices would be too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from ovara.accounts.models import User


class UserFilter(admin.SimpleListFilter):
    """Rows of the user with exactly this name: no list of all users.

    `lookup` is the queryset filter that the user's key is given to. The key is looked up first,
    so that the database begins with the user's few rows.
    """

    template = "admin/text_filter.html"
    title = "user name"
    parameter_name = "user"
    lookup = "user_id"

    def has_output(self) -> bool:
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return ()

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One entry: the text, and what the rest of the query says, as hidden fields."""
        yield {
            "selected": self.value() is not None,
            "value": self.value() or "",
            "name": self.parameter_name,
            "rest": [
                (name, value)
                for name, values in changelist.filter_params.items()
                for value in values
                if name != self.parameter_name
            ],
            "clear": changelist.get_query_string(remove=[str(self.parameter_name)]),
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = (self.value() or "").strip()
        if not name:
            return queryset
        # PostgreSQL refuses a NUL, and no name holds one.
        user = None if "\0" in name else User.objects.filter(username=name).first()
        return queryset.none() if user is None else queryset.filter(**{self.lookup: user.pk})
