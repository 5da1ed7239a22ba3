"""Presence against a simple model: whoever comes, goes, hides or dies, and in whatever batches,
others are told what the model says, each of it once, and the list of who is present agrees."""

from __future__ import annotations

import dataclasses
import os
import socket
import uuid
from datetime import timedelta
from random import Random
from typing import Any

from django.conf import settings as django_settings
from django.db.models import F
from django.test import override_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from connections.models import Client, Connection, Node, Subscription
from connections.registry import write_batch
from connections.registry.activity import Beat
from connections.registry.closing import Close
from connections.registry.liveness import own_nodes
from connections.registry.nodes import node_retire, nodes_reap_own_host
from connections.registry.presence import Expel, SetAway, Settle, Subscribe, Unsubscribe
from connections.selectors import presence
from ovara.accounts.models import User
from ovara.errors import NotFound
from ovara.times import now
from sessions_app.models import Conversation, Participant
from sessions_app.records import UserRef
from sessions_app.services import conversation_create
from tests.durability.presence_model import Model, Place, Tab
from tests.durability.profiles import stateful

GRACE = timedelta(hours=1)
# More than a kernel gives out: no process has it.
NO_PID = 2**31 - 1
PEOPLE, TALKS, NODES, TABS = 2, 2, 3, 6

numbers = st.integers(0, 5)
Step = tuple[Tab, str, str]  # who does what, and in which conversation
wishes = st.tuples(st.sampled_from(["join", "join", "leave", "away", "close"]), numbers)


