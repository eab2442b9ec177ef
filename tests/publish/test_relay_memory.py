"""Tests the publisher on the in-memory twin: crashes, lost replies and fencing at every place.

It is judged by what is visible.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agent.errors import (
    AgentError,
    AnotherAgent,
    DuplicateAgent,
    KafkaUnreachable,
    StateAhead,
    StateLost,
    TopicTaken,
)
from agent.outbox.reader import Waiting
from agent.publish.base import Headers
from agent.publish.memory import MemoryProducer
from agent.publish.relay import IDLE_SECONDS, MARK_SECONDS
from agent.publish.state import loads
from agent.publish.unforeseen import MOST
from agent.service.control import Control
from tests.publish.fronts import workload
from tests.publish.world import World
from tests.waiting import BUSY, PATIENCE, eventually


class Running:
    """A publisher in a thread, with the error it ended with."""

    def __init__(self, world: World, nonce: str = "nonce-1") -> None:
        self.control = Control.alone("publish", nonce)
        self.relay = world.relay(self.control, nonce)
        self.error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.relay.run()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def stop(self) -> float:
        """Stops it; the seconds it took."""
        began = time.monotonic()
        if self._thread.is_alive():
            self.control.stop()
        self.ended()
        return time.monotonic() - began

    def ended(self) -> BaseException | None:
        """Waits for its own end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if not self._closed:
            self._closed = True
            self.control.close()
        return self.error


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A front end and a cluster after init."""
    found = World(tmp_path)
    yield found
    found.front.close()


@pytest.fixture
def start(world: World) -> Iterator[Callable[..., Running]]:
    """Starts publishers that are stopped at the end."""
    started: list[Running] = []

    def start(nonce: str = "nonce-1") -> Running:
        started.append(Running(world, nonce))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def test_publishes_marks_and_deletes(world: World, start: Callable[..., Running]) -> None:
    """Everything becomes visible, the front end is told, the batches go, the metrics say so."""
    world.front.write(workload(1, 50))
    running = start()
    eventually(lambda: world.published() == world.front.expected, what="all published")
    world.front.write(workload(2, 50), heartbeat=True)
    running.control.wake()
    eventually(lambda: world.published() == world.front.expected, what="all published")
    eventually(lambda: world.front.outbox_rows() == 0, what="the outbox is empty")
    # Looked up once a second: a busy machine is seen while events still wait
    gauges = running.control.gauges
    eventually(lambda: gauges["agent_outbox_events"] == 0, what="the metrics say so")
    mark, state = world.front.reader().published(), world.state()
    assert (mark.number, mark.event_id, mark.position) == (
        state.number,
        state.event,
        state.position,
    )
    assert (
        state.reached == world.front.lsn
        and state.part == 0
        and state.epoch == 1
        and state.nonce == "nonce-1"
    )
    assert running.stop() < 2 + BUSY
    counted = {
        name[2:]: count
        for name, count in running.control.counters.items()
        if name[0] == "agent_events_total"
    }
    assert (
        sum(counted.values()) == state.number
        and {name for name, _ in counted} == {"orders", "items"}
        and {op for _, op in counted} == set("cud")
    )
    assert (gauges["agent_connected/kafka"], gauges["agent_outbox_events"]) == (0, 0)
    assert gauges["agent_last_commit_timestamp_seconds/published"] == state.time_us / 1e6


@pytest.mark.parametrize("untold", [["state"], ["orders"], ["orders", "items", "state"]])
def test_a_commit_that_was_answered_holds_though_its_ends_are_lost(
    world: World, start: Callable[..., Running], untold: list[str]
) -> None:
    """The broker dies before the partitions hear of it (KAFKA-20734), and the mark is written.

    Nothing is sent twice, and all becomes visible.
    """
    names = {"state": world.settings.state_topic, "orders": "p.orders", "items": "p.items"}
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        world.front.write(workload(1, 20))
        world.cluster.losing_commits = {names[name] for name in untold}
        relay.transaction()
        assert relay.mark() and world.front.outbox_rows() == 0
        relay.abandon()
    world.cluster.losing_commits = set()
    assert world.published() != world.front.expected or untold == ["state"]
    start()
    eventually(lambda: world.published() == world.front.expected, what="all is visible")
    world.front.write(workload(2, 20))
    eventually(lambda: world.published() == world.front.expected, what="it goes on")
    assert world.front.suspensions() == []


def test_a_transaction_takes_what_stood_in_the_outbox_when_it_began(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under steady load the first event must not wait for the last.

    It costs one query, however many batches wait.
    """
    send, outbox_was_read = MemoryProducer.send, 0
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        waiting = relay.reader.waiting

        def counted(after: int) -> Waiting:
            nonlocal outbox_was_read
            outbox_was_read += 1
            return waiting(after)

        def sent(producer: MemoryProducer, topic: str, *record: Any) -> None:
            send(producer, topic, *record)
            if topic != world.settings.state_topic:
                world.front.write([[("items", 1, "u")]])

        monkeypatch.setattr(relay.reader, "waiting", counted)
        monkeypatch.setattr(MemoryProducer, "send", sent)
        for number in range(10):
            world.front.write([[("orders", number, "c")]])
        relay.publish()
        assert (world.state().number, outbox_was_read) == (10, 1)
        relay.publish()
        assert (world.state().number, outbox_was_read) == (20, 2)
        relay.abandon()


