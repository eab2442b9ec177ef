"""Runs one schedule on one agent and judges it.

The agent starts armed, works under load until every fault has come, and comes to rest.
"""

import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests.agent_process import Installation, written
from tests.checker.acks import AckSampler
from tests.checker.commits import CommitOrder, watched
from tests.checker.comparison import Places, compare
from tests.checker.configuration import shared_tables
from tests.checker.copies import Copies
from tests.checker.prefix import INTERVAL, PrefixReader
from tests.checker.reader import LiveReader
from tests.checker.sampler import Sampler
from tests.checker.table import Front, SharedTable
from tests.checker.unit import JOURNALED, TABLES, UnitTable, create_tables
from tests.checker.workload import Workload
from tests.faults.beginning import ask, fill, spoil
from tests.faults.binary_log.server import LoggingServers
from tests.faults.ground import PASSWORD, Ground, sections
from tests.faults.hygiene import Hygiene
from tests.faults.nemesis import ALONE, Broken, Nemesis, stop
from tests.faults.outcome import Found, Outcome, fresh_evidence, keep
from tests.faults.planting import Bug
from tests.faults.schedule import PAGES, Schedule
from tests.faults.service import ArmedAgent
from tests.faults.standing import Standing, standing
from tests.services.clock import Clock
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress

ALL_FIRED = 25.0  # seconds in which every fault must have come
STUCK = 60.0  # seconds without any progress on the way to rest, on a machine with other work
# More of both where servers and lines have to come back: a silent line is noticed within 30 s.
AROUND = 60.0
JUDGED_AGAIN = 5.0  # seconds a difference must last
HALT = 78  # exit status of a service that stops for good
IN_A_TABLE = "mid_apply"  # where an error concerns the table alone
BREATH = 0.03  # seconds between a writer's transactions
BIG, LONG = 60, 0.3  # rows of a big transaction, seconds of a long one


class Servers(NamedTuple):
    """The real servers, the same for all trials."""

    postgres: PostgresAddress
    kafka: KafkaAddress
    logging: LoggingServers | None = None  # of the MySQL family


def trial(servers: Servers, schedule: Schedule, evidence: Path, bug: Bug | None = None) -> Outcome:
    """Runs the schedule.

    The folder `evidence` is emptied; when the trial was not green it keeps schedule, configuration,
    front end and log.
    """
    fresh_evidence(evidence)
    with fresh_database(servers.postgres) as source, front_database(servers, schedule) as front:
        name = f"f{uuid.uuid4().hex[:12]}"
        place = Installation(
            evidence,
            source,
            servers.kafka.bootstrap,
            name,
            tables=JOURNALED,
            front=front,
            sections=sections(evidence),
        )
        create_tables(source, place.tables)
        prepare(place, schedule, fill, TABLES)
        return run(place, schedule, evidence, bug)


def mixed_trial(
    ground: Ground, schedule: Schedule, evidence: Path, bug: Bug | None = None
) -> Outcome:
    """Does the same for a schedule with disturbances."""
    fresh_evidence(evidence)
    with ground.installed(schedule, evidence) as place:
        return run(place, schedule, evidence, bug, Trial, partial(Nemesis, ground))


def run(
    place: Installation,
    schedule: Schedule,
    evidence: Path,
    bug: Bug | None,
    kind: "type[Trial] | None" = None,
    nemesis: Callable[[Installation, ArmedAgent], Nemesis] | None = None,
) -> Outcome:
    """Runs a schedule on an installation, whose folder is `evidence`.

    `kind`: what its source needs; None: PostgreSQL. `nemesis`: makes who disturbs.
    """
    began = time.monotonic()
    outcome = Outcome(schedule)
    package = bug.plant(evidence / "variant") if bug else None
    jumps = any(disturbance.deed.startswith("clock_jumps") for disturbance in schedule.disturbances)
    with ArmedAgent(place, schedule.setting, package, Clock(evidence) if jumps else None) as agent:
        try:
            disturbs = nemesis(place, agent) if nemesis else None
            (kind or Trial)(place, agent, schedule, disturbs).run(outcome)
        except Found as found:
            outcome.oracle, outcome.what = found.oracle, found.what
        fired = agent.fired()
    outcome.unfired = tuple(fault.place for fault in schedule.faults if fault.place not in fired)
    outcome.what = outcome.what or (agent.log[-2000:] if outcome.unfired else "")
    if bug and agent.log.count(bug.mark) < 2:
        raise RuntimeError(f"the variant with {bug.name} is not what ran:\n{agent.log[-2000:]}")
    outcome.seconds = time.monotonic() - began
    keep(outcome, evidence)
    return outcome


