"""The fenced blocks of the documentation: ```language name, and what is in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.environment import ROOT

PAGES = [
    "README.md",
    "CHANGELOG.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(?P<words>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block; without a name nobody runs it."""

    language: str
    name: str
    text: str


def snippets(page: str) -> list[Snippet]:
    """The blocks of a page, in their order."""
    found = []
    for match in FENCE.finditer((ROOT / page).read_text()):
        language, _, name = match["words"].strip().partition(" ")
        found.append(Snippet(language, name, match["text"]))
    return found


def snippet(page: str, name: str) -> str:
    """The text of the block with that name."""
    (text,) = [found.text for found in snippets(page) if found.name == name]
    return text


def without_fences(page: str) -> str:
    """The page's prose and tables."""
    return FENCE.sub("", (ROOT / page).read_text())


def table_rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = (ROOT / page).read_text()
    (_, _, section) = text.partition(f"\n## {heading}\n")
    assert section, f"{page} has no section {heading!r}"
    lines: list[str] = []
    for line in section.splitlines():
        if line.startswith("|"):
            lines.append(line)
        elif lines or line.startswith("## "):
            break
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines[2:]
    ]


def page_path(page: str) -> Path:
    return ROOT / page
