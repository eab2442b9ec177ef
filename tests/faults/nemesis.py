"""Disturbs what is around the agent.

Its processes, its servers and the lines between them die, freeze, stall, break, and come back.
"""

import os
import signal
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psycopg
from psycopg import sql

from tests.agent_process import Agent, Installation, Stage
from tests.checker.front import at_front
from tests.checker.unit import RESIDENTS
from tests.faults.ground import PASSWORD, Ground, secret
from tests.faults.service import ArmedAgent
from tests.services.mariadb import MariaDbServer, connected
from tests.services.postgres import PostgresServer
from tests.services.processes import free_port
from tests.waiting import eventually

END_TXN = 26  # Kafka's API key
ANOTHER_AGENT = 75  # exit status of an agent that finds its front end taken
ENDS_WITHIN = 10.0  # seconds after SIGTERM
TAKEN = 30.0  # seconds in which an agent that finds its front end taken ends
DAY = 86_400  # seconds
SESSION = 9  # seconds, as Kafka has it: long enough for a transaction to time out meanwhile
SLOW = 40_000  # bytes a second
SEGMENTS = 40  # files of the source's log, more than its disk has room for
# Waits for the agent to do something, which what else goes on may keep it from
ALONE = frozenset({"commit_unanswered"})


class Broken(Exception):
    """The agent did not do in time what it must; the text says what."""


def stop(agent: Agent) -> None:
    """SIGTERM. Raises Broken when the service takes longer than it may."""
    try:
        seconds = agent.stop(60)
    except subprocess.TimeoutExpired:
        raise Broken("60 s after SIGTERM the service still runs") from None
    if seconds > ENDS_WITHIN:
        raise Broken(f"SIGTERM took {seconds:.1f} s")


