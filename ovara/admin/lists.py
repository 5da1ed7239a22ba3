"""The admin's lists, which cost the same whatever the size of their table.

A page's rows are found by an index, the rows are counted up to a bound, and what no index can
answer is looked for among the newest rows only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from ovara.accounts.models import User
from ovara.admin.cells import as_id

# One screen of rows; more are on the next page.
ROWS_PER_PAGE = 50
# So many rows can be paged through, and so many of the newest are read where no index helps.
REACH = 100_000
# A search by a part of a user name or of another text finds the rows of so many users, and so many
# of the newest rows that have the text.
USERS_FOUND, TEXTS_FOUND = 200, 500

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator[Any]
else:
    # Generic in the type stubs only.
    _Paginator = Paginator

    class _ModelAdmin(Generic[M], admin.ModelAdmin): ...


class OrMore(int):
    """A count that was given up: there may be more."""

    def __str__(self) -> str:
        return f"{int(self):,} or more"


class BoundedPaginator(_Paginator):
    """Ends at `REACH` rows: to count a million takes longer than anybody wants to wait."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        found: int = rows.order_by().values("pk")[:REACH].count()
        return OrMore(found) if found == REACH else found


class LargeList(ChangeList):
    """Finds a page's keys first, then its rows: to skip the rows of the pages before is cheap."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        keys = list(self.result_list.values_list("pk", flat=True))
        found = self.apply_select_related(self.root_queryset).filter(pk__in=keys)
        rows = {row.pk: row for row in found.order_by()}
        self.result_list = [rows[key] for key in keys if key in rows]


class SearchAdmin(_ModelAdmin[M]):
    """Searches whole ids and parts of user names by an index, other text among the newest rows.

    An id is matched whole and alone: databases keep UUIDs in forms that have no substring.
    `search_id_fields` are tried in turn; `search_user_field` is the user that a name may be of.
    Filters by `unindexed` parameters, and ids in `unindexed` fields, reach back as far as text
    does, unless one of `narrowing` leaves few rows. Keys begin with the time: the newest rows have
    the greatest.
    """

    list_per_page = ROWS_PER_PAGE
    list_max_show_all = ROWS_PER_PAGE
    paginator = BoundedPaginator
    # Counting all rows a second time, beside the found ones, is what large tables can't afford.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_id_fields: Sequence[str] = ("id",)
    search_user_field = ""
    unindexed: Sequence[str] = ()
    narrowing: Sequence[str] = ()
    # By what the rows are ordered that have an id in a field.
    id_ordering: Mapping[str, str] = {}

    class Media:
        css = {"all": ["ovara/admin.css"]}

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return LargeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        found = as_id(search_term) if self.search_id_fields else None
        if found is not None:
            return self._with_id(request, queryset, found), False
        by_text = bool(search_term and self.get_search_fields(request))
        rows = queryset
        if by_text or _has(request, self.unindexed):
            rows = self._within_reach(request, queryset)
        rows, may_repeat = super().get_search_results(request, rows, search_term)
        if not search_term or not self.search_user_field:
            return rows, may_repeat
        wanted = self._of_users_named(search_term)
        if by_text:
            # By their keys, so that both are found by an index.
            keys = rows.order_by("-pk").values_list("pk", flat=True)[:TEXTS_FOUND]
            wanted |= Q(pk__in=list(keys))
        return queryset.filter(wanted), False

    def _with_id(self, request: HttpRequest, queryset: QuerySet[M], value: Any) -> QuerySet[M]:
        for field in self.search_id_fields:
            rows = queryset.filter(**{field: value})
            if field in self.unindexed:
                rows = self._within_reach(request, rows)
            if rows.exists():
                ordering = self.id_ordering.get(field)
                return rows.order_by(ordering) if ordering else rows
        return queryset.none()

    def _within_reach(self, request: HttpRequest, queryset: QuerySet[M]) -> QuerySet[M]:
        if _has(request, self.narrowing):
            return queryset
        keys = self.model._default_manager.order_by("-pk").values_list("pk", flat=True)
        for oldest in keys[REACH - 1 : REACH]:
            return queryset.filter(pk__gte=oldest)
        return queryset

    def _of_users_named(self, part: str) -> Q:
        users = User.objects.filter(username__icontains=part).order_by("username")
        keys = list(users.values_list("pk", flat=True)[:USERS_FOUND])
        return Q(**{f"{self.search_user_field}__in": keys})


class ReadOnlyAdmin(SearchAdmin[M]):
    """Shows rows, and neither makes, changes nor deletes any. `fields` names what a page shows."""

    def get_readonly_fields(self, request: HttpRequest, obj: M | None = None) -> list[str]:
        return [str(field) for field in self.fields or ()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


def _has(request: HttpRequest, names: Sequence[str]) -> bool:
    """Whether the query has one of these, or a look-up of one."""
    return any(key.partition("__")[0] in names for key in request.GET)
