"""Runs server processes of the tests, each with its own directory and its own port.

They never outlive the process that started them.
"""

import atexit
import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import Hopeless, eventually

HOST = "127.0.0.1"
UNPRIVILEGED = 65534  # nobody: exists everywhere, owns nothing
BLOCKS = [range(first, first + 50) for first in range(20000, 32000, 50)]  # of ports
PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading in the child could deadlock
LIBC = ctypes.CDLL(None, use_errno=True)


def free_port() -> int:
    """Returns a TCP port below the range Linux takes for outgoing connections.

    Nothing is bound to it.

    A port from that range could be taken while its server is stopped, and a client that retries on
    it can even connect to itself. It is this process's until it ends: no other test session is
    given it meanwhile, and nobody twice.
    """
    while True:
        port = next(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port


def own_ports() -> Iterator[int]:
    """Yields ports that no other test session yields, taken in blocks when they are needed.

    An abstract Unix socket tells whose a block is: it is gone with its process, whatever ends that,
    and is of the same network namespace as the ports.
    """
    held = []
    for block in random.SystemRandom().sample(BLOCKS, len(BLOCKS)):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0sync-agent-tests-ports-{block[0]}")
        except OSError:
            lock.close()
            continue
        held.append(lock)
        yield from block
    raise RuntimeError(f"every port from {BLOCKS[0][0]} to {BLOCKS[-1][-1]} was given away")


PORTS = own_ports()


class Lent:
    """Holds a server as a test has it: a context manager that gives it back.

    What that means is up to the caller of `__init__`, or to a subclass.
    """

    def __init__(self, give_back: Callable[[], None] = lambda: None) -> None:
        self._give_back = give_back

    def close(self) -> None:
        """Gives the server back."""
        self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class Workspace:
    """Makes one temporary directory of a server.

    It is removed by `close`, and at the latest when Python exits.
    """

    def __init__(self, name: str, directory: Path | None = None, owner: int | None = None) -> None:
        self._keep = directory is not None
        self.path = (
            directory if directory is not None else Path(tempfile.mkdtemp(prefix=f"sync-{name}-"))
        )
        self.path.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            os.chown(self.path, owner, owner)
        atexit.register(self.close)

    def close(self) -> None:
        """Removes the directory unless the caller named it."""
        atexit.unregister(self.close)
        if not self._keep:
            shutil.rmtree(self.path, ignore_errors=True)


def server_owner() -> int | None:
    """Returns the user a server must change to, None when it may run as the user we are."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def dying_with_parent(death: signal.Signals) -> Callable[[], None]:
    """Returns what a child calls before exec, so that it dies with its parent.

    The kernel sends it `death` when its parent is gone.

    "Parent" is the thread that started the child: start servers in the main thread.
    """
    parent = os.getpid()

    def before_exec() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(death), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return before_exec


def run(command: Sequence[str | Path], owner: int | None = None, cwd: Path | None = None) -> str:
    """Runs a command to its end and returns its output; a failure shows that output."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=cwd,
        user=owner,
        group=owner,
        extra_groups=None if owner is None else [],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}):\n{done.stdout[-4000:]}")
    return done.stdout


class ServerProcess:
    """One running server, its output in a log file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        death: signal.Signals = signal.SIGKILL,
        owner: int | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self._name = Path(command[0]).name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=log.parent,
                env=env,
                user=owner,
                group=owner,
                extra_groups=None if owner is None else [],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests; they stop their servers
                preexec_fn=dying_with_parent(death),  # noqa: PLW1509 - it only calls the kernel; after the change of user, which would clear it
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raises Hopeless with the end of the log when the process has ended."""
        if not self.running:
            raise Hopeless(
                f"{self._name} ended with {self._process.returncode}:\n{self.log_tail()}"
            )

    def log_tail(self, characters: int = 4000) -> str:
        """Returns the end of the log."""
        return self._log.read_text(errors="replace")[-characters:]

    def send(self, number: signal.Signals) -> None:
        """Sends a signal if the process still runs."""
        if self.running:
            self._process.send_signal(number)

    def freeze(self) -> None:
        """Sends SIGSTOP, and waits until every thread stands."""
        self.send(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        eventually(
            lambda: all(_state(task) in "TZX" for task in tasks.iterdir()),
            10,
            f"{self._name} stands still",
            0.01,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> float:
        """Sends a signal, waits for the end and returns the seconds it took.

        TimeoutError leaves it running.
        """
        began = time.monotonic()
        self.send(number)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"{self._name} still runs {timeout:g} s after {number.name}"
            ) from None
        return time.monotonic() - began

    def kill(self) -> None:
        """Ends the process with SIGKILL."""
        self.stop(signal.SIGKILL)


def _state(task: Path) -> str:
    """Returns the state of a thread as proc(5) has it: T is stopped.

    One that has just ended counts as dead.
    """
    try:
        return (task / "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
