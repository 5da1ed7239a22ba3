"""Two clients of the library talk over a network that loses, repeats, delays and reorders frames.

Another seed is another network: FAULTS_SEED=7 pytest tests/e2e/test_library_faults.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from playwright.async_api import Page

from tests.e2e.conftest import MakeConversation
from tests.e2e.faulty_proxy import FaultyProxy
from tests.support.browser import BrowserPages
from tests.support.database import Account
from tests.support.rest import rest_client
from tests.support.server import ServerProcess

SEED = int(os.environ.get("FAULTS_SEED", "20260101"))
CONVERSATIONS = 4
# Of each client in each conversation.
MESSAGES = 30
# The library's clock goes this much faster, so that its waits for lost answers are short.
SPEED = 5
# It is the network that is tested, not the limits.
NO_LIMITS = {"OVARA_FRAMES_PER_SECOND": "100000", "OVARA_FRAME_BURST": "100000"}

START = """async ({ url, token, account, conversations, messages, speed }) => {
    const { OvaraClient } = await import("/static/frontend/ovara/ovara.js");
    const began = Date.now();
    const client = window.client = new OvaraClient({
        url, account, token: () => token,
        clock: {
            now: () => began + (Date.now() - began) * speed,
            setTimeout: (callback, delay) => setTimeout(callback, delay / speed),
            clearTimeout: (handle) => clearTimeout(handle),
        },
    });
    window.views = Object.fromEntries(conversations.map(({ id }) => [id, []]));
    window.anew = 0;
    client.on("message", ({ message }) => window.views[message.conversation_id].push(message));
    client.on("joined", ({ anew }) => (window.anew += Number(anew)));
    client.connect();
    await Promise.all(conversations.map(({ id, epoch }) => client.join(id, { since: 0, epoch })));
    const talk = async ({ id }) => {
        const sent = [];
        for (let number = 0; number < messages; number += 1) {
            const content = `${account} says ${number}`;
            const metadata = { number };
            sent.push(client.send(id, content, { metadata }));
            await new Promise((resolve) => setTimeout(resolve, (number * 37) % 60));
        }
        return Promise.all(sent);
    };
    const sent = await Promise.all(conversations.map(talk));
    return Object.fromEntries(conversations.map(({ id }, index) => [id, sent[index]]));
}"""


async def stored_messages(
    server: ServerProcess, account: Account, conversation_id: str
) -> list[dict[str, Any]]:
    async with rest_client(server, account) as rest:
        path = f"/api/conversations/{conversation_id}/messages"
        answer = await rest.get(path, params={"after": 0, "limit": 200})
    assert answer.json()["has_more"] is False
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return messages


async def test_both_views_equal_what_is_stored_whatever_the_network_does_to_the_frames(
    pages: BrowserPages,
    shared_server_with: Callable[..., ServerProcess],
    make_conversation: MakeConversation,
) -> None:
    # What a browser says of a socket that was cut.
    pages.allow("WebSocket connection to")
    server = shared_server_with(**NO_LIMITS)
    people = [server.make_user(), server.make_user()]
    conversations = []
    for _ in range(CONVERSATIONS):
        conversation_id = await make_conversation(server, *people)
        async with rest_client(server, people[0]) as rest:
            answer = await rest.get(f"/api/conversations/{conversation_id}")
        conversations.append({"id": conversation_id, "epoch": answer.json()["epoch"]})

    async def run(page: Page, person: Account, url: str) -> dict[str, list[Any]]:
        sent: dict[str, list[Any]] = await page.evaluate(
            START,
            {
                "url": url,
                "token": person.token(),
                "account": person.username,
                "conversations": conversations,
                "messages": MESSAGES,
                "speed": SPEED,
            },
        )
        return sent

    async with asyncio.timeout(120), FaultyProxy.running(server, seed=SEED) as proxy:
        # An empty page of the server's own origin; the proxy is another one.
        open_pages = [await pages.open(server, path="/login/", bypass_csp=True) for _ in people]
        results = await asyncio.gather(
            *(run(page, person, proxy.url) for page, person in zip(open_pages, people, strict=True))
        )
        # A last word over a good network shows each client what it may have missed.
        proxy.calm_down()
        ids = [conversation["id"] for conversation in conversations]
        await open_pages[0].evaluate(
            "ids => Promise.all(ids.map((id) => client.send(id, 'bye')))", ids
        )
        for page in open_pages:
            await page.wait_for_function(
                "() => Object.values(views).every((view) => view.at(-1).content === 'bye')"
            )
        views = [await page.evaluate("views") for page in open_pages]
        assert [await page.evaluate("anew") for page in open_pages] == [0, 0]
    assert all(proxy.counts[fate] for fate in ("drop", "repeat", "delay", "cut")), proxy.counts

    for conversation in conversations:
        conversation_id = conversation["id"]
        stored = await stored_messages(server, people[0], conversation_id)
        assert [message["sequence"] for message in stored] == list(range(1, len(stored) + 1))
        for view in views:
            assert view[conversation_id] == stored
        assert stored.pop()["content"] == "bye"
        for person, sent in zip(people, results, strict=True):
            own = [message for message in stored if message["sender"]["id"] == person.id]
            assert sent[conversation_id] == own
            said = [f"{person.username} says {number}" for number in range(MESSAGES)]
            assert [message["content"] for message in own] == said