def test_more_than_one_query_holds_is_still_one_transaction(world: World) -> None:
    """What stands in the outbox ends a transaction, or its bounds; not what one query reads."""
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        for number in range(40):
            world.front.write([[("orders", number, "c")]])
        relay.publish()
        assert world.state().number == 40
        relay.abandon()


def test_the_state_record_goes_along_with_its_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the events end is foreseen: one record and one wait a transaction, and it is exact.

    The markers of commits are counted, too.
    """
    drain, waits = MemoryProducer.drain, 0

    def waited(producer: MemoryProducer, outstanding: int, deadline: float) -> bool:
        nonlocal waits
        waits += not outstanding
        return drain(producer, outstanding, deadline)

    monkeypatch.setattr(MemoryProducer, "drain", waited)
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        for seed in range(3):
            world.front.write(workload(seed, 10))
            records, waits = len(world.cluster.committed(world.settings.state_topic)[0]), 0
            relay.publish()
            assert waits == 1
            assert len(world.cluster.committed(world.settings.state_topic)[0]) == records + 1
            assert_exact(world)
        relay.abandon()


def test_ends_that_were_not_foreseen_are_put_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger writes into a topic: a second state record says where the events really end."""
    send, drain, late = MemoryProducer.send, MemoryProducer.drain, {}

    def sent(producer: MemoryProducer, topic: str, partition: int, *record: Any) -> None:
        known = dict(producer.offsets)
        send(producer, topic, partition, *record)
        late[topic, partition] = producer.offsets[topic, partition]
        producer.offsets = known

    def drained(producer: MemoryProducer, outstanding: int, deadline: float) -> bool:
        producer.offsets.update(late)
        return drain(producer, outstanding, deadline)

    monkeypatch.setattr(MemoryProducer, "send", sent)
    monkeypatch.setattr(MemoryProducer, "drain", drained)
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        stranger = MemoryProducer(world.cluster, "stranger")
        stranger.begin()
        for partition in range(3):
            stranger.send("p.orders", partition, b"", b"", [])
        stranger.commit(0)
        world.front.write([[("orders", number, "c") for number in range(20)]])
        for records in (2, 1):
            before = len(world.cluster.committed(world.settings.state_topic)[0])
            relay.publish()
            after = len(world.cluster.committed(world.settings.state_topic)[0])
            assert after == before + records
            assert_exact(world)
            world.front.write([[("orders", number, "u") for number in range(20)]])
        relay.abandon()


