"""Looks at the topics of events and finds out what the next state record says of them.

It only reads Kafka and the front end, except that it asks capture to suspend the table of a topic
that is lost.
"""

import time
from collections.abc import Mapping

from agent.config import KafkaSettings, Topics
from agent.errors import TopicMissing, TopicTaken
from agent.outbox.reader import Reader
from agent.publish import topic_check
from agent.publish.base import Broker, Descriptions, TopicDescription
from agent.publish.state import StateRecord, TopicState
from agent.publish.topic_check import Owner

CHECK_SECONDS = 30.0  # between two checks of the topics
SUSPENSION_SECONDS = 1.0  # the same while capture has yet to suspend a table
READ_SECONDS = 20.0  # for reading whether a topic holds records


class TopicWatch:
    """The topics of one agent; `due_at` says when the next check is due."""

    def __init__(self, kafka: KafkaSettings, topics: Topics, reader: Reader) -> None:
        self.due_at = 0.0
        self._kafka = kafka
        self._topics = topics
        self._reader = reader

    def describe(self, broker: Broker, deadline: float) -> Descriptions:
        """Returns the topics of events as the cluster has them.

        Raises TopicLimit where the state topic takes no state record any more.
        """
        events, state_topic = self._topics.events, self._topics.state
        found = broker.topics([*events, state_topic], deadline)
        needed = topic_check.state_bytes(events, self._kafka.partitions)
        topic_check.check_state_topic(state_topic, found.pop(state_topic), needed)
        return found

    def check(
        self, broker: Broker, state: StateRecord, found: Descriptions
    ) -> dict[str, TopicState]:
        """Checks the configured topics against the record and returns what the next one says.

        Capture is asked to suspend the table of a lost one, until it has. Raises TopicLimit,
        TopicMissing, TopicTaken.
        """
        rows = self._reader.resources()
        owners = {}
        for topic, name in self._topics.resources.items():
            generation = int(str(rows[name]["generation"])) if name in rows else 1
            owners[topic] = Owner(name, generation)

        transactions = self._transaction_topic(broker, state, found)
        checked = topic_check.check_topics(
            state.topics,
            {topic: found[topic] for topic in self._topics.resources},
            owners,
            state.number,
            self._kafka.max_event_bytes,
            self._foreign(broker, state, found),
        )
        waiting = self._ask_suspensions(checked, owners, rows)
        self.due_at = time.monotonic() + (SUSPENSION_SECONDS if waiting else CHECK_SECONDS)
        return checked | transactions

    def _transaction_topic(
        self, broker: Broker, state: StateRecord, found: Descriptions
    ) -> dict[str, TopicState]:
        """The topic of transactions as the next record has it; nothing where nobody wants it."""
        topic = self._topics.transactions
        if topic is None:
            return {}
        now = found[topic]
        if now is None:  # no table's: made again, it goes on from there
            raise TopicMissing(topic=topic)

        # Only the first look counts. The record names topics from then on, and what an aborted
        # attempt of ours left behind may not be readable, so that it would look like a stranger's.
        begins = not state.number and not state.topics
        if begins and self._holds_foreign(broker, topic, None, now):
            raise TopicTaken(resource=self._topics.agent, topic=topic)
        return {topic: topic_check.transaction_topic(state.topics.get(topic), now)}

    def _foreign(self, broker: Broker, state: StateRecord, found: Descriptions) -> set[str]:
        """Topics new to the record that hold somebody's records."""
        foreign = set()
        for topic in self._topics.resources:
            is_new = topic not in state.topics
            if is_new and self._holds_foreign(broker, topic, None, found[topic]):
                foreign.add(topic)
        return foreign

    def _holds_foreign(
        self,
        broker: Broker,
        name: str,
        before: TopicState | None,
        now: TopicDescription | None,
    ) -> bool:
        """Whether a topic, new to this agent or to a generation, holds records not its own."""
        if now is None:
            return False
        deadline = time.monotonic() + READ_SECONDS
        return broker.holds(name, now, topic_check.known(before, now), deadline)

    def _ask_suspensions(
        self,
        checked: Mapping[str, TopicState],
        owners: Mapping[str, Owner],
        rows: Mapping[str, Mapping[str, object]],
    ) -> bool:
        """Asks capture to suspend the tables of lost topics; returns whether one still is not."""
        waiting = False
        for topic, now in checked.items():
            name, generation = owners[topic]
            if not now.passes_over(generation) or name not in rows:
                continue
            if rows[name]["state"] != "suspended":
                waiting = True
                self._reader.ask_suspension(name, now.lost["code"], now.lost["values"])
        return waiting

    def check_unit(
        self, broker: Broker, state: StateRecord, generations: Mapping[str, int], deadline: float
    ) -> dict[str, TopicState]:
        """Checks topics, given with their generation, that a unit's events are about to go to.

        Nobody has looked at them yet, since their table left the configuration; or a new generation
        begins in one that was lost. The whole check is due soon after.
        """
        found = broker.topics(generations, deadline)
        checked = {}
        for name, generation in generations.items():
            before, now = state.topics.get(name), found[name]
            owner = Owner(self._topics.resources.get(name, name), generation)
            if before is None or before.lost:
                foreign = self._holds_foreign(broker, name, before, now)
                checked[name] = topic_check.new_topic(name, now, owner, state.number, foreign)
            else:
                checked[name] = topic_check.same_topic(
                    name, before, now, owner.resource, state.number
                )
        self.due_at = 0.0
        return checked
