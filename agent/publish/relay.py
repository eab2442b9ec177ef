"""The publisher process: empties the outbox into Kafka, exactly once. The loop is `Relay.run`; everything else is a step of it."""

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress

from agent import failpoints
from agent.config import Settings
from agent.errors import (
    AgentError,
    HangingTransaction,
    KafkaUnreachable,
    Retry,
    SlowLine,
    TopicMissing,
    TopicTaken,
)
from agent.outbox.opening import open_reader
from agent.outbox.reader import Published, Reader
from agent.publish import recovery
from agent.publish.base import Broker, Producer, Tick, TopicDescription
from agent.publish.clients import cluster
from agent.publish.feed import Feed
from agent.publish.gauges import Gauges
from agent.publish.grouping import Grouper, Pace, Unit
from agent.publish.records import Records, with_offsets
from agent.publish.state import StateRecord, TopicState
from agent.service.control import Control
from agent.stop_watch import answers_until_stopped

RECOVERY_SECONDS = 20.0  # after which a recovery begins anew
IDLE_SECONDS = 1.0
MARK_SECONDS = 1.0  # between two written marks
TOPICS_SECONDS = 30.0  # between two looks at the topics' identities
TICK_SECONDS = 0.2
STOP_SECONDS = 1.0  # a transaction under way may still end so long after the stop
UNEXPECTED = 5  # unknown exceptions in a row with which the agent halts
_log = logging.getLogger(__name__)


class Stopped(BaseException):
    """The process was asked to stop while something waited; no error handler may swallow it."""


def relay(settings: Settings, control: Control, nonce: str) -> None:
    """Publishes until stopped. Raises Halt errors; retries everything else, for ever."""

    def connect(agent: str, tick: Tick) -> Broker:
        return cluster(settings, agent, tick)

    reader = open_reader(settings)
    with answers_until_stopped(control.stop_fd):
        Relay(settings, control, nonce, reader, connect).run()