def assert_exact(world: World) -> None:
    """Checks that the state record names the end of each partition.

    Only the marker of the commit stands behind it.
    """
    for topic, recorded in world.state().topics.items():
        logs = world.cluster.topics[topic].logs
        written = {number: len(log) - 1 for number, log in enumerate(logs) if log}
        assert {number: recorded.offsets[number] for number in written} == written


def test_a_locked_front_end_is_marked_after_the_next_transaction(world: World) -> None:
    """While changes keep coming the lock is rarely free.

    A mark that failed is tried again at once, or the outbox would only grow.
    """
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        world.front.write(workload(1, 3))
        with world.front.engine.begin():  # the capture process holds the one write lock
            relay.publish()
            assert relay.marked.number == 0
        world.front.write(workload(2, 3))
        relay.publish()
        assert world.front.outbox_rows() == 0
        relay.abandon()


def test_headers_and_tombstones(world: World, start: Callable[..., Running]) -> None:
    """Names and forms of docs/events.md."""
    world.front.write([[("orders", 1, "c"), ("orders", 1, "d")]])
    start()
    eventually(lambda: world.published() == world.front.expected, what="all published")
    log = next(log for log in world.cluster.committed("p.orders") if log)
    identity = world.front.expected["p.orders"][1][0].encode()
    assert [record.value is None for record in log] == [False, False, True]
    assert log[1].headers == [
        ("sync.id", identity),
        ("sync.seq", b"2"),
        ("sync.generation", b"1"),
        ("sync.epoch", b"1"),
    ]
    assert log[2] == log[1]._replace(value=None, headers=[("sync.of", identity)])


def test_a_large_transaction_is_split_and_says_so(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Parts of ten, then a small one that is whole."""
    world = World(tmp_path, transaction_events=10)
    request.addfinalizer(world.front.close)
    world.front.write([[("orders", n, "c") for n in range(25)], [("orders", 1, "u")]])
    running = Running(world)
    eventually(lambda: world.published() == world.front.expected, what="all published")
    running.stop()
    heads = sorted(
        (dict(r.headers) for log in world.cluster.committed("p.orders") for r in log),
        key=lambda h: int(h["sync.seq"]),
    )
    assert [(h.get("sync.part"), h.get("sync.last")) for h in heads] == [(b"1", b"0")] * 10 + [
        (b"2", b"0")
    ] * 10 + [(b"3", b"1")] * 5 + [(None, None)]


def test_a_cluster_that_is_down_only_lets_the_outbox_grow(
    world: World, start: Callable[..., Running]
) -> None:
    """The loop beats, counts, and stops at once."""
    world.cluster.down = True
    running = start()
    world.front.write(workload(1, 10))
    eventually(
        lambda: running.control.counters["agent_errors_total", "publish", "KAFKA_UNREACHABLE"] >= 3,
        what="three attempts",
    )
    assert world.front.outbox_rows() == 1
    world.cluster.down = False
    eventually(lambda: world.published() == world.front.expected, what="all published")
    world.cluster.down = True
    assert running.stop() < 2 + BUSY


@pytest.mark.parametrize("switch", ["lost_replies", "lost_commits"])
def test_unknown_outcomes(world: World, start: Callable[..., Running], switch: str) -> None:
    """A commit without a reply may have happened or not: the state record tells."""
    start()
    for seed in range(8):
        setattr(world.cluster, switch, 1)
        world.front.write(workload(seed, 10))
        eventually(lambda: world.published() == world.front.expected, what="all published")


class Faulty:
    """Makes a producer's call fail after so many, before or after it took effect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plan: list[tuple[str, int, bool]]) -> None:
        self.plan = list(plan)
        self.left = 0
        for name in ("begin", "send", "drain", "commit"):
            self._wrap(monkeypatch, name, getattr(MemoryProducer, name))

    def _wrap(
        self, monkeypatch: pytest.MonkeyPatch, name: str, original: Callable[..., object]
    ) -> None:
        def call(producer: MemoryProducer, *args: object) -> object:
            strikes = False
            if self.plan and self.plan[0][0] == name:
                _, count, after = self.plan[0]
                strikes = self.left >= count
                self.left = 0 if strikes else self.left + 1
            if strikes:
                self.plan.pop(0)
                if not after:
                    raise KafkaUnreachable(address="memory", reason="planned")
            result = original(producer, *args)
            if strikes:
                raise KafkaUnreachable(address="memory", reason="planned")
            return result

        monkeypatch.setattr(MemoryProducer, name, call)


faults = st.lists(
    st.tuples(
        st.sampled_from(["begin", "send", "drain", "commit"]), st.integers(0, 12), st.booleans()
    ),
    max_size=6,
)


@pytest.mark.no_cover
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=faults, seed=st.integers(0, 1000), bound=st.integers(1, 12), restarts=st.integers(0, 2))
def test_exactly_once_whatever_fails(
    tmp_path_factory: pytest.TempPathFactory,
    plan: list[tuple[str, int, bool]],
    seed: int,
    bound: int,
    restarts: int,
) -> None:
    """Faults come before and after each call, and restarts between.

    Each event comes once, seq is gapless, and each unsplit transaction is visible as one.
    """
    world = World(tmp_path_factory.mktemp("relay"), transaction_events=bound)
    with pytest.MonkeyPatch.context() as monkeypatch:
        Faulty(monkeypatch, plan)
        monkeypatch.setattr(Control, "retry", lambda self, error: None)
        monkeypatch.setattr(Control, "wait", lambda self, seconds: self.stop())
        for turn in range(restarts + 1):
            world.front.write(workload(seed + turn, 12, 8), heartbeat=turn == 1)
            world.front.opened_again(f"n{turn}")
            world.run(f"n{turn}")
    world.front.close()
    assert world.published() == world.front.expected
    assert (
        world.state().number == sum(len(events) for events in world.front.expected.values())
        and world.state().part == 0
    )


