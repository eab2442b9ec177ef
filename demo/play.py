"""The demonstration's eleven steps, from tables full of rows to the verdict."""

import json
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka.admin import AdminClient

from demo.damage import DAMAGE, damage
from demo.parts import PLAINEST, Parts
from demo.screen import Counts, Screen, Step, Workload
from demo.unit import PATIENCE, shared_rows
from tests.agent_process import Agent, Installation
from tests.checker import Verdict
from tests.checker.copies import Copies
from tests.checker.front import ERRORS, at_front
from tests.checker.writer import Writer
from tests.services.noida import NoidaBroker
from tests.services.processes import HOST, Workspace
from tests.waiting import eventually

SESSIONS, TRANSACTIONS = 2, 1000  # of each session
ROWS = 12_000  # of the largest table, before the agent comes
BIG = 12_000  # rows of the one big transaction: more than a Kafka transaction takes
LOG_LINES = 30
BREATH = 0.005  # seconds between transactions of a session
# Seconds between transactions of the session that writes while damage is done and repaired.
PAUSE = 0.02
STORED = "SELECT s.number, p.number FROM sync_agent_state s, sync_agent_published p"
COPYING = (
    "SELECT r.name, r.state, c.progress FROM sync_agent_resource r "
    "LEFT JOIN sync_agent_copy c ON c.name = r.name ORDER BY c.name IS NULL"
)
T = TypeVar("T")
# After which share of the transactions, what happens; True: the agent is to be started
Event = tuple[float, Callable[[Installation, Workload], bool]]