def front_database(servers: Servers, schedule: Schedule) -> AbstractContextManager[str | None]:
    """The conninfo of a front-end database of its own, or None for SQLite."""
    return fresh_database(servers.postgres) if schedule.front == "postgres" else nullcontext()


def prepare(
    place: Installation,
    schedule: Schedule,
    fill_tables: Callable[[str, int, int], None],
    tables: Sequence[UnitTable],
) -> None:
    """Makes what stands on both sides before the agent runs; the source has its tables.

    `fill_tables` gets the source, a seed and a number of rows. `tables`: those that are filled.
    """
    if schedule.rows:
        fill_tables(place.source, schedule.seed, schedule.rows)
    place.write_config()
    place.init()
    if schedule.stale:
        spoil(place.places.front, schedule.seed, tables)


class _Paced(Workload):
    """Leaves room between the transactions of a workload.

    Then the agent has many small front-end transactions to fail in.
    """

    breath = BREATH


class Trial:
    """What is done with the running agent. Raises Found as soon as something speaks against it."""

    snapshots = INTERVAL

    def __init__(
        self,
        place: Installation,
        agent: ArmedAgent,
        schedule: Schedule,
        nemesis: Nemesis | None = None,
    ) -> None:
        self._place, self._agent, self._schedule, self._nemesis = place, agent, schedule, nemesis
        self._coming = list(schedule.disturbances)
        self._going_on: list[tuple[float, AbstractContextManager[None]]] = []
        self._before: int | None = None  # transactions until the service was at work
        self._patience = AROUND if nemesis else 0.0
        self.journal = place.directory / "journal.jsonl"
        self._front: Front = place.places.front
        self._started_again = 0
        self._resumed: set[str] = set()  # tables
        self._look_at = 0.0
        self._copies = Copies(self._front)

    def run(self, outcome: Outcome) -> None:
        """From the first write to the verdict."""
        place = self._place
        topics = [table.topic for table in place.judged]
        with (
            LiveReader(place.bootstrap, topics) as reader,
            self._watched() as order,
        ):
            hygiene = self._hygiene(order)
            prefix = self._prefix()
            samplers = [prefix, *self._samplers()]
            with ExitStack() as sampled:
                for sampler in (*samplers, hygiene):
                    sampled.enter_context(sampler)
                try:
                    self._write()
                    stuck = self._come_to_rest()
                except Found as found:
                    spoke = [sampler for sampler in (*samplers, hygiene) if sampler.violated]
                    raise Found(
                        " ".join([*(sampler.oracle for sampler in spoke), found.oracle]),
                        "\n".join([*map(str, spoke), found.what]),
                    ) from None
            # On a busy machine all its looks so far may have fallen into the copies
            prefix.sample()
            self._expect_no_other_end()
            prefix.settle(order.read())
            self._judge(outcome, samplers, hygiene, reader, stuck)

    # ---- what differs between sources

    def _workload(self) -> Workload:
        """Returns who writes."""
        return _Paced(
            self._place.source,
            self._schedule.seed,
            self.journal,
            self._schedule.writers,
            big=BIG,
            open_seconds=LONG,
        )

    def _watched(self) -> AbstractContextManager[CommitOrder]:
        """Yields who knows the order in which the source commits from now on."""
        return watched(self._place.source, f"judge_{self._place.name}")

    def _prefix(self) -> PrefixReader:
        """Returns who reads the front end while the faults come."""
        return PrefixReader(self._front, self.snapshots)

    def _samplers(self) -> Sequence[Sampler]:
        """Returns who else looks meanwhile."""
        return [AckSampler(self._place.source, self._place.slot, self._front)]

    def _hygiene(self, order: CommitOrder) -> Hygiene:
        """Returns who watches the processes; `order`: holds a slot of the judge's own."""
        return Hygiene(self._place, self._agent, [PASSWORD], [order.slot])

    @contextmanager
    def _passed(self) -> Iterator[Callable[[], bool]]:
        """Yields what tells whether all that is committed now was stored and acknowledged."""
        with psycopg.connect(self._place.source, autocommit=True) as connection:
            end = written(connection)
            yield lambda: self._place.passed(connection, end)

    def _tables(self) -> Sequence[SharedTable]:
        """Returns what is compared."""
        return shared_tables(self._place.config, self._place.source)

    def _before_the_last(self) -> None:
        """Is where all faults have come and are healed, and the last transactions follow."""

    # ---- from the first write to rest

    def _write(self) -> None:
        """Writes until every fault has come, and a while longer.

        What came back to life must have something to do.
        """
        with self._workload() as workload:
            deadline = time.monotonic() + ALL_FIRED + self._patience
            try:
                while (
                    len(self._agent.fired()) < len(self._schedule.faults)
                    or self._coming
                    or self._going_on
                ) and time.monotonic() < deadline:
                    self._disturb(workload.transactions)
                    self._expect_running()
                    self._copies.look()
                    self._copy_again()
                    time.sleep(0.02)
            finally:
                self._disturb(0, heal=True)
            self._before_the_last()
            enough = workload.transactions + self._schedule.transactions
            deadline = max(deadline, time.monotonic() + ALL_FIRED)
            while workload.transactions < enough and time.monotonic() < deadline:
                self._copies.look()
                time.sleep(0.02)

    def _wait_for_copies(self) -> None:
        """Waits until all tables are live, while the writers go on.

        On a slow machine the copies would else come last, and make good what the stream has lost.
        """
        deadline = time.monotonic() + ALL_FIRED
        while self._standing().busy and time.monotonic() < deadline:
            self._expect_running()
            self._copies.look()
            time.sleep(0.02)

    def _disturb(self, transactions: int, heal: bool = False) -> None:
        """Ends the disturbances whose time is over, and begins the next one when it is due.

        With `heal` all of them end.
        """
        try:
            for until, deed in list(self._going_on):
                if heal or time.monotonic() > until:
                    self._going_on.remove((until, deed))
                    deed.__exit__(None, None, None)
            if self._nemesis and not heal and self._begins(self._nemesis, transactions):
                due = self._coming.pop(0)
                deed = self._nemesis.deed(due.deed)
                deed.__enter__()
                self._going_on.append((time.monotonic() + due.seconds, deed))
        except Broken as broken:
            raise Found("time", str(broken)) from None

    def _since_at_work(self, transactions: int) -> int:
        """Returns how many of the transactions came after the service was connected to all peers.

        Before that a line has nothing to lose.
        """
        if self._before is None and self._agent.exit_code is None and self._agent.ready():
            self._before = transactions
        return -1 if self._before is None else transactions - self._before

    def _copy_again(self) -> None:
        """Asks for a reconciliation of every table when the copies are over too early.

        A fault in a copy may not have come by then.
        """
        now = time.monotonic()
        fired = self._agent.fired()
        if now < self._look_at or all(
            fault.place in fired for fault in self._schedule.faults if fault.place in PAGES
        ):
            return
        self._look_at = now + 0.5
        if not self._standing().busy:
            for table in self._place.tables:
                ask(self._front, "reconcile", table.resource)

    def _come_to_rest(self) -> str:
        """Waits until all tables are live and the last commit and event are everywhere.

        That is the front end, Kafka and the slot. Returns what is stuck, if anything.
        """
        seen: object = None
        deadline = 0.0
        with self._passed() as all_passed:
            while True:
                self._copies.look()
                standing = self._standing()
                passed = all_passed()
                if passed and standing.number == standing.published and not standing.busy:
                    return ""
                self._expect_running()
                if seen != (standing, passed):
                    seen, deadline = (standing, passed), time.monotonic() + STUCK + self._patience
                if time.monotonic() > deadline:
                    acknowledged = "acknowledged" if passed else "not acknowledged"
                    return (
                        f"for {STUCK + self._patience:.0f} s: {standing}, "
                        f"the last commit {acknowledged}"
                    )
                time.sleep(0.05)

    def _standing(self) -> Standing:
        """Returns how far front end and publisher are.

        The error that a schedule raises between two changes of a table suspends that table: it is
        resumed, as an operator would. Raises Found for a table that is suspended otherwise.
        """
        found = standing(self._front)
        for name, code in found.suspended:
            if code != "INTERNAL" or not self._raised_in_a_table():
                raise Found(f"halt {code}", f"{name} is suspended")
            if name not in self._resumed:
                self._resumed.add(name)
                ask(self._front, "resume", name)
        return found

    def _raised_in_a_table(self) -> bool:
        fired = self._agent.fired()
        return any(
            fault.action == "raise" and fault.place == IN_A_TABLE and fault.place in fired
            for fault in self._schedule.faults
        )

    def _begins(self, nemesis: Nemesis, transactions: int) -> bool:
        """Tells whether the next disturbance is due and both processes are there to be disturbed.

        A service that has just halted is started again first.
        """
        if (
            not self._coming
            or nemesis.down
            or self._coming[0].step > self._since_at_work(transactions)
        ):
            return False
        if self._coming[0].deed in ALONE and self._going_on:
            return False
        self._expect_running()
        return len(self._agent.children()) == 2

    def _expect_running(self) -> None:
        """Expects that the service ends only by an error that was raised.

        Then it is started again, as an operator would.
        """
        if self._agent.exit_code is None or (self._nemesis and self._nemesis.down):
            return
        if self._agent.exit_code == HALT and self._started_again < self._fired(
            "raise", capture=True
        ):
            self._started_again += 1
            self._agent.start()
            return
        codes = re.findall(r" halted stage=\w+ code=(\w+) ", self._agent.log)
        raise Found(
            f"halt {codes[-1]}" if codes else f"exit {self._agent.exit_code}",
            self._agent.log[-2000:],
        )

    def _expect_no_other_end(self) -> None:
        """Processes end by the faults of the schedule only."""
        ends = Counter(map(int, re.findall(r"child_ended .* status=(-?\d+)", self._agent.log)))
        halts = self._fired("raise", capture=True)
        ends -= self._nemesis.ends if self._nemesis else Counter()
        unforeseen = ends - Counter(
            {-signal.SIGKILL: self._fired("kill"), HALT: halts, -signal.SIGTERM: halts, 0: halts}
        )
        if unforeseen:
            raise Found(
                "crash",
                f"a process ended without a fault: status {sorted(unforeseen)}\n"
                f"{self._agent.log[-2000:]}",
            )

    def _fired(self, action: str, capture: bool = False) -> int:
        fired = self._agent.fired()
        return sum(
            fault.action == action
            and fault.place in fired
            and (fault.stage == "capture" or not capture)
            for fault in self._schedule.faults
        )

    def _judge(
        self,
        outcome: Outcome,
        samplers: Sequence[Sampler],
        hygiene: Hygiene,
        reader: LiveReader,
        stuck: str,
    ) -> None:
        """Judges before and after the end of the service.

        What is only on its way gets a few seconds.
        """
        tables = self._tables()
        deadline = time.monotonic() + JUDGED_AGAIN
        while True:
            verdict = compare(
                Places(self._place.source, self._front, self._place.bootstrap),
                tables,
                self.journal,
                self._copies.until,
            )
            if verdict.equal or time.monotonic() > deadline:
                break
        outcome.rows, outcome.events = verdict.rows, verdict.events
        if not stuck:
            reader.report(verdict)
        late = self._end()
        hygiene.inspect()
        for sampler in (*samplers, hygiene):
            sampler.report(verdict)
        oracles = (
            sorted(+verdict.oracles) + (["stuck"] if stuck else []) + (["time"] if late else [])
        )
        if oracles or not verdict.equal:
            raise Found(" ".join(oracles) or "counts", f"{verdict}\n{stuck}\n{late}")

    def _end(self) -> str:
        """Ends the service as an operator would, and says what is wrong with that."""
        try:
            stop(self._agent)
        except Broken as broken:
            return str(broken)
        return ""