def test_the_front_end_belongs_to_another_service(
    world: World, start: Callable[..., Running]
) -> None:
    """Exit 75, and nothing of Kafka is touched."""
    error = start("another").ended()
    assert isinstance(error, AnotherAgent) and error.exit_code == 75
    assert world.state().nonce == "init"


def test_a_publisher_whose_outbox_another_service_has_emptied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still meanwhile.

    What it meets is a gap in the outbox; what it reports is who holds the front end.
    """

    def wait(control: Control, seconds: float) -> None:
        if control.nonce == "nonce-2":
            return control.stop()
        world.front.opened_again("nonce-2")
        world.front.write(workload(1, 5))
        world.run("nonce-2")
        return world.front.write(workload(2, 5))

    monkeypatch.setattr(Control, "wait", wait)
    with pytest.raises(AnotherAgent):
        world.run("nonce-1")


def test_a_late_mark_does_not_move_the_mark_back(world: World) -> None:
    """A publisher stands still before it writes its mark.

    Its successor has gone on, and its batches are gone: the first one recovers all the same.
    """
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        late = world.relay(control)
        late.recover()
        world.front.write([[("orders", 1, "c")]])
        late.transaction()
        world.front.opened_again("nonce-2")
        with contextlib.closing(Control.alone("publish", "nonce-2")) as other:
            successor = world.relay(other, "nonce-2")
            successor.recover()
            world.front.write([[("orders", 2, "c")]])
            successor.transaction()
            assert successor.mark() and late.mark()
            assert world.front.outbox_rows() == 0
            assert world.front.reader().published().number == 2
            successor.abandon()
            successor.recover()
            successor.abandon()


@pytest.mark.parametrize(
    ("question", "turn"),
    [
        ("identity", 1),
        ("published", 1),
        ("event_id", 1),
        ("identity", 2),
        ("published", 2),
        ("batch_of", 1),
    ],
)
def test_a_late_mark_while_its_successor_recovers(
    world: World, monkeypatch: pytest.MonkeyPatch, question: str, turn: int
) -> None:
    """It holds after whatever the successor has asked the front end.

    The event that Kafka's record names is gone, and the publisher goes on all the same.
    """
    with (
        contextlib.closing(Control.alone("publish", "nonce-1")) as control,
        contextlib.closing(Control.alone("publish", "nonce-2")) as other,
    ):
        late = world.relay(control)
        late.recover()
        world.front.write([[("orders", 1, "c")]])
        late.transaction()
        world.front.opened_again("nonce-2")
        successor = world.relay(other, "nonce-2")
        ask, asked = getattr(successor.reader, question), []

        def answered(*arguments: object) -> object:
            answer = ask(*arguments)
            asked.append(answer)
            if len(asked) == turn:
                assert late.mark()
            return answer

        monkeypatch.setattr(successor.reader, question, answered)
        successor.recover()
        assert (world.state().nonce, world.front.outbox_rows()) == ("nonce-2", 0)
        assert len(asked) >= turn
        successor.abandon()


def test_a_clone_is_halted(world: World, start: Callable[..., Running], tmp_path: Path) -> None:
    """There are two copies of one front end, and the second claims a later epoch.

    The first is fenced, recovers, and halts.
    """
    world.front.write(workload(1, 10))
    first = start()
    eventually(lambda: world.published() == world.front.expected, what="all published")
    state = world.state()
    world.write_state(state._replace(epoch=2, nonce="clone"))
    world.front.write(workload(2, 10))
    first.control.wake()
    error = first.ended()
    assert isinstance(error, DuplicateAgent) and error.exit_code == 78
    assert world.state().nonce == "clone"


def lose_topic(world: World) -> None:
    """Deleted."""
    del world.cluster.topics["p.orders"]


def recreate_topic(world: World) -> None:
    """Deleted and created again."""
    world.cluster.create("p.orders", 3)


def records(world: World) -> int:
    """How many the topic holds, visible or not."""
    topic = world.cluster.topics.get("p.orders")
    return (
        sum(record.transaction is not None for log in topic.logs for record in log)
        if topic is not None
        else 0
    )


def add_partition(world: World) -> None:
    """One more."""
    world.cluster.topics["p.orders"].logs.append([])


def truncate(world: World) -> None:
    """Records lost."""
    for log in world.cluster.topics["p.orders"].logs:
        log.clear()


def lose_state(world: World) -> None:
    """The state topic deleted and created again."""
    world.cluster.create(world.settings.state_topic)


def lose_state_topic(world: World) -> None:
    """The state topic deleted."""
    del world.cluster.topics[world.settings.state_topic]


def restore_front(world: World) -> None:
    """The state record of an event the outbox never had."""
    world.write_state(world.state()._replace(number=10_000, event="ff" * 16))


def test_rests_until_something_is_due(world: World) -> None:
    """Capture ends each rest; else it lasts until a look at the topics, the mark or the backlog."""
    with contextlib.closing(Control.alone("publish", "nonce-1")) as control:
        relay = world.relay(control)
        relay.recover()
        relay.abandon()

        relay.topics.due_at = math.inf
        relay.marked = relay.present_mark()
        assert relay.seconds_to_rest(100.0) == IDLE_SECONDS
        relay.topics.due_at = 102.5
        assert relay.seconds_to_rest(100.0) == 2.5

        relay.covered += 1
        relay._mark_at = 100.5
        assert relay.seconds_to_rest(100.0) == 0.5
        # An attempt was made and has found the lock taken
        relay._mark_at = 99.0
        assert relay.seconds_to_rest(100.0) == MARK_SECONDS

        relay.gauges.visible(0, 0.1)
        assert relay.seconds_to_rest(relay.gauges.due_at) == 0.0


@pytest.mark.parametrize(
    ("harm", "error"),
    [(lose_state, StateLost), (lose_state_topic, StateLost), (restore_front, StateAhead)],
)
def test_check_c_at_the_next_recovery(
    world: World, harm: Callable[[World], None], error: type[AgentError]
) -> None:
    """Each harm is named before anything is written."""
    world.front.write(workload(1, 30))
    running = Running(world)
    eventually(lambda: world.published() == world.front.expected, what="all published")
    running.stop()
    harm(world)
    before = sum(len(log) for topic in world.cluster.topics.values() for log in topic.logs)
    world.front.write(workload(2, 30))
    assert isinstance(Running(world).ended(), error)
    assert sum(len(log) for topic in world.cluster.topics.values() for log in topic.logs) == before


HARMS = pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lose_topic, "TOPIC_LOST"),
        (recreate_topic, "TOPIC_LOST"),
        (truncate, "TOPIC_LOST"),
        (add_partition, "PARTITIONS_CHANGED"),
    ],
)


@HARMS
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
def test_a_harmed_topic_stops_its_table_alone(
    world: World,
    start: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[World], None],
    code: str,
    stopped: bool,
) -> None:
    """Its events are passed over from a number that is on record, and the others go on.

    A new generation of it is published to the topic as it is then.
    """
    monkeypatch.setattr("agent.publish.topic_watch.CHECK_SECONDS", 0.1)
    monkeypatch.setattr("agent.publish.topic_watch.SUSPENSION_SECONDS", 0.1)
    monkeypatch.setattr("agent.publish.relay.IDLE_SECONDS", 0.1)
    front = world.front
    front.write(workload(1, 30))
    running = start()
    eventually(lambda: world.published() == front.expected, what="all published")
    if stopped:
        running.stop()
    number = world.state().number
    harm(world)
    if not stopped:
        eventually(lambda: world.state().topics["p.orders"].lost, what="it is on record")
    front.write(workload(2, 30))
    running = start() if stopped else running
    running.control.wake()
    events = sum(map(len, front.expected.values()))
    eventually(lambda: world.state().number == events, what="the others go on")
    lost = world.state().topics["p.orders"].lost
    assert (lost["code"], lost["from"]) == (code, number + 1)
    assert world.published()["p.items"] == front.expected["p.items"]
    left = records(world)
    eventually(
        lambda: front.suspensions() == [("orders", code)],
        what="capture is asked to suspend the table",
    )
    front.suspend("orders")
    running.stop()
    if harm is lose_topic:
        recreate_topic(world)
    front.begin_anew("orders")
    front.write([[("orders", 1, "c"), ("items", 1, "u")], [("orders", 1, "d")]])
    again = start()
    eventually(lambda: world.state().number == events + 3, what="the new generation is published")
    heads = [
        dict(r.headers)
        for log in world.cluster.committed("p.orders")
        for r in log
        if r.value is not None
    ]
    assert sorted(
        (int(h["sync.generation"]), int(h["sync.seq"]))
        for h in heads
        if h["sync.generation"] == b"2"
    ) == [(2, 1), (2, 2)]
    assert records(world) == left + 3
    state = world.state().topics["p.orders"]
    assert (state.lost, state.generation, state.partitions, state.id) == (
        {},
        2,
        len(world.cluster.topics["p.orders"].logs),
        world.cluster.topics["p.orders"].id,
    )
    assert again.error is None


def test_a_new_generation_without_a_topic_is_lost_again(
    world: World, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody created it: nothing is published, the table is to be suspended anew."""
    monkeypatch.setattr("agent.publish.relay.IDLE_SECONDS", 0.1)
    running = start()
    eventually(lambda: "p.orders" in world.state().topics, what="the topic is on record")
    running.stop()
    lose_topic(world)
    world.front.write([[("orders", 1, "c")]])
    start()
    eventually(world.front.suspensions, what="it is lost")
    world.front.suspend("orders")
    world.front.begin_anew("orders")
    world.front.write([[("orders", 1, "c")]])
    eventually(
        lambda: world.state().topics["p.orders"].generation == 2, what="the new generation is met"
    )
    assert world.state().topics["p.orders"].lost["from"] == 2


