"""Connects a child process with its supervisor.

Beats go upwards, the stop goes downwards, and capture wakes the publisher. A beat is one JSON line.
Names in it are those of `agent.service.metrics`, labels appended with `/`: gauges
`agent_connected/source`, counters ("agent_events_total", "applied", "orders", "c"). Other lines
report at once that the stage is ready, that an attempt has failed, and that it has made progress.
"""

import contextlib
import ctypes
import fcntl
import json
import logging
import math
import os
import random
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Mapping
from types import FrameType

from agent.descriptors import readable
from agent.errors import AgentError, Retry

CONTROL_FD = "SYNC_AGENT_CONTROL"
WAKE_FD = "SYNC_AGENT_WAKE"
NONCE = "SYNC_AGENT_NONCE"

_BEAT_SECONDS = 0.25  # between two beats while there is news
_SIGN_OF_LIFE_SECONDS = 5.0  # without news; the supervisor takes a minute of silence for a hang
_OBSERVATIONS = 1000  # kept between two beats
# Between two lines of the log about the same error, in a long outage
_LOG_AGAIN_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1
_log = logging.getLogger(__name__)


class Control:
    """The child's end. One thread uses it; none of the methods blocks but `wait` and `retry`.

    The stop signal is the end of the socket to the supervisor: it ends when the supervisor dies,
    and SIGTERM and SIGINT shut it down for reading. So `stop_fd` becomes readable in every case and
    stays so.
    """

    def __init__(
        self,
        stage: str,
        nonce: str,
        sock: socket.socket,
        wake_read: int | None = None,
        wake_write: int | None = None,
    ) -> None:
        self.stage = stage
        self.nonce = nonce  # of the running service, the same in both children
        self.gauges: dict[str, float] = {}  # latest values
        self._changed: dict[str, float] = {}  # those that have not been sent yet
        self.counters: dict[tuple[str, ...], int] = defaultdict(int)  # what has not been sent yet
        self._observations: dict[str, list[float]] = defaultdict(list)
        self._socket = sock
        self._peer: socket.socket | None = None  # alone: nobody reads, nothing is sent
        self._wake_read, self._wake_write = wake_read, wake_write
        self._stopping = False
        self.said_ready = False
        self._unsent = b""
        self._sent_at = -math.inf  # the last beat
        self._wait = 0.0  # back-off of the last retry
        # Codes of the present failures, and when each was logged last
        self._logged: dict[str, float] = {}
        self._well = False  # nothing has failed since it made progress
        sock.setblocking(False)

    @classmethod
    def inherited(cls, stage: str) -> "Control":
        """Makes the control of a child of the supervisor, from the environment.

        Installs the signal handlers. Raises KeyError when this process is no such child.
        """
        sock = socket.socket(fileno=int(os.environ[CONTROL_FD]))
        wake = int(os.environ[WAKE_FD])
        writes = fcntl.fcntl(wake, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
        control = cls(
            stage, os.environ[NONCE], sock, None if writes else wake, wake if writes else None
        )
        signal.signal(signal.SIGTERM, control._on_signal)
        signal.signal(signal.SIGINT, control._on_signal)
        die_with_parent()
        return control

    @classmethod
    def alone(cls, stage: str = "capture", nonce: str = "alone") -> "Control":
        """Makes a control without supervisor and signals, for tests.

        `wake` wakes its own `wait`, `stop` ends it, `counters` keep their sums.
        """
        ours, peer = socket.socketpair()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        control = cls(stage, nonce, ours, read, write)
        control._peer = peer
        return control

    @property
    def stop_fd(self) -> int:
        """A descriptor for `select`: readable once the process shall stop, and never to be read."""
        return self._socket.fileno()

    def stop(self) -> None:
        """Asks for the stop, as a signal does."""
        with contextlib.suppress(OSError):  # already ended from the other side
            self._socket.shutdown(socket.SHUT_RD)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def stopping(self) -> bool:
        """Tells whether SIGTERM or SIGINT has come or the supervisor is gone; then for ever."""
        if not self._stopping:
            self._stopping = bool(readable(0, self.stop_fd))
        return self._stopping

    def ready(self) -> None:
        """Reports that this stage works.

        The supervisor starts the publisher at capture's first report.
        """
        self.said_ready = True
        self._report({"ready": True})

    def standing_by(self, active: str, since: float) -> None:
        """Reports that another host is active, by its name ('': unknown), since a Unix time."""
        self._report({"standby": {"host": active, "since": since}})

    def active(self) -> None:
        """Reports that this service is the one that holds the front end."""
        self._report({"active": True})

    def beat(
        self,
        gauges: Mapping[str, float] | None = None,
        counters: Mapping[tuple[str, ...], int] | None = None,
    ) -> None:
        """Gives a sign of life with the latest gauges and the increments of counters.

        News are sent at most four times a second, and without news a sign of life every few
        seconds: nothing is sent before `beat_at`. It is never waited for: what cannot be sent now
        is added to the next one.
        """
        for name, value in (gauges or {}).items():
            if self.gauges.get(name) != value:
                self.gauges[name] = self._changed[name] = value
        for counter, increment in (counters or {}).items():
            self.counters[counter] += increment

        now = time.monotonic()
        if now >= self.beat_at:
            self._sent_at = now
            self._send_beat()

    @property
    def beat_at(self) -> float:
        """The time, by time.monotonic(), from which on `beat` has something to send."""
        news = self._unsent or self._changed or self.counters or self._observations
        return self._sent_at + (_BEAT_SECONDS if news else _SIGN_OF_LIFE_SECONDS)

    def observe(self, name: str, value: float) -> None:
        """Adds an observation for a histogram; it goes with the next beat."""
        if len(self._observations[name]) < _OBSERVATIONS:
            self._observations[name].append(value)

    def wake(self) -> None:
        """Wakes the publisher out of `wait`."""
        if self._wake_write is not None:
            with contextlib.suppress(BlockingIOError):  # full: it is awake anyway
                os.write(self._wake_write, b"w")

    def wait(self, seconds: float) -> bool:
        """Waits until woken, stopped, or `seconds` have passed; returns whether it was woken."""
        deadline = time.monotonic() + seconds
        fds = [self.stop_fd] if self._wake_read is None else [self.stop_fd, self._wake_read]
        while not self.stopping():
            self.beat()
            ready = self._await(deadline, *fds)
            if self._wake_read in ready:
                os.read(self._wake_read or 0, 65536)
                return True
            if time.monotonic() >= deadline:
                return False
        return False

    def retry(self, error: Retry) -> None:
        """Counts the error, then sleeps with back-off and jitter.

        A stop ends the sleep; wake-ups are left for later.
        """
        self._wait = min(self._wait * 2 or error.first_wait, error.longest_wait)
        self.counters["agent_errors_total", self.stage, error.code] += 1
        self._log_retry(error)
        self.failed(error)
        jitter = random.uniform(0.6, 1.0)  # noqa: S311 - jitter needs no secrecy
        deadline = time.monotonic() + self._wait * jitter
        while not self.stopping() and time.monotonic() < deadline:
            self.beat()
            self._await(deadline, self.stop_fd)

    def _await(self, deadline: float, *fds: int) -> set[int]:
        """Waits for descriptors until the deadline, but no longer than until a beat is due."""
        seconds = min(deadline, self.beat_at) - time.monotonic()
        return readable(max(0.0, seconds), *fds)

    def failed(self, error: AgentError) -> None:
        """Reports what an attempt has failed with, or what ends the stage."""
        self._well = False
        self._report({"failed": {"code": error.code, "values": error.plain_values()}})

    def suspended(self, resource: str, code: str, values: Mapping[str, object]) -> None:
        """Reports why a table is suspended, as the front end has it stored."""
        cause = {"resource": resource, "code": code, "values": values}
        self._report({"suspended": cause})

    def went_well(self) -> None:
        """Reports progress past the place where the stage failed.

        The next back-off begins again at its first wait.
        """
        if self._well:
            return
        self._well = True
        self._wait = 0.0
        self._logged.clear()
        self._report({"well": True})

    def close(self) -> None:
        """Sends what is left and closes the descriptors."""
        self._send_beat()
        for fd in (self._wake_read, self._wake_write):
            if fd is not None:
                os.close(fd)
        self._socket.close()
        if self._peer is not None:
            self._peer.close()

    def _log_retry(self, error: Retry) -> None:
        now = time.monotonic()
        if now - self._logged.get(error.code, -math.inf) >= _LOG_AGAIN_SECONDS:
            self._logged[error.code] = now
            _log.warning(
                "retry stage=%s code=%s error=%s next=%s",
                self.stage,
                error.code,
                error.text("en"),
                error.advice("en"),
            )

    def _report(self, message: dict[str, object]) -> None:
        """Sends a line at once; what cannot be sent now goes before the next beat."""
        if self._peer is None:
            self._unsent += json.dumps(message, default=str).encode() + b"\n"
            self._send()

    def _send_beat(self) -> None:
        if self._peer is not None:
            return
        if not self._unsent:
            beat = {
                "beat": self.stage,
                "gauges": self._changed,
                "counters": {"/".join(name): value for name, value in self.counters.items()},
                "observations": self._observations,
            }
            self._unsent = json.dumps(beat).encode() + b"\n"
            self._changed.clear()
            self.counters.clear()
            self._observations.clear()
        self._send()

    def _send(self) -> None:
        if self._peer is None:
            with contextlib.suppress(OSError):  # full, or the supervisor is gone (`stopping` tells)
                sent = self._socket.send(self._unsent, socket.MSG_NOSIGNAL)
                self._unsent = self._unsent[sent:]


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies, whatever it is doing.

    Only Linux does so; elsewhere the end of the socket has to do.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
