"""What the admin pages of every app share: read-only pages, links, times in words, filters.

What the program writes is read only in the admin: a row changed behind the server's back would say
something that no open connection knows. Pages are bounded, and a list's number of queries does not
grow with its rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localtime

from ovara.times import wire

# One screen of rows; more are on the next page.
ROWS_PER_PAGE = 50
# Text in a list, in characters.
SHORT_TEXT = 80
NOTHING = "-"

admin.site.site_header = admin.site.site_title = "Ovara"

M = TypeVar("M", bound=Model)
Column = Callable[[Any], str | bool]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin
else:
    # Generic in the type stubs only.
    class _ModelAdmin(Generic[M], admin.ModelAdmin): ...


class SearchAdmin(_ModelAdmin[M]):
    """Searches ids exactly, all else as `search_fields` says; lists are bounded.

    An id is matched whole and alone: databases keep UUIDs in forms that have no substring.
    """

    list_per_page = ROWS_PER_PAGE
    list_max_show_all = ROWS_PER_PAGE
    # Counting all rows a second time, beside the found ones, is what large tables can't afford.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_id_fields: Sequence[str] = ("id",)

    class Media:
        css = {"all": ["ovara/admin.css"]}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        found = as_id(search_term) if self.search_id_fields else None
        if found is None:
            return super().get_search_results(request, queryset, search_term)
        anywhere = Q()
        for field in self.search_id_fields:
            anywhere |= Q(**{field: found})
        return queryset.filter(anywhere), False


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


class TextFilter(admin.SimpleListFilter):
    """A filter with a text field, where a list of all choices would be too long.

    `lookup` is the queryset filter that the text is given to, for instance `user__username`.
    """

    template = "admin/text_filter.html"
    lookup: str

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

    def queryset(self, request: HttpRequest, queryset: QuerySet[M]) -> QuerySet[M]:
        text = (self.value() or "").strip()
        # PostgreSQL refuses a NUL, and no name holds one.
        if "\0" in text:
            return queryset.none()
        return queryset.filter(**{self.lookup: text}) if text else queryset


class UserFilter(TextFilter):
    """Rows of the user with exactly this name: no list of all users."""

    title = "user name"
    parameter_name = "user"
    lookup = "user__username"


def as_id(text: str) -> UUID | None:
    """`text` as a UUID, with or without hyphens; None if it is something else."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def short_id(value: UUID) -> SafeString:
    """An id's random end, enough to tell rows apart; the whole id when pointed at."""
    return format_html('<span class="ovara-id" title="{}">…{}</span>', value, value.hex[-8:])


def short_name(row: Model) -> str:
    """A row's text, cut to its id's end where it has no name but that."""
    name = str(row)
    return short_id(row.pk) if name.endswith(str(row.pk)) else name


def short_text(text: str) -> str:
    """`text` cut to fit a row of a list."""
    return Truncator(text).chars(SHORT_TEXT)


def in_words(moment: datetime | None) -> str:
    """How long ago (or ahead) `moment` is, and the exact time when pointed at."""
    if moment is None:
        return NOTHING
    return format_html(
        '<time class="ovara-time" datetime="{}" title="{}">{}</time>',
        wire(moment),
        date_format(localtime(moment), "Y-m-d H:i:s e"),
        naturaltime(moment),
    )


def link(model: str, pk: object, text: object) -> str:
    """A link to the page of the `model` ("app.name") with the key `pk`; plain text if it has none.

    Named by text, so that an app can point at one that it must not import.
    """
    app_label, name = model.lower().split(".")
    try:
        address = reverse(f"admin:{app_label}_{name}_change", args=[pk])
    except NoReverseMatch:
        return str(text)
    return format_html('<a href="{}">{}</a>', address, text)


def list_link(model: str, text: object, **query: str | UUID) -> SafeString:
    """A link to the list of `model` ("app.name"), narrowed by `query`."""
    app_label, name = model.lower().split(".")
    address = reverse(f"admin:{app_label}_{name}_changelist")
    return format_html(
        '<a href="{}?{}">{}</a>',
        address,
        urlencode({name: str(value) for name, value in query.items()}),
        text,
    )


def link_column(field: str, description: str = "") -> Column:
    """A column that links to what the foreign key `field` points at.

    The list needs `list_select_related` for it, save where the target's text is its id alone.
    """

    @admin.display(description=description or field.replace("_", " "))
    def column(row: Model) -> str:
        target = getattr(row, field)
        return (
            NOTHING if target is None else link(target._meta.label, target.pk, short_name(target))
        )

    return column


def time_column(field: str, description: str = "") -> Column:
    """A column that says in words when `field` was."""

    @admin.display(description=description or field.replace("_", " "), ordering=field)
    def column(row: Model) -> str:
        return in_words(getattr(row, field))

    return column


def as_json(value: object) -> SafeString:
    """A JSON value, indented, as a person reads it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="ovara-json">{}</pre>', text)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, more: object = "") -> str:
    """Rows as an HTML table (each cell escaped), then `more`; a dash if there are none."""
    body = format_html_join(
        "",
        "<tr>{}</tr>",
        ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows),
    )
    if not body:
        return NOTHING
    head = format_html_join("", "<th>{}</th>", ((heading,) for heading in headings))
    return format_html(
        '<div class="ovara-table"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table>{}</div>",
        head,
        body,
        more,
    )