class Play:
    """One performance; everything it starts is entered into the stack it was given."""

    def __init__(
        self,
        screen: Screen,
        everything: ExitStack,
        parts: Parts = PLAINEST,
        transactions: int = TRANSACTIONS,
        big: int = BIG,
        rows: int = ROWS,
    ) -> None:
        self._screen = screen
        self._transactions, self._big, self._rows = transactions, big, rows
        self._everything = everything
        self._parts = parts
        self._unit = parts.unit()
        self._every = (*self._unit.tables, self._unit.added)
        self._place: Installation | None = None
        self._agent: Agent | None = None
        self._copies = Copies(Path("nowhere"))
        self._there: dict[str, int] = {}  # rows before the agent comes, by resource
        self._counts = Counts(0)

    def perform(self, stays: bool) -> int:
        """Plays all steps and returns the exit code.

        The last line on success is the verdict's.
        """
        self._screen.title(
            "数据同步代理演示 · the sync agent at work",
            f"business database 业务库{self._unit.way} → "
            f"front-end tables 前置库表 ({self._parts.front_end}) "
            f"→ Kafka 交换平台 ({self._parts.client})",
        )
        try:
            verdict = self._steps()
        except Exception as error:  # noqa: BLE001 - whatever went wrong is told with the agent's own words
            return self._failed(f"{type(error).__name__}: {error}")
        if not verdict.equal:
            return self._failed(str(verdict))
        if stays:
            self._where_to_look()
        self._screen.last(str(verdict))
        return 0

    def _steps(self) -> Verdict:
        self._business_database()
        bootstrap = self._broker()
        with self._screen.step("init --apply", "初始化") as step:
            self._place = place = self._installation(bootstrap)
            place.write_config()
            place.init()
            tables = len(place.tables)
            step.note = f"{self._unit.prepared}, {tables} front-end tables, {tables + 1} topics"
        self._check(place)
        copies = self._copies = Copies(place.places.front)
        copies.look()
        with self._screen.step("run", "启动同步代理") as step:
            self._start(place)
            step.note = "the sessions below write while it connects and copies"
        whole, there = SESSIONS * self._transactions, sum(self._there.values())
        with self._screen.workload(
            "Copy under a random workload", "随机业务负载下复制存量数据", whole, there
        ) as workload:
            self._work(place, workload)
        with self._screen.step("Catching up", "等待追平") as step:
            self._catch_up(place, step)
        with self._background(place) as session:
            self._damage_and_repair(place)
        with self._screen.step("Independent comparison", "独立比对") as step:
            self._screen.say(
                f"    {session.transactions:,} transactions were written meanwhile "
                "期间业务持续写入",
                "dim",
            )
            eventually(place.caught_up, PATIENCE, "all is published")
            verdict = self.judge(place)
            step.note = (
                "other clients, row by row and event by event"
                if verdict.equal
                else "differences found"
            )
        return verdict

    # ---- steps

    def judge(self, place: Installation) -> Verdict:
        """Compares independently."""
        return place.judge(self._copies.until)

    def _business_database(self) -> None:
        with self._screen.step("Business database", "业务库") as step:
            self._there = shared_rows(self._unit, self._rows)
            what = self._unit.open(self._everything, self._there)
            tables = "、".join(table.name for table in self._every)
            step.note = f"{what}: {tables}, {sum(self._there.values()):,} rows"

    def _broker(self) -> str:
        with self._screen.step("Kafka", "消息平台") as step:
            if self._parts.kafka is not None:
                step.note = f"yours at {self._parts.kafka}"
                return self._parts.kafka
            broker = self._everything.enter_context(NoidaBroker.start())
            step.note = f"embedded broker (for demonstration only) at {broker.bootstrap}"
            return broker.bootstrap

    def _installation(self, bootstrap: str) -> Installation:
        workspace = Workspace("demo")
        self._everything.callback(workspace.close)
        name = f"demo_{uuid.uuid4().hex[:8]}" if self._parts.kafka else "demo"
        front = self._parts.front_database(self._everything)
        sections = {"kafka": {"client": self._parts.client}}
        place = self._unit.place(workspace.path, bootstrap, name, front, sections)
        if self._parts.kafka:
            self._everything.callback(delete_topics, place)
        return place

    def _check(self, place: Installation) -> None:
        with self._screen.step("check", "检查") as step:
            findings = json.loads(place.command("check", "--json").stdout)
            levels = [finding["level"] for finding in findings]
            step.note = f"{levels.count('ok')} findings ok, {levels.count('warning')} warnings"
        for finding in findings:
            if finding["level"] != "ok":
                self._screen.say(f"    {finding['code']}: {finding['message']}", "dim")

    def _start(self, place: Installation) -> Agent:
        self._agent = self._everything.enter_context(place.start())
        return self._agent

    def _writer(self, seed: int) -> Writer:
        """Opens a session of the business database.

        Deletes that only a comparison finds would be differences beside the damage.
        """
        return Writer(self._unit.database, seed, self._every, self._unit.streams_deletes)

    def _work(self, place: Installation, workload: Workload) -> None:
        """Lets sessions write while the tables are copied.

        Meanwhile the agent is killed, a table is added, and one transaction is a big one.
        """
        stop = threading.Event()
        whole = SESSIONS * self._transactions
        with ExitStack() as stack:
            writers = [stack.enter_context(self._writer(seed)) for seed in range(SESSIONS)]
            sessions = stack.enter_context(ThreadPoolExecutor(SESSIONS + 1))
            stack.callback(stop.set)
            running = {
                sessions.submit(write, writer, self._transactions, stop, BREATH)
                for writer in writers
            }
            coming: list[Event] = [(0.75, self._big_one), (0.5, self._add), (0.0, self._kill)]
            event: Future[bool] | None = None
            while running or coming or event:
                done, running = wait(running, timeout=0.1)
                for session in done:
                    session.result()
                if event is None and self._agent is not None:
                    self._agent.check()
                counts = self._progress(place, sum(writer.transactions for writer in writers))
                workload.show(counts)
                if event is not None and event.done():
                    if event.result():
                        self._start(place)  # here: what a thread has started ends with it
                    event = None
                elif (
                    event is None
                    and coming
                    and counts.transactions >= whole * coming[-1][0]
                    and (counts.copied or not counts.copying)
                ):
                    event = sessions.submit(coming.pop()[1], place, workload)
            changes = sum(writer.changes for writer in writers) + self._big
        workload.note = f"{whole + 1:,} transactions, {changes:,} rows changed"

    def _kill(self, place: Installation, workload: Workload) -> bool:
        counts = self._progress(place)
        if self._agent is not None:
            self._agent.kill9()
        workload.happened(
            f"kill -9 of the agent with {counts.copied:,} rows copied; "
            "started again, it goes on there 复制中强制终止同步代理，重启后续传"
        )
        return True

    def _add(self, place: Installation, workload: Workload) -> bool:
        """Adds a further table: into the configuration, made, and the service started again.

        Its sessions write on.
        """
        if self._agent is not None:
            self._agent.stop()
        place.tables = self._every
        place.write_config()
        place.init()
        workload.happened(
            f"table {self._unit.added.name} added: [[resource]], init --apply, restart; "
            "its rows are copied 运行中新增一张表并复制"
        )
        return True

    def _big_one(self, place: Installation, workload: Workload) -> bool:
        self._unit.insert_many(self._big, self._rows)
        workload.happened(f"one transaction of {self._big:,} rows 大事务")
        return False

    def _catch_up(self, place: Installation, step: Step) -> None:
        """Waits until everything that was committed is stored and published."""

        def copied() -> bool:
            return not self._copies.look() and verified(place)

        def told() -> str:
            return under_way(place) or str(self._progress(place))

        shown(step, lambda: eventually(copied, PATIENCE, "every table is live"), told)
        found = shown(step, lambda: self._unit.show_deletes(place), told)
        shown(step, lambda: eventually(place.caught_up, PATIENCE, "all is published"), told)
        step.note = f"every table is live; {found}all that was committed is stored and published"

    @contextmanager
    def _background(self, place: Installation) -> Iterator[Writer]:
        """Runs a session that goes on writing, not so fast."""
        stop = threading.Event()
        with (
            ThreadPoolExecutor(1) as sessions,
            self._writer(SESSIONS) as writer,
        ):
            session = sessions.submit(write, writer, 1_000_000, stop, PAUSE)
            try:
                yield writer
            finally:
                stop.set()
            session.result()

    def _damage_and_repair(self, place: Installation) -> None:
        with self._screen.step("Damage by hand", "手工破坏前置库") as step:
            damage(place.places.front)
            kinds = [
                sum(found) for found in zip(*(found for _, found in DAMAGE.values()), strict=True)
            ]
            step.note = (
                f"in {self._parts.front_end}, behind the agent's back: "
                f"{kinds[0]} rows deleted, {kinds[1]} changed, {kinds[2]} added"
            )
        self._compare(place, "verify", "对账", "finds exactly that", expect=1)
        self._compare(place, "reconcile", "修复", "repairs exactly that, each repair is an event")

    def _compare(
        self, place: Installation, command: str, gloss: str, note: str, expect: int = 0
    ) -> None:
        """Runs verify or reconcile; what it finds must be the damage, no more and no less."""
        with self._screen.step(command, gloss) as step:
            done = shown(
                step,
                lambda: place.command(command, "--json", "--show-keys", expect=expect),
                lambda: under_way(place),
            )
            reports = json.loads(done.stdout)
            step.note = note
        self._show_differences(reports)
        found = {
            report["resource"]: (report["missing"], report["different"], report["extra"])
            for report in reports
        }
        wanted = {
            table.resource: DAMAGE[table.resource][1] if table.resource in DAMAGE else (0, 0, 0)
            for table in self._every
        }
        if found != wanted:
            raise AssertionError(f"{command} found {found}, the damage was {wanted}")

    def _show_differences(self, reports: list[dict[str, Any]]) -> None:
        for report in reports:
            counts = (
                f"{report['rows']:,} rows, {report['missing']} missing 缺失, "
                f"{report['different']} different 不同, {report['extra']} extra 多余"
            )
            keys = ", ".join(difference["key"] for difference in report["differences"][:2])
            self._screen.say(
                f"    {report['resource']}: {counts}{f'  ({keys} …)' if keys else ''}",
                "yellow" if keys else "dim",
            )

    def _progress(self, place: Installation, transactions: int = 0) -> Counts:
        """Returns how far front end and publisher are; a locked file shows nothing new."""
        self._copies.look()
        with suppress(*ERRORS):
            ((stored, published),) = at_front(place.places.front, STORED)
            tables = at_front(place.places.front, COPYING)
            copied = [
                min(self._there[name], self._there[name] if state == "live" else rows_of(progress))
                for name, state, progress in tables
            ]
            self._counts = Counts(
                0,
                stored,
                published,
                sum(copied),
                ", ".join(name for name, state, _ in tables if state != "live"),
            )
        return self._counts._replace(transactions=transactions)

    # ---- ends

    def _failed(self, reason: str) -> int:
        self._screen.say(f"\n✗ {reason}", "bold red")
        if (place := self._place) is not None and place.log.exists():
            lines = place.log.read_text(encoding="utf-8", errors="replace").splitlines()
            self._screen.say(
                "\n".join(
                    [
                        "",
                        f"The end of the agent's log 同步代理日志末尾 ({len(lines)} lines):",
                        *lines[-LOG_LINES:],
                    ]
                ),
                "dim",
            )
        return 1

    def _where_to_look(self) -> None:
        place = self._place
        assert place is not None
        agent = Path(sys.executable).with_name("sync-agent")
        lines = {
            "status 状态": f"{agent} -c {place.config} status",
            "metrics 监控": f"curl http://{HOST}:{place.listen}/metrics",
            "readiness 就绪": f"curl http://{HOST}:{place.listen}/-/ready",
            "business database 业务库": self._unit.shell(),
            "front end 前置库": self._parts.shell(place),
            "topics 主题": (
                f"{', '.join(table.topic for table in place.judged)} at {place.bootstrap}"
            ),
            "agent's log 日志": f"tail -f {place.log}",
        }
        self._screen.say("\nStill running 仍在运行：")
        for what, how in lines.items():
            self._screen.say(f"  {what}: {how}")
        self._screen.say("Ctrl-C ends it and removes everything 按 Ctrl-C 结束并清除")


