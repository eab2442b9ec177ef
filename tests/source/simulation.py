"""Checks as a state machine what is acknowledged to PostgreSQL.

The source, the wire and the checks are the real ones. The server is a list, and the line is two
lists.

There is one thread, no socket and no server; time is a number. Whatever arrives late, gets lost or
dies: the server is never told more than the front end has stored, always hears from the agent in
time, and every transaction is applied once.
"""

import socket
import struct
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from psycopg.pq import ExecStatus

from agent.config import Settings
from agent.connectors.changes import Commit, Heartbeat, Message
from agent.connectors.position import position_number, position_text
from agent.connectors.postgres import catalogue, server_state
from agent.connectors.postgres.acknowledgement import PEER_SILENCE
from agent.connectors.postgres.history import Server
from agent.connectors.postgres.pgoutput import HEARTBEAT_PREFIX
from agent.connectors.postgres.source import PostgresSource
from agent.connectors.postgres.wire import Wire
from agent.connectors.resume import CommitMark, Resume
from agent.errors import AgentError, Retry, SourceUnreachable
from tests.pipeline.model import settings
from tests.simulation import Violated, failing
from tests.unit import encoder

SENDER_TIMEOUT = 60.0
TICK = 0.25  # of the wire's timer
BEGUN = 1_000  # position at which the slot was made
ENDLESS = 200  # rounds in which everything must be acknowledged once nothing fails any more
COMMIT_LENGTH = 40


class Logged(NamedTuple):
    """Something in the server's log: a transaction or a heartbeat."""

    end: int
    transaction: int  # 0: a heartbeat
    time_us: int
    messages: tuple[tuple[int, bytes], ...]  # each with its position


class SlotServer:
    """Stands for a PostgreSQL with one slot.

    What it has sent and what was confirmed is lost in a crash, but for what was saved before.
    """

    def __init__(self) -> None:
        self.log: list[Logged] = []
        self.end = BEGUN
        self.confirmed = self.saved = BEGUN
        self.up = True
        self.stopping = False
        self.line: Line | None = None

    def write(self, changes: int, gap: int) -> None:
        """A transaction, so many bytes after what is there; with no change: a heartbeat."""
        start, number = self.end + gap, len(self.log) + 1
        if not changes:
            messages: tuple[tuple[int, bytes], ...] = (
                (start + 8, encoder.message(HEARTBEAT_PREFIX, b"%d" % number, start + 8)),
            )
            self.log.append(Logged(start + 8, 0, number, messages))
        else:
            commit = start + 8 * changes
            others = tuple(
                (
                    start + 8 * n,
                    encoder.message("somebody else's", b"", start + 8 * n, transactional=True),
                )
                for n in range(changes)
            )
            begin, ends = (
                encoder.begin(number, commit, number),
                encoder.commit(commit, commit + COMMIT_LENGTH, number),
            )
            self.log.append(
                Logged(
                    commit + COMMIT_LENGTH,
                    number,
                    number,
                    ((start, begin), *others, (commit, ends)),
                )
            )
        self.end = self.log[-1].end

    def crash(self) -> None:
        """What it had not saved of the slot is lost, and every connection."""
        self.confirmed = self.saved
        self.stopping = False
        self.hang_up()

    def hang_up(self) -> None:
        """Drops the connection and what was under way on it.

        A server that stops has waited for nothing else.
        """
        if self.line is not None:
            self.line.end()
            self.line = None
        if self.stopping:
            self.up = self.stopping = False
            self.saved = self.confirmed


