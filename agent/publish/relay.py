"""The publisher process: empties the outbox into Kafka, exactly once.

The loop is `Relay.run`; everything else here is a step of it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from agent import failpoints
from agent.config import KafkaSettings, Settings, Topics
from agent.errors import AgentError, Retry, SlowLine
from agent.outbox.opening import open_reader
from agent.outbox.reader import Published, Reader
from agent.publish import hanging, recovery
from agent.publish.base import Broker, Descriptions, Producer, Tick
from agent.publish.clients import cluster
from agent.publish.ends import Ends
from agent.publish.gauges import Gauges
from agent.publish.grouping import Grouper, Pace, Unit
from agent.publish.records import Records, with_offsets
from agent.publish.signs_of_life import SignsOfLife, Stopped
from agent.publish.state import StateRecord, TopicState
from agent.publish.topic_watch import TopicWatch
from agent.publish.unforeseen import Unforeseen
from agent.publish.unit_reader import UnitReader
from agent.service.control import Control
from agent.stop_watch import answers_until_stopped

RECOVERY_SECONDS = 20.0  # after which a recovery begins again
IDLE_SECONDS = 3.0  # after which the outbox is looked at, though nobody has said that more waits
MARK_SECONDS = 1.0  # between two written marks
_log = logging.getLogger(__name__)


def relay(settings: Settings, control: Control, nonce: str) -> None:
    """Publishes until stopped. Raises Halt errors; retries everything else, for ever."""
    kafka, topics = settings.kafka, settings.topics

    def connect(agent: str, tick: Tick) -> Broker:
        return cluster(kafka, topics.state, agent, tick)

    reader = open_reader(settings.front, settings.agent)
    with answers_until_stopped(control.stop_fd):
        Relay(kafka, topics, control, nonce, reader, connect).run()


class Relay:
    """One publisher.

    From `recover` to the next error it owns a producer, and `state` is what Kafka holds.
    """

    broker: Broker
    state: StateRecord
    units: UnitReader
    records: Records
    ends: Ends

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Topics,
        control: Control,
        nonce: str,
        reader: Reader,
        connect: Callable[[str, Tick], Broker],
    ) -> None:
        self.kafka = kafka
        self.topic_names = topics
        self.control = control
        self.nonce = nonce
        self.reader = reader
        self.connect = connect

        self.tick = SignsOfLife(control)
        self.gauges = Gauges(topics.resources, control)
        self.topics = TopicWatch(kafka, topics, reader)
        self.unforeseen = Unforeseen(",".join(kafka.bootstrap_servers))
        self.timeout = kafka.transaction_timeout_seconds
        self.pace = Pace(kafka.transaction_events, kafka.transaction_bytes, self.timeout / 2)

        self.marked = Published(0, "", 0, "", 0)  # the mark that the front end has
        self.covered = 0  # every batch up to this number is in Kafka
        self._producer: Producer | None = None
        self._mark_at = 0.0

    @property
    def producer(self) -> Producer:
        """The one in use."""
        assert self._producer is not None, "no producer: recover first"
        return self._producer

    def run(self) -> None:
        """Recovers, publishes until an error, throws the producer away, and begins again."""
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
                self.check_holder()
                raise
            except Exception as error:  # noqa: BLE001 - a client may raise anything
                self.abandon()
                self.control.retry(self.unforeseen.error(error))
            finally:
                self.abandon()

    # ---- recovery ----

    def recover(self) -> None:
        """Opens a producer, reads and checks what Kafka holds, and claims the state topic.

        It is check C. The claim is a state record with the epoch that the front end has now.
        """
        deadline = time.monotonic() + RECOVERY_SECONDS
        identity = self.reader.identity()
        recovery.check_holder(identity, self.nonce)
        self.gauges.backlog(self.reader, self.reader.published().number)

        self.broker = self.connect(identity.agent_uuid, self.tick)
        self._producer = self.broker.open(deadline)
        states = self.broker.states(deadline)
        before, unended = recovery.last_records(
            self.topic_names.state, states.visible, states.hanging, self.reader.published()
        )
        event = self.reader.event_id(before.number, identity.source_id)
        # Both are read after the event, for whoever deletes the event moves the mark.
        identity, mark = self.reader.identity(), self.reader.published()
        recovery.check(
            recovery.Facts(self.nonce, identity, mark, self.topic_names.state, before, event)
        )

        found = self.topics.describe(self.broker, deadline)
        self.end_aborted(before, unended, found, deadline)
        found = self.end_committed(before, found, deadline)
        topics = self.topics.check(self.broker, before, hanging.readable(found))

        self.records = Records(
            identity.source_id, identity.epoch, {}, self.topic_names.transactions
        )
        self.ends = Ends()
        self.update_topics(topics)
        self.covered = self.reader.batch_of(before.number)
        grouper = Grouper(before.number, before.part, before.reached, self.pace)
        self.units = UnitReader(self.reader, grouper, self.covered)

        self.state = before
        claim = before._replace(
            epoch=identity.epoch, nonce=self.nonce, topics=before.topics | topics
        )
        self.producer.begin()
        self.commit(claim, time.monotonic())
        self.gauges.connected(True)
        _log.info(
            "kafka_recovered epoch=%d number=%d part=%d position=%s",
            identity.epoch,
            before.number,
            before.part,
            before.position or "-",
        )

    def end_aborted(
        self,
        before: StateRecord,
        unended: StateRecord | None,
        found: Descriptions,
        deadline: float,
    ) -> None:
        """Raises HangingTransaction where an aborted transaction lacks its end.

        The next producer writes that end.
        """
        places = hanging.aborted(before, unended, found, self.topic_names.state)
        if places:
            hanging.make_abortable(self.producer, places, deadline)

    def end_committed(
        self, before: StateRecord, found: Descriptions, deadline: float
    ) -> Descriptions:
        """Ends committed transactions that lack their end; returns the topics as they are then.

        The end comes from an empty transaction, which is committed in the same places.
        """
        places = hanging.committed(before, found)
        if not places:
            return found
        self.producer.abandon()
        self.broker.finish(places, deadline)
        self._producer = self.broker.open(deadline)
        _log.warning("kafka_finished topics=%s", hanging.names(places, ","))
        return self.topics.describe(self.broker, deadline)

    def abandon(self) -> None:
        """Throws the producer away."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None
            self.gauges.connected(False)

    def check_holder(self) -> None:
        """Raises AnotherAgent when another service holds the front end by now.

        Then what did not fit may be that one's work.
        """
        with suppress(Retry):
            recovery.check_holder(self.reader.identity(), self.nonce)

    # ---- one turn of the loop ----

    def publish(self) -> None:
        """Publishes one Kafka transaction, or pauses when nothing waits.

        Afterwards come the mark, the topics and the gauges, when they are due.
        """
        if self.units.look() is None:
            if self.control.wait(self.seconds_to_rest(time.monotonic())):
                self.gauges.moved()
        else:
            self.transaction()
        self.unforeseen.forget()
        self.gauges.backlog(self.reader, self.state.number)

        now = time.monotonic()
        if now >= self._mark_at and self.mark():
            self._mark_at = now + MARK_SECONDS
        if now >= self.topics.due_at:
            self.check_topics(now)
        self.control.went_well()

    def seconds_to_rest(self, now: float) -> float:
        """Returns how long to wait for capture before anything else is due."""
        due_at = min(now + IDLE_SECONDS, self.topics.due_at, self.gauges.due_at)
        if self.present_mark() != self.marked:
            # An attempt that has found the front end's lock taken is made again after as long
            due_at = min(due_at, self._mark_at if self._mark_at > now else now + MARK_SECONDS)
        return max(0.0, due_at - now)

    def present_mark(self) -> Published:
        """Returns the mark that the front end should have."""
        state = self.state
        return Published(state.number, state.event, self.covered, state.position, state.time_us)

    def mark(self) -> bool:
        """Writes the published mark, so that the front end may delete those batches.

        Returns False if the front end's lock was not free: then it is due after the next
        transaction.
        """
        mark = self.present_mark()
        if mark != self.marked:
            failpoints.hit("before_published_mark")
            if not self.reader.mark_published(mark):
                return False
            self.marked = mark
        return True

    # ---- topics ----

    def check_topics(self, now: float) -> None:
        """Checks the topics; the state record says at once which one is lost."""
        found = self.topics.describe(self.broker, now + self.timeout / 2)
        lost = {}
        for name, topic in self.topics.check(self.broker, self.state, found).items():
            if topic.lost and not self.state.topics[name].lost:
                lost[name] = topic
        if lost:
            self.record_topics(lost, now)

    def check_unit_topics(self, unit: Unit) -> None:
        """Checks the topics of a unit that nobody has checked, or whose new generation begins."""
        unchecked = self.records.unchecked(unit)
        if unchecked:
            deadline = time.monotonic() + self.timeout / 2
            topics = self.topics.check_unit(self.broker, self.state, unchecked, deadline)
            self.record_topics(topics, time.monotonic())

    def record_topics(self, topics: dict[str, TopicState], began: float) -> None:
        """Publishes what was found of topics, as a state record in a transaction of its own.

        So whoever finds events in these topics finds the record that says whose they are.
        """
        self.update_topics(topics)
        self.producer.begin()
        self.commit(self.state._replace(topics=self.state.topics | topics), began)

    def update_topics(self, topics: Mapping[str, TopicState]) -> None:
        """Has what was found of topics hold for what is sent from now on."""
        self.records.update_topics(topics)
        for name, topic in topics.items():
            if not topic.lost:
                for partition, end in topic.offsets.items():
                    self.producer.offsets[name, partition] = end
                    self.ends.found((name, partition), end)

    # ---- one Kafka transaction ----

    def transaction(self) -> None:
        """Publishes source transactions, then the state record; then all of it is visible.

        They are what stands in the outbox when it begins, as far as the bounds and half of the time
        allow, or one part of a split one.
        """
        began = time.monotonic()
        failpoints.hit("before_kafka_begin")
        try:
            state, covered = self.fill(began)
            self.commit(state, began)
        except Retry:
            if time.monotonic() - began > self.timeout / 4:
                # Not a refused connection: there was too much for the line
                self.pace.slow()
            raise
        self.covered = covered

        seconds = time.monotonic() - began
        self.pace.succeeded(seconds)
        self.gauges.visible(state.time_us, seconds)

    def fill(self, began: float) -> tuple[StateRecord, int]:
        """Begins a transaction and hands units over, at least one.

        Returns the state after them and the batch they cover. It is never left within a unit.
        """
        unit = self.units.peek()
        assert unit is not None, "a unit waits"
        self.check_unit_topics(unit)
        self.producer.begin()
        self.gauges.begin()

        state, unit = self.state, self.units.take()
        events, size = len(unit.events), unit.size
        while True:
            self.send(unit, began)
            state = self.records.after(state, unit)
            following = self.units.peek()
            if following is None or unit.part or following.part:
                return state, unit.covered
            if time.monotonic() - began > self.timeout / 2:
                return state, unit.covered
            if self.records.unchecked(following):
                return state, unit.covered
            events, size = events + len(following.events), size + following.size
            if events > self.pace.events or size > self.pace.bytes:
                return state, unit.covered
            unit = self.units.take()

    def send(self, unit: Unit, began: float) -> None:
        """Hands one unit over.

        Raises SlowLine when half of the time passes over it; a single event may take longer.
        """
        self.tick()
        bound = min(self.kafka.in_flight_bytes, self.pace.bytes)
        deadline = began + self.timeout * (0.5 if len(unit.events) > 1 else 0.8)

        producer = self.producer
        places = []
        for topic, partition, key, value, headers in self.records.of(unit):
            producer.send(topic, partition, key, value, headers)
            places.append((topic, partition))
            failpoints.hit("mid_produce")
            if producer.outstanding > bound and not producer.drain(bound, deadline):
                raise SlowLine(events=len(unit.events), seconds=round(time.monotonic() - began, 1))
        self.ends.sent(places)
        self.gauges.events(self.records.published(unit))

    def commit(self, state: StateRecord, began: float) -> None:
        """Adds the state record, and makes the transaction visible once all is stored.

        The record names the ends that are foreseen. Where an event was stored elsewhere, the right
        record follows in the same transaction: the last one counts.
        """
        failpoints.hit("before_state_record")
        foreseen = with_offsets(state, self.producer.offsets | self.ends.foreseen())
        self.send_state(foreseen)
        failpoints.hit("after_state_record")
        self.wait_stored(state, began)

        stored = with_offsets(state, self.producer.offsets)
        if stored != foreseen:
            self.send_state(stored)
            self.wait_stored(state, began)

        failpoints.hit("before_kafka_commit")
        self.producer.commit(began + self.timeout)
        failpoints.hit("after_kafka_commit")
        self.ends.visible(self.producer.offsets)
        self.state = stored

    def send_state(self, state: StateRecord) -> None:
        """Hands the state record over."""
        self.producer.send(self.topic_names.state, 0, state.agent.encode(), state.dumps(), [])

    def wait_stored(self, state: StateRecord, began: float) -> None:
        """Waits until all that was sent is stored. Raises SlowLine."""
        if not self.producer.drain(0, began + self.timeout * 0.8):
            events = state.number - self.state.number
            raise SlowLine(events=events, seconds=round(time.monotonic() - began, 1))