@pytest.mark.parametrize("gone", [False, True], ids=["its topic stands", "its topic is gone"])
def test_a_table_that_left_the_configuration(
    world: World, start: Callable[..., Running], gone: bool
) -> None:
    """What waits of it in the outbox is published as long as its topic exists, else passed over.

    It is on record when the table comes back.
    """
    world.front.write(workload(1, 20))
    running = start()
    eventually(lambda: world.published() == world.front.expected, what="all published")
    running.stop()
    world.front.write([[("orders", 1, "c"), ("items", 1, "c")], [("orders", 2, "c")]])
    if gone:
        lose_topic(world)
    complete = world.settings
    world.settings = complete.model_copy(
        update={
            "resource": [resource for resource in complete.resource if resource.name == "items"]
        }
    )
    running = start()
    eventually(
        lambda: world.state().number == sum(map(len, world.front.expected.values())),
        what="nothing waits",
    )
    running.stop()
    assert running.error is None
    assert gone or world.published() == world.front.expected
    assert bool(world.state().topics["p.orders"].lost) is gone
    world.settings = complete
    epoch = world.state().nonce
    world.front.opened_again("nonce-2")
    start("nonce-2")
    eventually(lambda: world.state().nonce != epoch, what="it has recovered")
    assert world.front.suspensions() == ([("orders", "TOPIC_LOST")] if gone else [])


