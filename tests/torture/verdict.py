"""Compares what was promised with what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set

from tests.torture.client import TortureClient
from tests.torture.promises import Entry
from tests.torture.world import StoredConversation, StoredPresence


def faults_of_messages(
    stored: dict[str, StoredConversation], clients: Sequence[TortureClient]
) -> Iterator[str]:
    """What is wrong with the messages, in words; nothing if all is well."""
    for conversation_id, conversation in stored.items():
        where = f"conversation {conversation_id}"
        sequences = [message["sequence"] for message in conversation.messages]
        if sequences != list(range(1, len(sequences) + 1)):
            yield f"{where}: the sequences are not 1..n: {_first_odd(sequences)}"
        if conversation.last_sequence != len(sequences):
            yield f"{where}: last_sequence is {conversation.last_sequence} of {len(sequences)}"
        for client in clients:
            view = client.views.get(conversation_id)
            if view is None:
                continue
            if view.epoch != conversation.epoch:
                yield f"{where}: {client.name} knows the epoch {view.epoch}"
            if view.messages != conversation.messages:
                yield f"{where}: {client.name} sees {_difference(view.messages, conversation)}"
    yield from _faults_of_promises(stored, clients)
    yield from _faults_of_reading(stored, clients)


def _faults_of_promises(
    stored: dict[str, StoredConversation], clients: Sequence[TortureClient]
) -> Iterator[str]:
    times = Counter(
        (key, message["sender"]["id"], message["client_message_id"])
        for key, conversation in stored.items()
        for message in conversation.messages
    )
    for client in clients:
        for entry in client.acknowledged:
            key = (entry.conversation_id, client.user_id, entry.client_message_id)
            if times.pop(key, 0) != 1:
                yield f"{client.name}: {entry.client_message_id} is not stored exactly once"
            elif any(ack != entry.acks[0] for ack in entry.acks) or entry.first_acks > 1:
                yield f"{client.name}: {entry.client_message_id} got different answers"
            elif entry.acks[0] not in _at(stored[entry.conversation_id], entry):
                yield f"{client.name}: {entry.client_message_id} is stored unlike its ack"
        yield from _faults_of_order(client)
    yield from (f"{key} was never acknowledged, its sender gave up" for key in times)


def _at(conversation: StoredConversation, entry: Entry) -> list[dict[str, object]]:
    sequence = entry.acks[0]["sequence"]
    return conversation.messages[sequence - 1 : sequence]


def _faults_of_order(client: TortureClient) -> Iterator[str]:
    """What a client wrote comes in the order in which it was written."""
    newest: dict[str, int] = {}
    for entry in client.acknowledged:
        sequence = entry.acks[0]["sequence"]
        if entry.unordered:
            continue
        if sequence < newest.get(entry.conversation_id, 0):
            yield f"{client.name}: {entry.client_message_id} came behind what was written after it"
        newest[entry.conversation_id] = sequence


def _faults_of_reading(
    stored: dict[str, StoredConversation], clients: Sequence[TortureClient]
) -> Iterator[str]:
    promised: Counter[tuple[str, str]] = Counter()
    for client in clients:
        for conversation_id, sequence in client.read.items():
            key = (conversation_id, client.user_id)
            promised[key] = max(promised[key], sequence)
    for (conversation_id, user_id), sequence in promised.items():
        position = stored[conversation_id].read[user_id]
        if position < sequence:
            yield f"user {user_id} had read {sequence} of {conversation_id}, stored is {position}"


def faults_of_presence(presence: StoredPresence, clients: Sequence[TortureClient]) -> Iterator[str]:
    """What is wrong with the rows about connections, while all of `clients` are connected."""
    connections = {client.connection_id for client in clients}
    subscriptions = {(client.connection_id, key) for client in clients for key in client.views}
    yield from (f"open on a dead node: {row}" for row in presence.of_dead_nodes)
    if presence.connections != connections:
        yield f"connections: {_versus(presence.connections, connections)}"
    if presence.subscriptions != subscriptions:
        yield f"subscriptions: {_versus(presence.subscriptions, subscriptions)}"
    if presence.leaving:
        yield f"{presence.leaving} subscriptions have ended and are still there"


def _versus(stored: Set[object], real: Set[object]) -> str:
    return f"{len(stored - real)} stored are not real, {len(real - stored)} real are not stored"


def _first_odd(sequences: Sequence[int]) -> str:
    place = next(n for n, sequence in enumerate(sequences) if sequence != n + 1)
    return f"… {sequences[max(0, place - 2) : place + 3]} …"


def _difference(seen: Sequence[object], conversation: StoredConversation) -> str:
    if len(seen) != len(conversation.messages):
        return f"{len(seen)} messages of {len(conversation.messages)}"
    pairs = zip(seen, conversation.messages, strict=True)
    place = next(n for n, (left, right) in enumerate(pairs) if left != right)
    return f"{seen[place]} at {place + 1}, stored is {conversation.messages[place]}"
