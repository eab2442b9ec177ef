"""The demonstration's eight steps, from empty servers to the verdict."""

import json
import sqlite3
import sys
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psycopg
from confluent_kafka.admin import AdminClient

from tests.agent_process import Agent, Installation, url
from tests.comparison import Verdict
from tests.demo.screen import Counts, Screen, Workload
from tests.services.noida import NoidaBroker
from tests.services.postgres import PostgresServer
from tests.services.processes import HOST, Workspace
from tests.waiting import eventually
from tests.workload import SCHEMA, TABLES, Writer, insert_many

SESSIONS, TRANSACTIONS = 2, 400  # of each session
BIG = 12_000  # rows of the one big transaction: more than a Kafka transaction takes
PATIENCE = 90.0  # seconds for what is left when the writers are done
DATABASE = "business"
LOG_LINES = 30


class Play:
    """One performance; everything it starts is entered into the stack it was given."""

    def __init__(self, screen: Screen, everything: ExitStack, kafka: str | None = None, transactions: int = TRANSACTIONS, big: int = BIG) -> None:
        self._screen = screen
        self._transactions, self._big = transactions, big
        self._everything = everything
        self._kafka = kafka
        self._place: Installation | None = None
        self._server: PostgresServer | None = None
        self._agent: Agent | None = None

    def perform(self, stays: bool) -> int:
        """All steps; returns the exit code. The last line on success is the verdict's."""
        self._screen.title("数据同步代理演示 · the sync agent at work", "business database 业务库 → front-end tables 前置库表 → Kafka 交换平台")
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
        server = self._business_database()
        self._place = place = self._installation(server, self._broker())
        with self._screen.step("init --apply", "初始化") as step:
            place.install()
            step.note = f"role, publication, replication slot, {len(TABLES)} front-end tables, {len(TABLES) + 1} topics"
        self._check(place)
        with self._screen.step("run", "启动代理") as step:
            self._start(place).wait_ready()
            step.note = "capture and publisher are connected"
        with self._screen.workload("Random workload", "随机业务负载", SESSIONS * self._transactions) as workload:
            self._work(place, workload)
        with self._screen.step("Catching up", "等待追平") as step:
            eventually(lambda: step.show(str(progress(place, 0))) and place.caught_up(), PATIENCE, "all that was committed is published")
            step.note = "all that was committed is stored and published"
        with self._screen.step("Independent comparison", "独立比对") as step:
            verdict = self.judge(place)
            step.note = "other clients, row by row and event by event" if verdict.equal else "differences found"
        return verdict

    # ---- steps

    def judge(self, place: Installation) -> Verdict:
        """The independent comparison."""
        return place.judge()

    def _business_database(self) -> PostgresServer:
        with self._screen.step("Business database", "业务库") as step:
            self._server = server = self._everything.enter_context(PostgresServer.start(18, {"max_slot_wal_keep_size": "2GB"}))
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
                version = connection.info.server_version
            step.note = f"PostgreSQL {version // 10000}.{version % 10000}, schema {SCHEMA}: {'、'.join(table.name for table in TABLES)}"
        return server

    def _broker(self) -> str:
        with self._screen.step("Kafka", "消息平台") as step:
            if self._kafka is not None:
                step.note = f"yours at {self._kafka}"
                return self._kafka
            broker = self._everything.enter_context(NoidaBroker.start())
            step.note = f"embedded broker (for demonstration only) at {broker.bootstrap}"
            return broker.bootstrap

    def _installation(self, server: PostgresServer, bootstrap: str) -> Installation:
        workspace = Workspace("demo")
        self._everything.callback(workspace.close)
        name = f"demo_{uuid.uuid4().hex[:8]}" if self._kafka else "demo"
        place = Installation(workspace.path, server.dsn(DATABASE), bootstrap, name)
        if self._kafka:
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

    def _work(self, place: Installation, workload: Workload) -> None:
        """Sessions write; halfway the agent is killed, after that comes the big transaction."""
        stop = threading.Event()
        with ExitStack() as stack:
            writers = [stack.enter_context(Writer(place.source, seed)) for seed in range(SESSIONS)]
            sessions = stack.enter_context(ThreadPoolExecutor(SESSIONS))
            stack.callback(stop.set)
            running = {sessions.submit(write, writer, self._transactions, stop) for writer in writers}
            whole, killed, big = SESSIONS * self._transactions, False, False
            while running:
                done, running = wait(running, timeout=0.1)
                for session in done:
                    session.result()
                counts = progress(place, sum(writer.transactions for writer in writers))
                workload.show(counts)
                if not killed and counts.transactions >= whole * 0.4:
                    killed = True
                    self._kill(place, workload)
                if not big and counts.transactions >= whole * 0.6:
                    big = True
                    insert_many(place.source, self._big)
                    workload.happened(f"one transaction of {self._big:,} rows 大事务")
            changes = sum(writer.changes for writer in writers) + self._big
        workload.note = f"{whole + 1:,} transactions, {changes:,} rows changed"

    def _kill(self, place: Installation, workload: Workload) -> None:
        assert self._agent is not None
        self._agent.kill9()
        workload.happened("kill -9 of the agent, in full work; started again 强制终止代理后重启")
        self._start(place)

    # ---- ends

    def _failed(self, reason: str) -> int:
        self._screen.say(f"\n✗ {reason}", "bold red")
        if (place := self._place) is not None and place.log.exists():
            lines = place.log.read_text(encoding="utf-8", errors="replace").splitlines()
            self._screen.say("\n".join(["", f"The end of the agent's log 代理日志末尾 ({len(lines)} lines):", *lines[-LOG_LINES:]]), "dim")
        return 1

    def _where_to_look(self) -> None:
        assert (place := self._place) is not None  # noqa: RUF018
        agent = Path(sys.executable).with_name("sync-agent")
        lines = {
            "status 状态": f"{agent} -c {place.config} status",
            "metrics 监控": f"curl http://{HOST}:{place.listen}/metrics",
            "readiness 就绪": f"curl http://{HOST}:{place.listen}/-/ready",
            "business database 业务库": f"psql {url(place.source)}",
            "front end 前置库": f"sqlite3 {place.front_file}",
            "topics 主题": f"{', '.join(table.topic for table in place.judged)} at {place.bootstrap}",
            "agent's log 日志": f"tail -f {place.log}",
        }
        self._screen.say("\nStill running 仍在运行：")
        for what, how in lines.items():
            self._screen.say(f"  {what}: {how}")
        self._screen.say("Ctrl-C ends it and removes everything 按 Ctrl-C 结束并清除")


def write(writer: Writer, transactions: int, stop: threading.Event) -> None:
    """One session's work."""
    while writer.transactions < transactions and not stop.is_set():
        writer.transaction()


def progress(place: Installation, transactions: int) -> Counts:
    """How far front end and publisher are; a locked file shows nothing new."""
    stored = published = 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{place.front_file}?mode=ro", uri=True)) as connection:
        stored = connection.execute("SELECT number FROM sync_agent_state").fetchone()[0]
        published = connection.execute("SELECT number FROM sync_agent_published").fetchone()[0]
    return Counts(transactions, stored, published)


def delete_topics(place: Installation) -> None:
    """Takes the demo's topics from a broker that is not ours."""
    topics = [*(table.topic for table in place.judged), place.state_topic]
    futures: list[Future[None]] = list(AdminClient({"bootstrap.servers": place.bootstrap, "log_level": 0}).delete_topics(topics).values())
    wait(futures, timeout=20)