def write(writer: Writer, transactions: int, stop: threading.Event, pause: float = 0.0) -> None:
    """Does one session's work."""
    while writer.transactions < transactions and not stop.wait(pause):
        writer.transaction()


def shown(step: Step, work: Callable[[], T], tell: Callable[[], str]) -> T:
    """Does the work; meanwhile the step shows how far it is."""
    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(work)
        while not wait([working], timeout=0.2).done:
            if text := tell():
                step.show(text)
        return working.result()


def verified(place: Installation) -> bool:
    """Tells whether the agent has verified every table that somebody has altered at the front end.

    It does so by itself, and repairs what differs: damage done meanwhile would be gone before
    anybody has asked for it.
    """
    log = place.log.read_text(encoding="utf-8")
    changed = re.findall(r" catalogue_changed resource=(\S+) parts=front", log)
    ended = re.findall(r" reconcile_ends resource=(\S+) repair=False", log)
    return set(changed) <= set(ended)


def under_way(place: Installation) -> str:
    """Returns which table a command has compared how far."""
    with suppress(*ERRORS):
        asked = at_front(place.places.front, "SELECT resource, report FROM sync_agent_request")
        return ", ".join(f"{resource}: {rows_of(report):,} rows" for resource, report in asked)
    return ""


def rows_of(progress: str | None) -> int:
    """Returns the rows that a stored progress counts."""
    return int(json.loads(progress or "{}").get("rows", 0))


def delete_topics(place: Installation) -> None:
    """Takes the demo's topics from a broker that is not ours."""
    topics = [*(table.topic for table in place.judged), place.state_topic]
    futures: list[Future[None]] = list(
        AdminClient({"bootstrap.servers": place.bootstrap, "log_level": 0})
        .delete_topics(topics)
        .values()
    )
    wait(futures, timeout=20)