class Relay:
    """One publisher. From `recover` to the next error it owns a producer, and `state` is what Kafka holds."""

    broker: Broker
    state: StateRecord
    feed: Feed
    records: Records

    def __init__(
        self,
        settings: Settings,
        control: Control,
        nonce: str,
        reader: Reader,
        connect: Callable[[str, Tick], Broker],
    ) -> None:
        self.settings, self.control, self.nonce, self.reader, self.connect = (
            settings,
            control,
            nonce,
            reader,
            connect,
        )
        self.gauges = Gauges(settings, control)
        self.timeout = settings.kafka.transaction_timeout_seconds
        self.pace = Pace(
            settings.kafka.transaction_events, settings.kafka.transaction_bytes, self.timeout / 2
        )
        self.marked = Published(0, "", 0, "", 0)  # what the front end was told
        self.covered = 0  # every batch up to this number is in Kafka
        self._producer: Producer | None = None
        self._unexpected = 0
        self._tick_at = self._mark_at = self._topics_at = self._stop_at = 0.0

    @property
    def producer(self) -> Producer:
        """The one in use."""
        assert self._producer is not None, "no producer: recover first"
        return self._producer

    def run(self) -> None:
        """The loop: recover, publish until an error, throw the producer away, begin again."""
        while not self.control.stopping():
            try:
                self.recover()
                while not self.control.stopping():
                    self.publish()
                self.mark()
            except Retry as error:
                self.abandon()
                self.control.retry(error)
            except Stopped:
                return
            except AgentError:
                self.superseded()
                raise
            except Exception as error:  # noqa: BLE001 - a bug in a client must not end the process at once
                self.abandon()
                self.control.retry(self.unknown(error))
            finally:
                self.abandon()

    def recover(self) -> None:
        """Opens a producer, reads what Kafka holds, checks it (check C), and claims the state topic for this epoch."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        identity = self.reader.identity()
        recovery.holder(identity, self.nonce)
        self.gauges.backlog(self.reader, self.reader.published().number)
        self.broker = self.connect(identity.agent_uuid, self.tick)
        self._producer = self.broker.open(deadline)
        states = self.broker.states(deadline)
        before, unended = recovery.last(
            self.settings.state_topic, states.visible, states.hanging, self.reader.published()
        )
        event = self.reader.event_id(before.number, identity.source_id)
        # Both are read after the event, for whoever deletes the event moves the mark.
        identity, mark = self.reader.identity(), self.reader.published()
        recovery.check(
            recovery.Facts(self.nonce, identity, mark, self.settings.state_topic, before, event)
        )
        found = self.looked(deadline)
        self.end_aborted(before, unended, found, deadline)
        found = self.finished(before, found, deadline)
        topics = self.described(before, recovery.readable(found))
        self.records = Records(
            identity.source_id, identity.epoch, {}, self.settings.transaction_topic
        )
        self.learn(topics)
        self.covered = self.reader.batch_of(before.number)
        self.feed = Feed(
            self.reader,
            Grouper(before.number, before.part, before.reached, self.pace),
            self.covered,
        )
        self.state = before
        self.producer.begin()
        self.commit(
            before._replace(epoch=identity.epoch, nonce=self.nonce, topics=before.topics | topics),
            time.monotonic(),
        )
        self.gauges.connected(True)
        _log.info(
            "kafka_recovered epoch=%d number=%d part=%d position=%s",
            identity.epoch,
            before.number,
            before.part,
            before.position or "-",
        )

    def publish(self) -> None:
        """One Kafka transaction, or a pause when nothing waits; between them the mark, the topics and the gauges when they are due."""
        if self.feed.peek() is None:
            self.control.wait(IDLE_SECONDS)
        else:
            self.transaction()
        self._unexpected = 0
        self.gauges.backlog(self.reader, self.state.number)
        now = time.monotonic()
        if now >= self._mark_at and self.mark():
            self._mark_at = now + MARK_SECONDS
        if now >= self._topics_at:
            self.look(now)
        self.control.went_well()

    def look(self, now: float) -> None:
        """Sees whether the topics are still what they were; of one that is not, the state record says so at once."""
        topics = self.described(self.state, self.looked(now + self.timeout / 2))
        lost = {
            name: topic
            for name, topic in topics.items()
            if topic.lost and not self.state.topics[name].lost
        }
        if lost:
            self.learn(lost)
            self.producer.begin()
            self.commit(self.state._replace(topics=self.state.topics | lost), now)

    def looked(self, deadline: float) -> dict[str, TopicDescription | None]:
        """The topics of events as the cluster has them. Raises TopicLimit where the state topic takes no state record any more."""
        events, state = self.settings.event_topics, self.settings.state_topic
        found = self.broker.topics([*events, state], deadline)
        needed = recovery.state_bytes(events, self.settings.kafka.partitions)
        recovery.check_state_topic(state, found.pop(state), needed)
        return found

    def learn(self, topics: Mapping[str, TopicState]) -> None:
        """What was found out about topics holds for what is sent from now on."""
        self.records.learn(topics)
        self.producer.offsets.update(
            {
                (name, number): end
                for name, topic in topics.items()
                if not topic.lost
                for number, end in topic.offsets.items()
            }
        )

    def begin(self) -> None:
        """Starts a transaction. A topic nobody has looked at (its table left the configuration), or a new generation of a lost one, is looked at first."""
        unit = self.feed.peek()
        unknown = self.records.unknown(unit) if unit is not None else {}
        if unknown:
            found = self.broker.topics(unknown, time.monotonic() + self.timeout / 2)
            resources, number = self.resources(), self.state.number
            topics = {}
            for name, generation in unknown.items():
                before = self.state.topics.get(name)
                if before is None or before.lost:
                    topics[name] = recovery.anew(
                        name,
                        found[name],
                        resources.get(name, name),
                        generation,
                        number,
                        self.taken(name, before, found[name]),
                    )
                else:
                    topics[name] = recovery.again(
                        name, before, found[name], resources.get(name, name), number
                    )
            self.learn(topics)
            self._topics_at = 0.0
            # In a transaction of its own: whoever finds events in these topics finds the record that says whose they are.
            self.producer.begin()
            self.commit(self.state._replace(topics=self.state.topics | topics), time.monotonic())
        self.producer.begin()

    def taken(self, name: str, before: TopicState | None, now: TopicDescription | None) -> bool:
        """Whether a topic, new to this agent or begun anew, holds records that are not its own."""
        if now is None:
            return False
        deadline = time.monotonic() + RECOVERY_SECONDS
        return self.broker.holds(name, now, recovery.known(before, now), deadline)

    def transaction(self) -> None:
        """As many source transactions as bounds and half of the time allow, or one part of a split one; then the state record; then visible."""
        began = time.monotonic()
        failpoints.hit("before_kafka_begin")
        try:
            self.begin()
            state, covered = self.fill(began)
            self.commit(state, began)
        except Retry:
            if (
                time.monotonic() - began > self.timeout / 4
            ):  # not a refused connection: there was too much for the line
                self.pace.slow()
            raise
        self.covered = covered
        seconds = time.monotonic() - began
        self.pace.went(seconds)
        self.gauges.visible(state.time_us, seconds)

    def fill(self, began: float) -> tuple[StateRecord, int]:
        """Hands units over, at least one; returns the state after them and the batch they cover. It is never left within a unit."""
        state, unit = self.state, self.feed.take()
        events, size = len(unit.events), unit.size
        self.gauges.begin()
        while True:
            self.send(unit, began)
            state = self.records.after(state, unit)
            following = self.feed.peek()
            if (
                following is None
                or unit.part
                or following.part
                or time.monotonic() - began > self.timeout / 2
            ):
                return state, unit.covered
            if self.records.unknown(following):
                return state, unit.covered
            events, size = events + len(following.events), size + following.size
            if events > self.pace.events or size > self.pace.bytes:
                return state, unit.covered
            unit = self.feed.take()

    def send(self, unit: Unit, began: float) -> None:
        """Hands one unit over. Raises SlowLine when half of the time passes over it; a single event may take longer."""
        self.tick()
        bound = min(self.settings.kafka.in_flight_bytes, self.pace.bytes)
        deadline = began + self.timeout * (0.5 if len(unit.events) > 1 else 0.8)
        for record in self.records.bounding(unit.opening):
            self.producer.send(*record)
        for event in unit.events:
            records = self.records.of(event, unit)
            for record in records:
                self.producer.send(*record)
            if records:
                self.gauges.event(event)
            failpoints.hit("mid_produce")
            if self.producer.outstanding > bound and not self.producer.drain(bound, deadline):
                raise SlowLine(events=len(unit.events), seconds=round(time.monotonic() - began, 1))
        for record in self.records.bounding(unit.closing):
            self.producer.send(*record)

    def commit(self, state: StateRecord, began: float) -> None:
        """Sees that all is stored, adds the state record, which says where, and makes the transaction visible."""
        self.stored(state, began)
        failpoints.hit("after_flush")
        state = with_offsets(state, self.producer.offsets)
        self.producer.send(self.settings.state_topic, 0, state.agent.encode(), state.dumps(), [])
        failpoints.hit("after_state_record")
        self.stored(state, began)
        failpoints.hit("before_kafka_commit")
        self.producer.commit(began + self.timeout)
        failpoints.hit("after_kafka_commit")
        self.state = state

    def stored(self, state: StateRecord, began: float) -> None:
        """Waits until all that was sent is stored. Raises SlowLine."""
        if not self.producer.drain(0, began + self.timeout * 0.8):
            raise SlowLine(
                events=state.number - self.state.number, seconds=round(time.monotonic() - began, 1)
            )

    def resources(self) -> dict[str, str]:
        """The configured resource of each topic."""
        return {self.settings.topic(resource): resource.name for resource in self.settings.resource}

    def end_aborted(
        self,
        before: StateRecord,
        hanging: StateRecord | None,
        found: Mapping[str, TopicDescription | None],
        deadline: float,
    ) -> None:
        """Raises HangingTransaction when an aborted transaction lacks its end: having begun one in the same places, which the next producer aborts."""
        places = recovery.unended(before, hanging, found, self.settings.state_topic)
        if places:
            self.producer.begin()
            for topic, partition in places:
                self.producer.send(topic, partition, b"", None, [])
            self.producer.drain(0, deadline)
            raise HangingTransaction(topics=", ".join(sorted({topic for topic, _ in places})))

    def finished(
        self,
        before: StateRecord,
        found: dict[str, TopicDescription | None],
        deadline: float,
    ) -> dict[str, TopicDescription | None]:
        """The topics once committed transactions that lack their end have got it: from an empty one, which is committed in the same places."""
        places = recovery.unfinished(before, found)
        if not places:
            return found
        self.producer.abandon()
        self.broker.finish(places, deadline)
        self._producer = self.broker.open(deadline)
        _log.warning("kafka_finished topics=%s", ",".join(sorted({topic for topic, _ in places})))
        return self.looked(deadline)

    def described(
        self, state: StateRecord, topics: Mapping[str, TopicDescription | None]
    ) -> dict[str, TopicState]:
        """The configured topics as they are now, checked against the record. Of lost ones capture is told, until it has suspended the table."""
        resources, rows, further = (
            self.resources(),
            self.reader.resources(),
            self.settings.transaction_topic,
        )
        if (
            further is not None and topics[further] is None
        ):  # no table's: made again, it goes on from there
            raise TopicMissing(topic=further)
        # Only the first look counts. The record names topics from then on, and what an aborted
        # attempt of ours left behind may not be readable, so that it would look like a stranger's.
        begins = further is not None and not state.number and not state.topics
        if further is not None and begins and self.taken(further, None, topics[further]):
            raise TopicTaken(resource=self.settings.agent, topic=further)
        facts = {
            topic: (name, int(str(rows[name]["generation"])) if name in rows else 1)
            for topic, name in resources.items()
        }
        checked = recovery.check_topics(
            state.topics,
            {topic: topics[topic] for topic in resources},
            facts,
            state.number,
            self.settings.kafka.max_event_bytes,
            [
                topic
                for topic in resources
                if topic not in state.topics and self.taken(topic, None, topics[topic])
            ],
        )
        waiting = False
        for topic, found in checked.items():
            name, generation = facts[topic]
            if (
                found.passes_over(generation)
                and name in rows
                and rows[name]["state"] != "suspended"
            ):
                waiting = True
                self.reader.ask_suspension(name, found.lost["code"], found.lost["values"])
        self._topics_at = time.monotonic() + (IDLE_SECONDS if waiting else TOPICS_SECONDS)
        transactions = topics[further] if further is not None else None
        if further is not None and transactions is not None:
            checked[further] = recovery.of_transactions(state.topics.get(further), transactions)
        return checked

    def mark(self) -> bool:
        """Tells the front end what Kafka holds, so that it may delete those batches; False if its lock was not free: then after the next transaction."""
        state = self.state
        mark = Published(state.number, state.event, self.covered, state.position, state.time_us)
        if mark != self.marked:
            failpoints.hit("before_published_mark")
            if not self.reader.mark_published(mark):
                return False
            self.marked = mark
        return True

    def superseded(self) -> None:
        """Raises AnotherAgent when the front end is held by another service by now: then what did not fit may be that one's work."""
        with suppress(Retry):
            recovery.holder(self.reader.identity(), self.nonce)

    def abandon(self) -> None:
        """Throws the producer away."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None
            self.gauges.connected(False)

    def tick(self) -> None:
        """A sign of life while something waits or takes long. Raises Stopped a moment after the process was asked to stop."""
        now = time.monotonic()
        if (
            now < self._tick_at
        ):  # system calls give up the interpreter's lock; taking it back from the sending thread costs up to 5 ms
            return
        self._tick_at = now + TICK_SECONDS
        self.control.beat()
        if self.control.stopping():
            self._stop_at = self._stop_at or now + STOP_SECONDS
            if now >= self._stop_at:
                raise Stopped

    def unknown(self, error: Exception) -> Retry:
        """An exception nobody foresaw: a new producer is worth a few attempts. Logs where it happened, never its text. Raises AgentError."""
        self._unexpected += 1
        at = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{type(error).__name__} at {at.name}:{at.lineno}"
        _log.error("publisher_unexpected error=%s count=%d", name, self._unexpected)
        if self._unexpected >= UNEXPECTED:
            raise AgentError(detail=name) from None
        return KafkaUnreachable(
            address=",".join(self.settings.kafka.bootstrap_servers), reason=name
        )
