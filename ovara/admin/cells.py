"""What the cells of the admin's lists and pages show: links, times in words, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localtime

from ovara.times import wire

# Text in a list, in characters.
SHORT_TEXT = 80
NOTHING = "-"

Column = Callable[[Any], str | bool]


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
