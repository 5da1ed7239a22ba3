"""What holds for every page of the documentation."""

from __future__ import annotations

import re

import pytest

from tests.docs.snippets import PAGES, page_path, snippets, without_fences

pytestmark = pytest.mark.storeless

# Whoever adds a snippet that can be run names it, and adds the test that runs it.
RUN_BY_TESTS = {
    "README.md": {
        "two-commands",
        "from-server-code",
        "from-a-browser",
        "from-a-script",
        "with-curl",
        "cleanup-command",
    },
    "docs/guide.md": {
        "send",
        "sync",
        "worker",
        "agent/apps.py",
        "agent/receivers.py",
        "conversations",
        "own-socket",
    },
    "docs/operations.md": {
        "prepare",
        "serve",
        "serve-uvicorn",
        "serve-daphne",
        "cleanup",
        "backup",
    },
}
# Tests of their own read these: frames.md is played against a running server.
OTHERS = {"frames", "json", "nginx", "text", "cron"}
# Held against the manager's signatures, since it lists calls rather than being a program.
LISTINGS = {("docs/protocol.md", "python")}
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_is_run_by_a_test(page: str) -> None:
    named = {found.name for found in snippets(page) if found.name}
    unnamed = {
        found.language
        for found in snippets(page)
        if not found.name and (page, found.language) not in LISTINGS
    }
    assert named == RUN_BY_TESTS.get(page, set())
    assert unnamed <= OTHERS


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for match in LINK.finditer(without_fences(page)):
        target, _, anchor = match["target"].partition("#")
        if "://" in target:
            continue
        path = page_path(page).parent / target if target else page_path(page)
        assert path.exists(), f"{page} links to {match['target']}, which is not there"
        if anchor:
            assert anchor in anchors(path.read_text()), f"{page}: no heading for {match['target']}"


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