class Line:
    """Stands for the agent's replication connection and the server's sender on the other end.

    It is a psycopg connection and its PGconn in one.
    """

    def __init__(self, machine: "Acknowledging") -> None:
        self._machine = machine
        self._server = machine.server
        self.broken = self.closed = False
        self.pending: list[tuple[int, bytes]] = []  # what the sender has still to send
        self.sent = 0  # position up to which it has sent
        self.down: list[bytes] = []  # on the way to the agent
        self.up: list[bytes] = []  # on the way to the server
        self.arrived: list[bytes] = []
        self._read: list[bytes] = []
        self.heard_at = machine.now  # by the server
        self.asked = False  # the server waits for an answer
        self.moved_at = machine.now  # bytes came to the agent
        self.pgconn = self
        self.info = SimpleNamespace(server_version=180000)
        self._ours, self._theirs = socket.socketpair()
        self.socket = self._ours.fileno()
        self.free = self._ours.close
        self.nonblocking = 0

    # ---- psycopg

    def send_query(self, command: bytes) -> None:
        """START_REPLICATION."""
        assert command.startswith(b"START_REPLICATION")
        self._server.line = self
        self.pending = [
            message
            for logged in self._server.log
            if logged.end > self._server.confirmed
            for message in logged.messages
        ]
        self.sent = self._server.confirmed
        self.heard_at = self.moved_at = self._machine.now

    def wait(self, results: list[SimpleNamespace]) -> list[SimpleNamespace]:
        """The server answers at once."""
        return results

    def execute(self, query: str) -> SimpleNamespace:
        """wal_sender_timeout."""
        assert "wal_sender_timeout" in query
        return SimpleNamespace(fetchone=lambda: (SENDER_TIMEOUT,))

    def get_copy_data(self, asynchronous: int) -> tuple[int, bytes]:
        """Returns the next message that was read."""
        if self.closed:
            raise psycopg.OperationalError("closed")
        data = self._read.pop(0) if self._read else b""
        return len(data), data

    def consume_input(self) -> None:
        """Reads what has arrived."""
        self._check()
        self._ours.recv(65536)
        self._read += self.arrived
        self.arrived.clear()

    def put_copy_data(self, data: bytes) -> None:
        """A status update leaves."""
        self._check()
        position = struct.unpack_from(">cQQQ", data)[2]
        if position > position_number(self._machine.stored.position):
            raise Violated("O8", f"told {position}, stored {self._machine.stored.position}")
        self.up.append(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def get_result(self) -> None:
        """No last words."""

    def close(self) -> None:
        """The agent ends the connection."""
        self.closed = True
        if self._server.line is self:
            self._server.hang_up()
        self.end()

    def end(self) -> None:
        """The connection is over; its descriptor is kept, lest another one is taken for it."""
        self.broken = True
        self._theirs.close()

    def _check(self) -> None:
        if self.broken:
            raise psycopg.OperationalError("gone")

    # ---- the sender

    def write(self, data: bytes) -> None:
        """The sender writes."""
        self.down.append(data)

    def send(self, count: int) -> None:
        """So many messages of the log."""
        for _ in range(min(count, len(self.pending))):
            at, payload = self.pending.pop(0)
            self.sent = at + (COMMIT_LENGTH if payload[:1] == b"C" else 0)
            self.write(struct.pack(">cQQq", b"w", at, self.sent, 0) + payload)

    def keepalive(self, asks: bool) -> None:
        """How far the log was sent."""
        self.asked = self.asked or asks
        self.write(struct.pack(">cQqB", b"k", self.sent, 0, asks))

    def deliver(self, count: int) -> None:
        """So many bytes reach the agent."""
        self.arrived += self.down[:count]
        if self.down[:count]:
            self.moved_at = self._machine.now
            self._theirs.send(b"x")
        del self.down[:count]

    def hear(self, count: int) -> None:
        """So many status updates reach the server."""
        for data in self.up[:count]:
            _, _, self._server.confirmed, _, _, asks = struct.unpack(">cQQQqB", data)
            self.heard_at, self.asked = self._machine.now, False
            if asks:
                self.keepalive(asks=False)
        del self.up[:count]

    def tend(self) -> None:
        """Does what the sender does by itself.

        It asks when it has heard nothing for long, gives up after longer, and ends when all of it
        is confirmed.
        """
        silent = self._machine.now - self.heard_at
        if silent > SENDER_TIMEOUT:
            self._server.hang_up()
        elif self._server.stopping and not self.pending:
            if self._server.confirmed >= self._server.end:
                self._server.hang_up()
            elif not self.asked:
                self.keepalive(asks=True)
        elif silent > SENDER_TIMEOUT / 2 and not self.asked:
            self.keepalive(asks=True)


class Acknowledging(RuleBasedStateMachine):
    """A server that is written, an agent that reads and stores, and a line between them."""

    @initialize()
    def installed(self) -> None:
        """`init --apply`, and a start."""
        self.now = 1_000.0
        self.settings: Settings = settings()
        self.server = SlotServer()
        self.stored = Resume(
            position_text(BEGUN),
            CommitMark("", 0, 0),
            {"system_id": "1", "timeline": 1, "slot": "slot"},
        )
        self.applied: list[
            tuple[int, int]
        ] = []  # end and xid of each transaction the front end has
        self.taken: list[Message] = []  # in the open front-end transaction
        self.lines: list[Line] = []
        publication = catalogue.Publication(True, "iudt", True, "", {})
        self.patches: list[Any] = [
            patch(
                "agent.connectors.postgres.source.connect",
                lambda settings, replication=False, encoding="UTF8": self.connected(),
            ),
            patch(
                "agent.connectors.postgres.wire.execute",
                lambda line: [SimpleNamespace(status=ExecStatus.COPY_BOTH)],
            ),
            patch.object(server_state, "server", lambda *_: self.described()),
            patch.object(catalogue, "publication", lambda *_: publication),
            patch(
                "agent.connectors.postgres.wire.threading",
                SimpleNamespace(Lock=threading.Lock, Event=Once, Thread=NoThread),
            ),
            *(
                patch(f"agent.connectors.postgres.{module}.time", self)
                for module in ("wire", "source")
            ),
        ]
        for patched in self.patches:
            patched.start()
        self.source = PostgresSource(self.settings)
        self.open = False
        self.agent_connects()

    def monotonic(self) -> float:
        """Stands for `time`."""
        return self.now

    def time_ns(self) -> int:
        """Stands for `time`."""
        return int(self.now * 1e9)

    def connected(self) -> Line:
        """A connection of the agent's; the one that streams is the one of the server's sender."""
        if not self.server.up or self.server.stopping:
            raise SourceUnreachable(address="simulated", reason="connection refused")
        self.lines.append(Line(self))
        return self.lines[-1]

    def described(self) -> Server:
        """Returns what the server says of itself."""
        return Server(
            "1", 1, self.server.end, False, True, self.server.confirmed, None, "reserved", ""
        )

    # ---- the source

    @rule(changes=st.integers(0, 3), gap=st.integers(0, 100))
    def source_commits(self, changes: int, gap: int) -> None:
        """A transaction, or a heartbeat."""
        if self.server.up and not self.server.stopping:
            self.server.write(changes, gap)
            if self.server.line is not None:
                self.server.line.pending += self.server.log[-1].messages

    @precondition(lambda self: self.server.line is not None)
    @rule(count=st.integers(1, 8))
    def server_sends(self, count: int) -> None:
        """A piece of the log."""
        assert self.server.line is not None
        self.server.line.send(count)

    @precondition(lambda self: self.server.line is not None)
    @rule(asks=st.booleans())
    def server_shows_life(self, asks: bool) -> None:
        """A keepalive: it says how far the log was sent, stored or not."""
        assert self.server.line is not None
        self.server.line.keepalive(asks)

    @rule()
    def server_saves_its_slots(self) -> None:
        """A checkpoint."""
        self.server.saved = self.server.confirmed

    def server_crashes(self) -> None:
        """The slot goes back to what was saved; the server comes back at once."""
        self.server.crash()

    def server_is_to_stop(self) -> None:
        """A shutdown begins: it waits for the agent."""
        self.server.stopping = True
        if self.server.line is None:
            self.server.hang_up()

    @rule(
        what=st.sampled_from(["server_crashes", "server_is_to_stop", "line_breaks", "agent_dies"])
    )
    def something_breaks(self, what: str) -> None:
        """One rule, lest runs are made of nothing else."""
        if self.server.up:
            getattr(self, what)()

    @rule()
    def server_is_started(self) -> None:
        """If it has stopped."""
        self.server.up = True

    # ---- the line

    @precondition(lambda self: self.server.line is not None)
    @rule(down=st.integers(0, 8), up=st.integers(0, 4))
    def line_delivers(self, down: int, up: int) -> None:
        """Some of what is under way."""
        assert self.server.line is not None
        self.server.line.deliver(down)
        self.server.line.hear(up)

    def line_breaks(self) -> None:
        """What is under way is lost."""
        self.server.hang_up()

    # ---- the agent

    @rule()
    def agent_reads(self) -> None:
        """Everything that has arrived."""
        if not self.open:
            return
        try:
            self.taken += self.source.read(0.0)
        except Retry:
            self.lost()
        except AgentError as error:
            raise Violated(f"halt {error.code}", error.text("en")) from None

    @rule(told=st.booleans())
    def front_end_commits(self, told: bool) -> None:
        """Commits what was read up to its last commit.

        The agent may die before it tells the source (`told`).
        """
        ends = [
            number
            for number, message in enumerate(self.taken, 1)
            if isinstance(message, Commit | Heartbeat)
        ]
        if not ends or ends[-1] != len(self.taken):
            return
        self.store(self.taken)
        self.taken = []
        if told:
            self.tell()
        else:
            self.agent_dies()

    def store(self, messages: Sequence[Message]) -> None:
        """Stores one front-end transaction.

        Raises Violated where it is not the next piece of the source's history.
        """
        for message in messages:
            if isinstance(message, Commit):
                self.applied.append((message.position, message.transaction))
                mark = CommitMark(
                    position_text(message.position), message.transaction, message.time_us
                )
                self.stored = self.stored._replace(
                    position=position_text(message.position),
                    commit=mark,
                )
            elif isinstance(message, Heartbeat):
                self.stored = self.stored._replace(position=position_text(message.position))
        written = [
            (logged.end, logged.transaction) for logged in self.server.log if logged.transaction
        ]
        if self.applied != written[: len(self.applied)]:
            raise Violated("O4", f"applied {self.applied}, the source has {written}")
        missed = [
            end
            for end, _ in written[len(self.applied) :]
            if end <= position_number(self.stored.position)
        ]
        if missed:
            raise Violated(
                "O7", f"at {self.stored.position} the transactions that end at {missed} are missing"
            )

    def tell(self) -> None:
        """The source hears of it."""
        try:
            self.source.acknowledge(position_number(self.stored.position))
        except Retry:
            self.lost()

    def agent_dies(self) -> None:
        """kill -9, and it starts again."""
        self.lost()
        self.source = PostgresSource(self.settings)

    @rule()
    def agent_connects(self) -> None:
        """If it is not connected. Checks A and B must not find fault with the server."""
        if self.open:
            return
        try:
            self.source.open(self.stored, lambda: None)
            self.open = True
        except Retry:
            self.lost()
        except AgentError as error:
            raise Violated(f"halt {error.code}", error.text("en")) from None

    def lost(self) -> None:
        """The connection is gone; what was not stored must come again."""
        self.source.close()
        self.open, self.taken = False, []

    @rule(ticks=st.integers(1, 400), reads=st.booleans(), passes=st.booleans())
    def time_passes(self, ticks: int, reads: bool, passes: bool) -> None:
        """Lets the timer go on.

        The agent reads or waits for the front end, and the line lets everything pass or nothing.
        """
        for _ in range(ticks):
            self.tick(passes=passes)
            if reads:
                self.agent_reads()

    def tick(self, passes: bool = True) -> None:
        """Lets a quarter of a second pass.

        On a line that works a server never gives up the agent, and the agent gives up a silent one.
        """
        self.now += TICK
        line, wire = self.server.line, self.source._wire
        if line is not None:
            line.tend()
            if passes and not line.broken:
                line.hear(len(line.up))
                line.deliver(len(line.down))
                if self.now - line.heard_at > SENDER_TIMEOUT / 2 + TICK:
                    raise Violated(
                        "time", f"the server has heard nothing for {self.now - line.heard_at:.1f} s"
                    )
        if self.open and wire is not None:
            if line is not None and line.arrived:  # unread bytes show life, too
                line.moved_at = self.now
            Once.rearm(wire)
            wire._keep_alive()
            if (
                line is not None
                and not line.broken
                and self.now - line.moved_at > PEER_SILENCE + 2 * TICK
            ):
                raise Violated(
                    "time",
                    f"a silent server is still held on to after {self.now - line.moved_at:.1f} s",
                )

    # ---- at the end

    def teardown(self) -> None:
        """Nothing fails any more: then everything is acknowledged, and the server can stop."""
        if not hasattr(self, "patches"):
            return
        try:
            if not failing():
                self.come_to_rest()
        finally:
            self.source.close()
            for patched in self.patches:
                patched.stop()
            for line in self.lines:
                line.close()
                line.free()

    def come_to_rest(self) -> None:
        """Raises Violated."""
        self.server.up, self.server.stopping = True, False
        self.rest(
            lambda: self.open and self.server.confirmed >= self.server.end, "the server is not told"
        )
        self.server.stopping = True
        self.rest(lambda: not self.server.up, "the server does not come to its end")

    def rest(self, done: Callable[[], bool], otherwise: str) -> None:
        """Everything is sent, read and stored. Raises Violated if it does not help."""
        for _ in range(ENDLESS):
            self.agent_connects()
            if self.server.line is not None:
                self.server.line.send(len(self.server.line.pending))
            self.tick()
            self.agent_reads()
            self.front_end_commits(told=True)
            if done():
                return
        raise Violated(
            "stuck",
            f"{otherwise}: {self.server.confirmed} of {self.server.end} confirmed, "
            f"stored {self.stored.position}",
        )


class Once:
    """Stands for the event that ends the timer's thread.

    Each call of the thread's function is one tick.
    """

    def __init__(self) -> None:
        self._ticks = 0

    @staticmethod
    def rearm(wire: Wire) -> None:
        """One more tick."""
        wire._ended = Once()  # type: ignore[assignment]

    def wait(self, seconds: float) -> bool:
        """True from the second call on."""
        self._ticks += 1
        return self._ticks > 1

    def set(self) -> None:
        """The timer is over."""


class NoThread:
    """Stands for the timer's thread, which is called by the machine."""

    def __init__(self, target: object, name: str, daemon: bool) -> None:
        pass

    def start(self) -> None:
        """Nothing."""

    def is_alive(self) -> bool:
        """Never."""
        return False