class PresenceMachine(RuleBasedStateMachine):
    """Nodes write batches of jobs; `told` is what somebody believes who hears all changes."""

    def __init__(self) -> None:
        super().__init__()
        people = list(User.objects.order_by("pk"))
        names = [one.username for one in people]
        self.people = [UserRef(str(one.pk), one.username) for one in people]
        self.talks = [
            str(conversation_create(owner=people[0], usernames=names).pk) for _ in range(TALKS)
        ]
        self.live: list[Node] = []
        self.model = Model()
        self.told: dict[Place, str] = {}
        self.a_node_starts()
        self.a_node_starts()

    def teardown(self) -> None:
        own_nodes.clear()
        for model in (Subscription, Connection, Client, Node, Participant, Conversation):
            model._default_manager.all().delete()

    # What happens.

    @rule()
    def a_node_starts(self) -> None:
        if len(self.live) < NODES:
            # Its heartbeat is old: once it is none of ours, it is not alive.
            node = Node.objects.create(
                hostname=socket.gethostname(), pid=os.getppid(), last_heartbeat=now() - 2 * GRACE
            )
            own_nodes.add(node.pk)
            self.live.append(node)

    @rule(number=numbers, person=numbers, where=numbers)
    def somebody_comes(self, number: int, person: int, where: int) -> None:
        """A page connects and joins."""
        if len(self.open_tabs()) == TABS:
            return
        user, node = self.people[person % PEOPLE], self.live[number % len(self.live)]
        client = Client.objects.create(user_id=user.id)
        row = Connection.objects.create(node=node, client=client, user_id=user.id)
        tab = Tab(str(row.pk), str(client.pk), user, str(node.pk))
        self.model.tabs.append(tab)
        talk = self.talks[where % TALKS]
        self.take_effect([(tab, "join", talk)])
        self.hear(write_batch([job_of(tab, "join", talk)]))

    @rule(
        wished=st.dictionaries(numbers, wishes, min_size=1, max_size=5),
        settles=st.booleans(),
        order=st.randoms(use_true_random=False),
    )
    def a_batch_is_written(
        self, wished: dict[int, tuple[str, int]], settles: bool, order: Random
    ) -> None:
        """Each tab does one thing at the most."""
        plan = self.plan(wished)
        jobs = [job_of(*one) for one in plan] + [Settle()] * settles
        order.shuffle(jobs)
        self.take_effect(plan)
        if settles:
            self.model.settle()
        self.hear(write_batch(jobs))

    @rule(
        wished=st.dictionaries(numbers, wishes, max_size=3),
        person=numbers,
        talk_number=numbers,
        comes_back=st.booleans(),
    )
    def somebody_is_taken_out(
        self, wished: dict[int, tuple[str, int]], person: int, talk_number: int, comes_back: bool
    ) -> None:
        """And perhaps brought in again at once, and joins in the same batch."""
        user, talk = self.people[person % PEOPLE], self.talks[talk_number % TALKS]
        parts = Participant.objects.filter(conversation_id=talk, user_id=user.id)
        parts.delete()
        if comes_back:
            Participant.objects.create(conversation_id=talk, user_id=user.id)
        plan = self.plan(wished)
        results = write_batch([Expel(talk, user.id), *(job_of(*one) for one in plan)])
        refused = [(tab, "join", talk) for tab in self.model.tabs if tab.user == user]
        allowed = [one for one in plan if comes_back or one not in refused]
        for one, result in zip(plan, results[1:], strict=True):
            assert isinstance(result, NotFound) == (one not in allowed)
        self.take_effect([one for one in allowed if one[1] == "leave"])
        self.model.expel(user, talk)
        self.take_effect([one for one in allowed if one[1] != "leave"])
        self.hear(results)
        if not comes_back:
            Participant.objects.create(conversation_id=talk, user_id=user.id)

    @rule()
    def time_passes(self) -> None:
        """Every grace ends."""
        ended = Subscription.objects.filter(left_at__isnull=False)
        ended.update(left_at=F("left_at") - 2 * GRACE)
        self.model.pass_time()

    @rule(number=numbers, is_killed=st.booleans())
    def a_node_ends(self, number: int, is_killed: bool) -> None:
        if len(self.live) == 1:
            return
        node = self.live.pop(number % len(self.live))
        if is_killed:
            own_nodes.discard(node.pk)
            Node.objects.filter(pk=node.pk).update(pid=NO_PID)
            return
        node_retire(node.pk)
        for tab in self.model.tabs:
            if tab.node_id == str(node.pk):
                self.model.close(tab)

    @rule()
    def the_dead_are_reaped(self, mistaken: Node | None = None) -> None:
        """By another node that starts; `mistaken` is alive, and does not look so."""
        taken_for_dead = [mistaken.pk] if mistaken else []
        rows = Node.objects.filter(pk__in=taken_for_dead)
        rows.update(pid=NO_PID)
        nodes_reap_own_host(uuid.uuid4())
        rows.update(pid=os.getppid())
        alive = {str(node.pk) for node in self.live if node is not mistaken}
        for tab in self.model.tabs:
            if tab.node_id not in alive:
                self.model.end(tab)

    @rule(
        number=numbers,
        wished=st.dictionaries(numbers, wishes, max_size=3),
        settles=st.booleans(),
        comes=st.booleans(),
    )
    def a_node_is_taken_for_dead_and_goes_on(
        self, number: int, wished: dict[int, tuple[str, int]], settles: bool, comes: bool
    ) -> None:
        """Its tabs do this and that before it hears of it by its heartbeat; then it sends them
        away, and perhaps one of them is back at once."""
        node = self.live[number % len(self.live)]
        own = [tab for tab in self.open_tabs() if tab.node_id == str(node.pk)]
        self.the_dead_are_reaped(node)
        if settles:
            self.model.settle()
            self.hear(write_batch([Settle()]))
        plan = self.plan(wished)
        self.take_effect(plan)
        self.hear(write_batch([job_of(*one) for one in plan]))
        assert write_batch([Beat(str(node.pk))]) == [False]
        for tab in own:
            self.model.close(tab)
        self.hear(write_batch([job_of(tab, "close", "") for tab in own]))
        if comes:
            self.somebody_comes(self.live.index(node), number, number)
        assert write_batch([Beat(str(node.pk))]) == [True]
        # As old as before: nobody has looked meanwhile.
        Node.objects.filter(pk=node.pk).update(last_heartbeat=node.last_heartbeat)

    # What is true at every moment.

    @invariant()
    def others_were_told_the_truth(self) -> None:
        assert self.told == self.model.present()

    @invariant()
    def the_list_of_who_is_present_says_the_same(self) -> None:
        for talk in self.talks:
            listed = {(talk, one["user"]["id"]): one for one in presence(talk)}
            told = {place: state for place, state in self.told.items() if place[0] == talk}
            assert {place: one["state"] for place, one in listed.items()} == told
            for (_, user_id), one in listed.items():
                seated = [
                    tab
                    for tab in self.open_tabs()
                    if tab.user.id == user_id and talk in tab.seats and not tab.seats[talk].ended
                ]
                assert one["connections"] == len(seated)

    # How it is done.

    def open_tabs(self) -> list[Tab]:
        """The tabs that can do something."""
        alive = {str(node.pk) for node in self.live}
        return [tab for tab in self.model.tabs if tab.is_open and tab.node_id in alive]

    def plan(self, wished: dict[int, tuple[str, int]]) -> list[Step]:
        tabs = self.open_tabs()
        plan = []
        for number, (wish, where) in wished.items():
            if number < len(tabs):
                tabs[number].is_away ^= wish == "away"
                plan.append((tabs[number], wish, self.talks[where % TALKS]))
        return plan

    def take_effect(self, plan: list[Step]) -> None:
        """In the order of a connection's life, whatever the order of the jobs."""
        for tab, talk in [(tab, talk) for tab, wish, talk in plan if wish == "leave"]:
            self.model.leave(tab, talk)
        self.model.join((tab, talk) for tab, wish, talk in plan if wish == "join")
        for tab in [tab for tab, wish, _ in plan if wish == "away"]:
            self.model.look(tab)
        for tab in [tab for tab, wish, _ in plan if wish == "close"]:
            self.model.close(tab)

    def hear(self, results: list[Any]) -> None:
        """Callers tell what they get, in the order of their jobs."""
        for change in [one for result in results if isinstance(result, list) for one in result]:
            place = change.conversation_id, change.user.id
            assert (change.event == "joined") == (place not in self.told), change
            if change.event == "left":
                del self.told[place]
            else:
                assert self.told.get(place) != change.state, change
                self.told[place] = change.state


def job_of(tab: Tab, wish: str, talk: str) -> Any:
    if wish == "join":
        return Subscribe(tab.id, talk, tab.user, tab.client_id, tab.node_id, tab.is_away)
    if wish == "leave":
        return Unsubscribe(tab.id, talk)
    return (
        SetAway(tab.id, tab.user, tab.is_away)
        if wish == "away"
        else Close(tab.id, None, None, 1000, "")
    )


def test_what_others_are_told_is_what_is_true(db: None) -> None:
    for number in range(PEOPLE):
        User.objects.create(username=f"person-{number}")
    ovara = dataclasses.replace(django_settings.OVARA, presence_grace_seconds=GRACE.total_seconds())
    with override_settings(OVARA=ovara):
        run_state_machine_as_test(PresenceMachine, settings=stateful(examples=40, steps=30))
