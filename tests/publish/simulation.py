"""Tests the publisher's recovery as a state machine.

The real relay runs on the cluster in memory, one call at a time, in any order of calls and faults.

Each publisher is a thread that stops before each call that leaves it, until it is told to go on. So
it can be killed anywhere, and an older one (a zombie: its machine stood still meanwhile) can go on
anywhere beside its successor. Time is a number.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.errors import AgentError, AnotherAgent, KafkaUnreachable, Retry
from agent.outbox.frames import event_id
from agent.outbox.reader import Identity, Published, Reader, Waiting
from agent.publish.base import Headers, States, Tick, TopicDescription
from agent.publish.memory import MemoryBroker, MemoryProducer, MemoryRecord
from agent.publish.relay import Relay
from agent.service.control import Control
from tests.publish.fronts import SOURCE_ID, workload
from tests.publish.world import World
from tests.simulation import Violated, failing

# How a call ends; the last two: only a commit, only a drain
How = Literal["goes", "refused", "unanswered", "delayed", "slow"]
ENDLESS = 400  # steps without any progress
TIMEOUT = 10.0  # after which the cluster aborts a transaction
LIVING = 3  # publishers at a time


class Killed(BaseException):
    """kill -9."""


class Process(Control):
    """Runs a publisher with its line to a supervisor.

    It is started, and then stops before its first call.
    """

    def begin(self, world: "StepWorld") -> None:
        """Starts it."""
        self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._how: How = "goes"
        self._killed = False
        self.next_commit: How | None = None  # how it ends, if that is settled
        self.idle = False
        self.error: BaseException | None = None
        self.relay = world.publisher(self)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._theirs.acquire()

    def _run(self) -> None:
        try:
            self.stands()
            self.relay.run()
        except BaseException as error:  # noqa: BLE001 - the machine looks at it
            self.error = error
        self._theirs.release()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.error is None

    def step(self, how: How = "goes") -> None:
        """Lets it make its next call, which ends so, and come to the one after it."""
        self._how = how
        self._mine.release()
        self._theirs.acquire()

    def kill(self) -> None:
        """kill -9."""
        if self.alive:
            self._killed = True
            self.step()
        self._thread.join()
        self.close()

    def stands(self) -> How:
        """In its own thread: before a call."""
        self._theirs.release()
        self._mine.acquire()
        if self._killed:
            raise Killed
        return self._how

    def call(self, effect: Callable[[], Any]) -> Any:
        """In its own thread: a call to the cluster."""
        how = self.stands()
        if how == "refused":
            raise KafkaUnreachable(address="memory", reason="simulated")
        result = effect()
        if how == "unanswered":
            raise KafkaUnreachable(address="memory", reason="simulated")
        return result

    def stopping(self) -> bool:
        """It ends by a kill only."""
        return False

    def wait(self, seconds: float) -> bool:
        """Nothing waits."""
        self.idle = True
        self.stands()
        self.idle = False
        return True

    def retry(self, error: Retry) -> None:
        """Tries again at once."""
        self.stands()


class StepProducer(MemoryProducer):
    """A producer whose calls are steps."""

    def __init__(self, process: Process, world: "StepWorld", transactional_id: str) -> None:
        super().__init__(world.cluster, transactional_id)
        self._process, self._world = process, world

    def begin(self) -> None:
        """See Producer."""
        self._process.call(super().begin)
        self._world.begun = self._world.now

    def send(
        self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers
    ) -> None:
        """See Producer."""
        original = super().send
        self._process.call(lambda: original(topic, partition, key, value, headers))

    def drain(self, outstanding: int, deadline: float) -> bool:
        """See Producer."""
        how = self._process.stands()
        if how == "slow":
            self._world.now = max(self._world.now, deadline)
            return False
        return super().drain(outstanding, deadline)

    def commit(self, deadline: float) -> None:
        """See Producer. A delayed one reaches the cluster later, if at all."""
        how = self._process.stands()
        how, self._process.next_commit = self._process.next_commit or how, None
        if how == "delayed":
            self._world.delayed.append(self)
        if how in ("delayed", "refused"):
            raise KafkaUnreachable(address="memory", reason="simulated")
        super().commit(deadline)
        if how == "unanswered":
            raise KafkaUnreachable(address="memory", reason="simulated")

    def arrives(self) -> None:
        """Lets a delayed commit reach the cluster.

        It ends the transaction unless a younger producer has come in between.
        """
        if self._cluster.youngest[self._id] is self and self._transaction is not None:
            self._cluster.end(self._transaction, self._id, True)
            self._transaction = None


class StepBroker(MemoryBroker):
    """A broker whose calls are steps."""

    def __init__(self, process: Process, world: "StepWorld", agent: str, tick: Tick) -> None:
        super().__init__(world.cluster, world.settings.state_topic, agent, tick)
        self._process, self._world = process, world

    def open(self, deadline: float) -> MemoryProducer:
        """See Broker."""
        opened: MemoryProducer = self._process.call(
            lambda: StepProducer(self._process, self._world, self._agent)
        )
        return opened

    def states(self, deadline: float) -> States:
        """See Broker."""
        original = super().states
        found: States = self._process.call(lambda: original(deadline))
        return found

    def topics(self, names: Iterable[str], deadline: float) -> dict[str, TopicDescription | None]:
        """See Broker."""
        original = super().topics
        described: dict[str, TopicDescription | None] = self._process.call(
            lambda: original(names, deadline)
        )
        return described


class StepReader(Reader):
    """The front end, between whose answers something may happen."""

    def __init__(self, process: Process, world: "StepWorld", reader: Reader) -> None:
        super().__init__(reader.engine, reader.agent)
        self._process, self._world = process, world

    def identity(self) -> Identity:
        """See Reader."""
        self._process.stands()
        return super().identity()

    def waiting(self, after: int) -> Waiting:
        """See Reader."""
        self._process.stands()
        return super().waiting(after)

    def mark_published(self, mark: Published) -> bool:
        """See Reader."""
        self._process.stands()
        return not self._world.locked and super().mark_published(mark)


class StepWorld(World):
    """A world with a clock of its own, and with what is under way in it."""

    def __init__(self, path: Path, **kafka: Any) -> None:
        super().__init__(path, **kafka)
        self.now = 100.0
        self.begun = 0.0  # the transaction that is open, if one is
        self.delayed: list[StepProducer] = []
        self.locked = False  # capture holds the front end's lock

    def monotonic(self) -> float:
        """Stands for `time`."""
        return self.now

    def publisher(self, process: Process) -> Relay:
        """A relay for a process."""
        reader = StepReader(process, self, self.front.reader())
        return Relay(
            self.settings.kafka,
            self.settings.topics,
            process,
            process.nonce,
            reader,
            lambda agent, tick: StepBroker(process, self, agent, tick),
        )

    def expire(self) -> None:
        """Aborts a transaction that has been open for too long, and fences its producer."""
        if self.now - self.begun > TIMEOUT:
            MemoryProducer(self.cluster, self.front.agent)


class Publishing(RuleBasedStateMachine):
    """Writes a front end beside a publisher that fails, and its zombies.

    It is judged by what a read_committed consumer sees.
    """

    @initialize(bound=st.sampled_from([1, 2, 3, 8]))
    def installed(self, bound: int) -> None:
        """`init --apply`, and a start."""
        self.folder = Path(tempfile.mkdtemp(prefix="simulation"))
        self.world = StepWorld(self.folder, transaction_events=bound)
        self.patches = [
            patch(f"agent.publish.{module}.time", self.world) for module in ("relay", "memory")
        ]
        for patched in self.patches:
            patched.start()
        self.written: list[
            list[tuple[str, str]]
        ] = []  # topic and id of each event, by source transaction
        self.seen: dict[tuple[str, int], list[MemoryRecord]] = {}  # what was visible
        self.reader = self.world.front.reader()
        self.runs = 1
        self.processes: list[Process] = []
        self.current = self.started()

    def started(self) -> Process:
        """The publisher of the running service."""
        process = Process.alone("publish", f"nonce-{self.runs}")
        assert isinstance(process, Process)
        self.processes.append(process)
        process.begin(self.world)
        return process

    # ---- what happens

    @rule(
        seed=st.integers(0, 999),
        transactions=st.integers(1, 5),
        largest=st.sampled_from([3, 12]),
        heartbeat=st.booleans(),
    )
    def capture_commits(self, seed: int, transactions: int, largest: int, heartbeat: bool) -> None:
        """One front-end transaction."""
        changes = workload(seed, transactions, largest)
        lsn = self.world.front.lsn
        self.world.front.write(changes, heartbeat=heartbeat)
        for number, transaction in enumerate(changes, 1):
            at = lsn + 100 * number
            self.written.append(
                [
                    (f"p.{table}", event_id(SOURCE_ID, at, at, ordinal))
                    for ordinal, (table, _, _) in enumerate(transaction)
                ]
            )

    @rule(which=st.integers(0, LIVING), count=st.integers(1, 40))
    def publisher_goes_on(self, which: int, count: int) -> None:
        """So many calls of one."""
        self.go(self.one(which), count)

    @rule(which=st.integers(0, LIVING), how=st.sampled_from(["refused", "unanswered", "slow"]))
    def call_fails(self, which: int, how: How) -> None:
        """The next call of one."""
        self.go(self.one(which), 1, how)

    @rule(
        which=st.integers(0, LIVING),
        how=st.sampled_from(["goes", "refused", "unanswered", "delayed"]),
    )
    def publisher_commits(self, which: int, how: How) -> None:
        """One goes on to the end of a transaction, which ends so."""
        self.commits(self.one(which), how)

    @rule(
        how=st.sampled_from(["publisher dies", "service dies", "service stands still"]),
        count=st.integers(0, 6),
        late=st.booleans(),
        settled=st.booleans(),
        seed=st.integers(0, 999),
    )
    def publisher_is_started_anew(
        self, how: str, count: int, late: bool, settled: bool, seed: int
    ) -> None:
        """Starts a publisher by the same service, or by another one.

        The other one is on another machine, while this one stands still.

        After so many of its calls what the one before had under way, or has found since, comes to
        its end (`late`). That one had published everything, where it comes to it (`settled`).
        """
        if settled:
            self.go(self.current, ENDLESS)
        self.capture_commits(seed=seed, transactions=1, largest=3, heartbeat=False)
        before = self.current
        if how != "service stands still":
            self.kill(before)
        elif len(self.living()) == LIVING:
            self.kill(self.living()[0])
        if how != "publisher dies":
            self.runs += 1
            self.world.front.opened_again(f"nonce-{self.runs}")
        self.current = self.started()
        self.go(self.current, count)
        if late:
            self.delayed_commits_arrive()
            self.commits(before, "goes")

    @rule(seconds=st.sampled_from([0.3, 1.1, 6.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        """For the cluster's time-outs, too."""
        self.world.now += seconds
        self.world.expire()

    @rule()
    def delayed_commits_arrive(self) -> None:
        """All of them."""
        while self.world.delayed:
            self.world.delayed.pop(0).arrives()

    @rule(topics=st.sampled_from(["none", "of tables", "all"]))
    def aborts_are_lost(self, topics: str) -> None:
        """These topics are not told of them from now on (KAFKA-20734)."""
        tables, state = set(self.world.front.expected), {self.world.settings.state_topic}
        self.world.cluster.losing = {"none": set(), "of tables": tables, "all": tables | state}[
            topics
        ]

    @rule(locked=st.booleans())
    def front_end_is_busy(self, locked: bool) -> None:
        """Or not any more."""
        self.world.locked = locked

    def living(self) -> list[Process]:
        """Those that run."""
        return [process for process in self.processes if process.alive]

    def kill(self, process: Process) -> None:
        """kill -9."""
        process.kill()
        self.processes.remove(process)

    def one(self, which: int) -> Process:
        """One that runs: the service's, or a zombie."""
        return self.living()[which % len(self.living())]

    def go(self, process: Process, count: int, how: How = "goes") -> None:
        """Does so many steps.

        Raises Violated when it ends, but not for a publisher whose front end belongs to another.
        """
        for number in range(count):
            if process.alive and not (number and process.idle):
                process.step(how)
        self.look_at(process)

    def commits(self, process: Process, how: How) -> None:
        """It goes on to the end of a transaction, if anything waits."""
        process.next_commit = how
        for number in range(ENDLESS):
            if process.next_commit is None or not process.alive or (number and process.idle):
                break
            process.step()
        process.next_commit = None
        self.look_at(process)

    def look_at(self, process: Process) -> None:
        """Raises Violated for an end or an exception nobody foresaw."""
        if process.relay.unforeseen.count:
            raise Violated("crash", "an exception in the publisher")
        if isinstance(process.error, AnotherAgent) and process is not self.current:
            return
        if isinstance(process.error, AgentError):
            raise Violated(f"halt {process.error.code}", process.error.text("en"))
        if process.error is not None and not isinstance(process.error, Killed):
            raise Violated("crash", repr(process.error))

    # ---- what must hold

    @invariant()
    def consumers_see_each_event_once_and_in_order(self) -> None:
        """A consumer sees a beginning of what was written, without gaps.

        What was visible stays, and the state record says how far it reaches.
        """
        for topic, expected in self.world.front.expected.items():
            events = [
                self.partition(topic, number, log)
                for number, log in enumerate(self.world.cluster.committed(topic))
            ]
            found = sorted((pair for log in events for pair in log), key=lambda pair: pair[1])
            if found != expected[: len(found)]:
                raise Violated("O4", f"{topic} has {found}, not {expected}")
        number = sum(record.value is not None for log in self.seen.values() for record in log)
        state = self.world.state()
        if state.number != number:
            raise Violated("O4", f"the state record says {state.number}, {number} are visible")
        if self.reader.published().number > number:
            raise Violated("O4", "the front end's mark is ahead of Kafka")

    def partition(self, topic: str, number: int, log: list[MemoryRecord]) -> list[tuple[str, int]]:
        """Id and seq of the events in a partition. Raises Violated."""
        before = self.seen.get((topic, number), [])
        if log[: len(before)] != before:
            raise Violated("O6", f"{topic}/{number}: what was visible has changed")
        self.seen[topic, number] = log
        heads = [dict(record.headers) for record in log if record.value is not None]
        seqs = [int(head["sync.seq"]) for head in heads]
        if seqs != sorted(seqs):
            raise Violated("O5", f"{topic}/{number}: {seqs}")
        epochs = [int(head["sync.epoch"]) for head in heads]
        if epochs != sorted(epochs):
            raise Violated("O9", f"{topic}/{number}: {epochs}")
        return [(head["sync.id"].decode(), seq) for head, seq in zip(heads, seqs, strict=True)]

    @invariant()
    def source_transactions_are_whole_or_split_and_say_so(self) -> None:
        """A transaction that is not split is visible as a whole or not at all.

        The parts of a split one are numbered from 1, and the last one says that it is.
        """
        heads = [
            dict(record.headers)
            for log in self.seen.values()
            for record in log
            if record.value is not None
        ]
        parts = {
            head["sync.id"].decode(): (
                int(head.get("sync.part", b"0")),
                head.get("sync.last", b"1") == b"1",
            )
            for head in heads
        }
        for transaction in self.written:
            visible = [parts[identity] for _, identity in transaction if identity in parts]
            numbers = [part for part, _ in visible]
            whole = len(visible) == len(transaction)
            if not visible or (whole and set(visible) == {(0, True)}):
                continue
            last = {last for part, last in visible if part == numbers[-1]}
            earlier = {last for part, last in visible if part != numbers[-1]}
            if (
                sorted(set(numbers)) != list(range(1, numbers[-1] + 1))
                or numbers != sorted(numbers)
                or last != {whole}
                or earlier > {False}
            ):
                raise Violated(
                    "O6", f"a transaction of {len(transaction)} events shows parts {visible}"
                )

    def teardown(self) -> None:
        """Nothing fails any more: then everything is published, and the outbox is emptied."""
        if not hasattr(self, "processes"):
            return
        try:
            if not failing():
                self.come_to_rest()
        finally:
            for process in self.processes:
                process.kill()
            for patched in self.patches:
                patched.stop()
            self.world.front.close()
            shutil.rmtree(self.folder)

    def come_to_rest(self) -> None:
        """Raises Violated."""
        self.world.locked = False
        self.world.cluster.losing = set()
        for process in self.living():
            if process is not self.current:
                self.kill(process)
        number, since, events = -1, 0, sum(map(len, self.written))
        while number < events or self.world.front.outbox_rows():
            self.world.now += 0.05
            self.go(self.current, 1)
            now = self.world.state().number
            number, since = now, since + 1 if now == number else 0
            if since > ENDLESS:
                raise Violated(
                    "stuck",
                    f"{number} of {events} events, {self.world.front.outbox_rows()} in the outbox",
                )
        self.consumers_see_each_event_once_and_in_order()
        self.source_transactions_are_whole_or_split_and_say_so()
