"""Programs that tests run beside each other on one database, and kill in the midst of a write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.support.database import Database
from tests.support.environment import ROOT, server_environment

BATCHES, BATCH = 6, 12

# Several conversations in one batch, in an order of its own: `NAME CONVERSATION…`.
JOURNAL = f"""
import django, json, random, sys
django.setup()
from sessions_app.batches import Draft
from sessions_app.journal import journal
name, *conversations = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
told = []
for repeat in range(2):
    # Everything is sent twice, as by a client that lost its acknowledgements.
    for batch in range({BATCHES}):
        random.shuffle(conversations)
        drafts = [
            Draft(one, "text", "user", None, f"{{name}} {{batch}} {{n}}", {{}}, False)
            for n in range({BATCH}) for one in conversations
        ]
        for draft, future in [(draft, journal.submit(draft)) for draft in drafts]:
            appended = future.result(60)
            message = appended.message
            told.append([
                draft.conversation_id, message.client_message_id, message.sequence,
                appended.duplicate, bool(repeat),
            ])
print(json.dumps(told))
"""

# Posts the same messages as the others beside it, as server code, without a sender: `CONVERSATION`.
POSTERS = f"""
import django, json, sys
django.setup()
from sessions_app.batches import Draft
from sessions_app.journal import journal
talk = sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
told = []
for batch in range({BATCHES}):
    drafts = [
        Draft(talk, "text", "assistant", None, f"{{batch}} {{n}}", {{}}, False)
        for n in range({BATCH})
    ]
    for draft, future in [(draft, journal.submit(draft)) for draft in drafts]:
        appended = future.result(60)
        told.append([draft.client_message_id, appended.message.sequence, appended.duplicate])
print(json.dumps(told))
"""

# Opens connections of one client that nobody has seen before: `CLIENT USER NODE COUNT`.
REGISTRY = """
import django, json, sys
django.setup()
from connections.registry import registry
from connections.registry.opening import Admitted, Identity, Open
from connections.registry.liveness import own_nodes
from connections.registry.nodes import node_register
from ovara.ids import new_id
user, count, *clients = sys.argv[1:]
node = str(node_register().pk)
print("ready", flush=True)
sys.stdin.readline()
admitted = 0
for client in clients:
    opens = [
        Open(str(new_id()), node, Identity(user, client, None), True, None, "")
        for _ in range(int(count))
    ]
    results = [future.result(60) for future in [registry.submit(one) for one in opens]]
    admitted += sum(isinstance(one, Admitted) for one in results)
print(json.dumps(admitted))
"""

# Hides tabs, all at once: `USER TAB…`. What others would hear of them, tab by tab.
HIDERS = """
import django, json, sys
django.setup()
from connections.registry import registry
from connections.registry.presence import SetAway
from sessions_app.records import UserRef
user, *tabs = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
jobs = [SetAway(tab, UserRef(user, "alice"), True) for tab in tabs]
told = [future.result(60) for future in [registry.submit(job) for job in jobs]]
print(json.dumps([[one.conversation_id for one in changes] for changes in told]))
"""


def start(code: str, database: Database, *arguments: str) -> subprocess.Popen[str]:
    """Start `code` as a program of its own on `database`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=server_environment(database.environment, {"LOG_LEVEL": "ERROR"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def side_by_side(code: str, database: Database, arguments: Sequence[Sequence[str]]) -> list[Any]:
    """Run `code` in a process for each of `arguments`, let go at once; what each printed last."""
    programs = [start(code, database, *one) for one in arguments]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n", program.communicate()
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    printed = []
    for program in programs:
        output, errors = program.communicate(timeout=120)
        assert program.returncode == 0, errors
        assert errors == "", errors
        printed.append(json.loads(output.splitlines()[-1]))
    return printed