class Nemesis:
    """Does what a schedule names.

    Each deed is a context manager: it begins with the context, and ends, healed, with its end.

    `ends` counts, by exit status, the ends of processes it is to blame for; `down` says that the
    service is not running because of it.
    """

    def __init__(self, ground: Ground, place: Installation, agent: ArmedAgent) -> None:
        self._ground, self._place, self._agent = ground, place, agent
        self.ends: Counter[int] = Counter()
        self.down = False

    def deed(self, what: str) -> AbstractContextManager[None]:
        """The deed of that name; `line_breaks:front` is line_breaks of that peer."""
        name, _, peer = what.partition(":")
        begin: Callable[..., AbstractContextManager[None]] = getattr(self, name)
        return begin(peer) if peer else begin()

    # ---- the agent's processes

    def capture_dies(self) -> AbstractContextManager[None]:
        """kill -9 of capture."""
        return self._dies("capture")

    def publisher_dies(self) -> AbstractContextManager[None]:
        """kill -9 of the publisher."""
        return self._dies("publish")

    @contextmanager
    def _dies(self, stage: Stage) -> Iterator[None]:
        self.ends[-signal.SIGKILL] += 1
        self._agent.kill9_child(stage)
        yield

    @contextmanager
    def service_dies(self) -> Iterator[None]:
        """kill -9 of the supervisor, and with it of everything."""
        self.down = True
        self._agent.kill9()
        try:
            yield
        finally:
            self._agent.start()
            self.down = False

    @contextmanager
    def service_stops(self) -> Iterator[None]:
        """Ends the service by SIGTERM, and starts it later on.

        Raises Broken when the service takes longer than it may.
        """
        self.down = True
        # Whatever its children were just doing
        self.ends.update({0: 2, -signal.SIGTERM: 2, -signal.SIGKILL: 2})
        try:
            stop(self._agent)
            yield
        finally:
            self._agent.start()
            self.down = False

    def capture_freezes(self) -> AbstractContextManager[None]:
        """SIGSTOP of capture, SIGCONT later on."""
        return self._freezes("capture")

    def publisher_freezes(self) -> AbstractContextManager[None]:
        """SIGSTOP of the publisher, SIGCONT later on."""
        return self._freezes("publish")

    @contextmanager
    def _freezes(self, stage: Stage) -> Iterator[None]:
        pid = self._agent.child(stage)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):  # killed meanwhile
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def second_agent(self) -> Iterator[None]:
        """Starts the same agent once more, as somebody may do by mistake.

        Raises Broken if both run. While the first one was down the second may have taken its place:
        then the second one is killed.
        """
        config = self._place.directory / "second" / self._place.config.name
        config.parent.mkdir(exist_ok=True)
        config.write_text(
            self._place.config.read_text(encoding="utf-8").replace(
                f":{self._place.listen}", f":{free_port()}"
            ),
            encoding="utf-8",
        )
        with Agent(config, config.with_name("agent.log"), 0, covered=False) as second:
            try:
                code = second.wait(TAKEN)
                took = ""
            except subprocess.TimeoutExpired:
                code, took = ANOTHER_AGENT, "it goes on"
            if code != ANOTHER_AGENT or (
                took and self._agent.exit_code is None and self._agent.children()
            ):
                raise Broken(f"a second agent ended with {code} {took}: {second.log[-1000:]}")
        if self._agent.exit_code == ANOTHER_AGENT:
            # Of the process that found out, and of the other one
            self.ends.update({ANOTHER_AGENT: 1, 0: 1, -signal.SIGTERM: 1, -signal.SIGKILL: 1})
            self._agent.start()
        yield

    def clock_jumps(self, whither: str) -> AbstractContextManager[None]:
        """The clock of the agent's machine goes a day wrong, and is set right again."""
        return self._jumped({"forwards": DAY, "backwards": -DAY}[whither])

    @contextmanager
    def _jumped(self, seconds: int) -> Iterator[None]:
        assert self._agent.clock is not None
        self._agent.clock.jump(seconds)
        try:
            yield
        finally:
            self._agent.clock.jump(0)

    # ---- the source

    @contextmanager
    def source_restarts(self) -> Iterator[None]:
        """Stopped without a checkpoint, and started later on."""
        self._ground.source.stop("immediate")
        try:
            yield
        finally:
            self._ground.source.start_again()

    @contextmanager
    def source_sessions_end(self) -> Iterator[None]:
        """An administrator ends every session of the agent."""
        with psycopg.connect(self._place.source, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                [self._place.name],
            )
        yield

    @contextmanager
    def source_password_changes(self) -> Iterator[None]:
        """Gives the agent's role another password at the source and ends its sessions.

        Later on the new password is in the agent's file.
        """
        changed = f"{PASSWORD}-{uuid.uuid4().hex}"
        self._change_password(changed)
        with self.source_sessions_end():
            try:
                yield
            finally:
                secret(self._place.directory).write_text(changed, encoding="utf-8")

    def _change_password(self, changed: str) -> None:
        """Gives the agent's role a password at the source."""
        with psycopg.connect(self._place.source, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(self._place.name), sql.Literal(changed)
                )
            )

    @contextmanager
    def source_log_full(self) -> Iterator[None]:
        """Leaves no room where the source keeps its log, by which the source dies.

        Later on there is room, and the source is started again.
        """
        server = self._ground.source
        try:
            with self._ground.disks["source"].full():
                self._fill_log(server)
                yield
        finally:
            server.stop("immediate")
            server.start_again()

    def _fill_log(self, server: PostgresServer) -> None:
        """Has it begin one file of its log after the other, until it cannot."""
        with suppress(psycopg.OperationalError):
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                for _ in range(SEGMENTS):
                    connection.execute("SELECT pg_logical_emit_message(false, 'nemesis', '')")
                    connection.execute("SELECT pg_switch_wal()")
            raise Broken("the source's log goes on, though its disk is full")

    @contextmanager
    def column_added(self) -> Iterator[None]:
        """DDL that concerns nothing that is shared."""
        with psycopg.connect(self._place.source, autocommit=True) as connection:
            connection.execute(
                f'ALTER TABLE "业务"."{RESIDENTS.name}" '
                'ADD COLUMN IF NOT EXISTS "附加" text'.encode()
            )
        yield

    # ---- the front end

    @contextmanager
    def front_restarts(self) -> Iterator[None]:
        """The front end's server dies, and comes back."""
        server = self._front_server()
        if isinstance(server, PostgresServer):
            server.stop("immediate")
        else:
            server.kill9()
        try:
            yield
        finally:
            server.start_again()

    @contextmanager
    def front_sessions_end(self) -> Iterator[None]:
        """An administrator ends every session of the agent."""
        if isinstance(server := self._front_server(), PostgresServer):
            at_front(
                self._place.places.front,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        else:
            with connected(server.url) as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT id FROM information_schema.processlist WHERE db = %s",
                    [str(self._place.front).rpartition("/")[2]],
                )
                for (session,) in cursor.fetchall():
                    cursor.execute(f"KILL {session:d}")
        yield

    @contextmanager
    def front_password_changes(self) -> Iterator[None]:
        """Gives the agent's role another password at the front end and ends its sessions.

        Later on the new password is in the agent's file.
        """
        changed, name = f"{PASSWORD}-{uuid.uuid4().hex}", self._place.name
        server = self._front_server()
        if isinstance(server, MariaDbServer):
            with connected(server.url) as connection, connection.cursor() as cursor:
                cursor.execute(f"ALTER USER `{name}`@`%` IDENTIFIED BY '{changed}'")
        else:
            with psycopg.connect(server.dsn(), autocommit=True) as owner:
                owner.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                        sql.Identifier(name), sql.Literal(changed)
                    )
                )
        with self.front_sessions_end():
            try:
                yield
            finally:
                secret(self._place.directory, "front").write_text(changed, encoding="utf-8")

    @contextmanager
    def front_table_locked(self) -> Iterator[None]:
        """Somebody else holds a front-end table (of SQLite: everything)."""
        if self._place.front is None:
            with self._place.front_locked():
                yield
        elif isinstance(self._front_server(), MariaDbServer):
            with connected(self._place.front) as connection, connection.cursor() as cursor:
                cursor.execute("START TRANSACTION")
                cursor.execute(f"SELECT 1 FROM `{RESIDENTS.name}` FOR UPDATE")
                yield
        else:
            with psycopg.connect(self._place.front) as connection:
                connection.execute(f'LOCK TABLE "{RESIDENTS.name}"'.encode())
                yield

    def front_disk_full(self) -> AbstractContextManager[None]:
        """Where the front-end tables are stored there is no room left, and later on there is."""
        return self._ground.disks["front"].full()

    def _front_server(self) -> PostgresServer | MariaDbServer:
        assert self._ground.front is not None, "SQLite has no server"
        return self._ground.front

    # ---- Kafka

    def broker_dies(self) -> AbstractContextManager[None]:
        """kill -9 of the broker."""
        return self._broker_away(self._ground.broker.kill9)

    def broker_dies_and_returns(self) -> AbstractContextManager[None]:
        """Kills the broker by kill -9; it is back before its session has ended.

        Then transactions lose their ends (KAFKA-20734).
        """
        return self._broker_away(self._ground.broker.kill9, SESSION)

    def broker_restarts(self) -> AbstractContextManager[None]:
        """The broker is stopped in good order."""
        return self._broker_away(self._ground.broker.stop)

    @contextmanager
    def broker_disk_full(self) -> Iterator[None]:
        """Leaves no room where the broker keeps its log, by which the broker dies.

        Later on there is room, and the broker is started again.
        """
        try:
            with self._ground.disks["kafka"].full():
                yield
        finally:
            self._ground.broker.kill9()
            self._ground.broker.start_again()

    @contextmanager
    def kafka_password_changes(self) -> Iterator[None]:
        """Gives the agent another password at Kafka, so that the publisher has to log in again.

        Later on the new password is in the agent's file.
        """
        changed = f"{PASSWORD}-{uuid.uuid4().hex}"
        self._ground.broker.add_user(self._place.name, changed)
        with self._dies("publish"):
            try:
                yield
            finally:
                secret(self._place.directory, "kafka").write_text(changed, encoding="utf-8")

    @contextmanager
    def _broker_away(self, end: Callable[[], object], session: int | None = None) -> Iterator[None]:
        end()
        try:
            yield
        finally:
            self._ground.broker.start_again(session)

    @contextmanager
    def broker_freezes(self) -> Iterator[None]:
        """SIGSTOP of the broker: connections stay, nothing is answered."""
        self._ground.broker.pause()
        try:
            yield
        finally:
            self._ground.broker.resume()

    @contextmanager
    def end_of_transaction_unanswered(self) -> Iterator[None]:
        """Loses the answers to EndTxn.

        The transactions are committed, and the publisher does not know.
        """
        self._ground.broker.proxy.withhold(END_TXN)
        try:
            yield
        finally:
            self._ground.broker.proxy.heal()

    # ---- lines

    @contextmanager
    def commit_unanswered(self) -> Iterator[None]:
        """The line to the front end breaks after COMMIT has been sent and before it is answered."""
        line = self._ground.lines["front"]
        line.cut_after(b"COMMIT")
        eventually(lambda: line.has_cut, 30, "the agent commits")
        yield

    def line_breaks(self, peer: str) -> AbstractContextManager[None]:
        """All connections are reset, and nobody is let in."""
        return self._line(peer, self._ground.lines[peer].refuse)

    def line_is_silent(self, peer: str) -> AbstractContextManager[None]:
        """Connections stay and nothing passes."""
        return self._line(peer, self._ground.lines[peer].black_hole)

    def line_half_closes(self, peer: str) -> AbstractContextManager[None]:
        """Ends every connection for the peer, while the agent sees no end and gets no bytes.

        New connections pass.
        """
        return self._line(peer, self._ground.lines[peer].half_close)

    def line_is_slow(self, peer: str) -> AbstractContextManager[None]:
        """A trickle passes."""
        return self._line(peer, lambda: self._ground.lines[peer].throttle(SLOW))

    @contextmanager
    def _line(self, peer: str, harm: Callable[[], None]) -> Iterator[None]:
        harm()
        try:
            yield
        finally:
            self._ground.lines[peer].heal()