def test_a_topic_that_never_was(world: World) -> None:
    """Deleted right after `init`: its table is suspended, the others are published."""
    lose_topic(world)
    world.front.write(workload(1, 30))
    running = Running(world)
    eventually(
        lambda: world.published()["p.items"] == world.front.expected["p.items"],
        what="the other table is published",
    )
    assert world.front.suspensions() == [("orders", "TOPIC_LOST")]
    running.stop()


def test_unknown_exceptions_are_retried_a_few_times(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the agent halts; the text of the exception is never shown."""
    attempts = []

    def fail(
        self: MemoryProducer,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        attempts.append(1)
        raise RuntimeError("row value")

    monkeypatch.setattr(MemoryProducer, "send", fail)
    monkeypatch.setattr(Control, "retry", lambda self, error: None)
    error = Running(world).ended()
    assert (
        isinstance(error, AgentError)
        and error.code == "INTERNAL"
        and "row value" not in str(error)
        and "RuntimeError" in str(error)
    )
    assert len(attempts) == MOST


def test_a_slow_line_shrinks_the_transactions_until_they_pass(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 100 bytes per transaction never get through.

    One source transaction of 50 events does in the end, in parts.
    """
    world = World(tmp_path, transaction_timeout_seconds=2.0)
    request.addfinalizer(world.front.close)
    monkeypatch.setattr(Control, "retry", lambda self, error: None)
    clock = [0.0]
    monkeypatch.setattr("agent.publish.relay.time.monotonic", lambda: clock[0])
    original = MemoryProducer.send

    def send(
        self: MemoryProducer,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        original(self, topic, partition, key, value, headers)
        clock[0] += 0.0 if topic.endswith("unit1") else 0.15
        self.outstanding = 1 << 30

    def drain(self: MemoryProducer, outstanding: int, deadline: float) -> bool:
        return clock[0] < deadline

    monkeypatch.setattr(MemoryProducer, "send", send)
    monkeypatch.setattr(MemoryProducer, "drain", drain)
    monkeypatch.setattr(Control, "wait", lambda self, seconds: self.stop())
    monkeypatch.setattr("agent.publish.memory.time.monotonic", lambda: clock[0])
    world.front.write([[("orders", n, "c") for n in range(50)]])
    world.run()
    assert world.published() == world.front.expected
    heads = sorted(
        (dict(r.headers) for log in world.cluster.committed("p.orders") for r in log),
        key=lambda h: int(h["sync.seq"]),
    )
    parts = [int(h["sync.part"]) for h in heads]
    assert parts == sorted(parts) and set(parts) == set(range(1, parts[-1] + 1)) and parts[-1] > 5
    assert [h["sync.last"] == b"1" for h in heads] == [part == parts[-1] for part in parts]


def run_until_idle(world: World, nonce: str = "nonce-1") -> None:
    """A publisher that has published what there is, or ended with an error."""
    running, last = Running(world, nonce), world.front.last
    try:
        eventually(
            lambda: running.error is not None or (last and world.state().number >= last),
            what="everything is published",
        )
    finally:
        running.stop()
    if running.error is not None:
        raise running.error


def foreign(world: World, topic: str, *keys: bytes, commit: bool = True) -> None:
    """Records of another agent."""
    producer = MemoryProducer(world.cluster, "another agent")
    producer.begin()
    for key in keys:
        producer.send(topic, 0, key, b"{}", [("sync.id", b"other"), ("sync.seq", b"1")])
    if commit:
        producer.commit(0)
    else:
        world.cluster.end(producer._transaction, "another agent", False)  # type: ignore[arg-type]


def test_a_topic_with_anothers_records_stops_its_table_alone(tmp_path: Path) -> None:
    """Not one event goes into it, also after a restart; emptied, it serves the next generation."""
    world = World(tmp_path / "world")
    foreign(world, "p.orders", b"theirs")
    world.front.write(workload(3, 20))
    for nonce in ("nonce-1", "nonce-1"):
        run_until_idle(world, nonce)
        assert len(world.cluster.committed("p.orders")[0]) == 1
    assert world.front.suspensions() == [("orders", "TOPIC_TAKEN")]
    assert world.published()["p.items"] == world.front.expected["p.items"]
    assert world.state().topics["p.orders"].lost["code"] == "TOPIC_TAKEN"
    world.front.begin_anew("orders")
    world.front.write(workload(4, 20))
    run_until_idle(world)
    assert len(world.cluster.committed("p.orders")[0]) == 1  # still theirs
    world.cluster.create("p.orders", 3)
    world.front.begin_anew("orders")
    world.front.write(workload(5, 20))
    run_until_idle(world)
    assert world.published() == world.front.expected


def test_what_was_aborted_is_nobodys(tmp_path: Path) -> None:
    """An attempt of another agent, or of this one, that never became visible."""
    world = World(tmp_path / "world")
    foreign(world, "p.orders", b"theirs", commit=False)
    world.front.write(workload(3, 20))
    run_until_idle(world)
    assert world.published() == world.front.expected


def test_a_topic_is_recorded_before_its_first_event(tmp_path: Path) -> None:
    """A topic that left the configuration must not lock this agent out later.

    An end between its events and the record would do so.
    """
    world = World(tmp_path / "world")
    world.front.write(workload(3, 20))
    world.settings = world.settings.model_copy(update={"resource": [world.settings.resource[0]]})
    run_until_idle(world)
    records = [
        loads(r.value or b"") for r in world.cluster.committed(world.settings.state_topic)[0]
    ]
    first = next(n for n, record in enumerate(records) if "p.items" in record.topics)
    assert records[first].number == records[first - 1].number
    assert world.published() == world.front.expected


def test_a_topic_of_transactions_with_anothers_records_halts(tmp_path: Path) -> None:
    """It has no table that could stand still alone."""
    world = World(tmp_path / "world", transactions=True)
    further = world.settings.transaction_topic
    assert further is not None
    foreign(world, further, b"theirs")
    with pytest.raises(TopicTaken, match=further):
        run_until_idle(world)
