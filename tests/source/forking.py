"""Runs capture and publisher one after the other in processes of their own, which are killed.

Each is a fork of one process that has imported everything, so that it begins at once. Call
`python -m tests.source.forking agent.toml`; each line of stdin is a stage and the place at which it
dies, or `-`. A line of stdout has its process id, the next one how it ended (negative: the signal).
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from agent import failpoints
from agent.capture.loop import capture
from agent.config import Settings, load
from agent.publish.relay import relay
from agent.service.control import Control, die_with_parent
from tests.services.processes import dying_with_parent
from tests.waiting import PATIENCE

NOWHERE = "-"
NONCE = "the service"  # both stages are of one


def main() -> None:
    """Runs what it is told to, until stdin ends."""
    settings = load(Path(sys.argv[1]))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # A stage may be told to end before it can be told
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    for line in sys.stdin:
        stage, place = line.split()
        pid = os.fork()
        if pid == 0:
            work(settings, stage, place)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def work(settings: Settings, stage: str, place: str) -> None:
    """Is the forked process, until it is killed or told to end."""
    die_with_parent()
    control = Control.alone(stage, NONCE)
    signal.signal(signal.SIGTERM, lambda *_: control.stop())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    if place != NOWHERE:
        failpoints.armed.update(failpoints._parse(f"{place}:1:kill", frozenset()))
    code = 1
    try:
        if stage == "capture":
            capture(settings, control)
        else:
            relay(settings, control, control.nonce)
        code = 0
    except Exception:
        logging.getLogger(stage).exception("it has failed")
    finally:
        os._exit(code)


class Stages:
    """Runs the stages of one agent; use it as a context manager."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config = config
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.source.forking", str(self._config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - see there
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)

    def killed_at(self, stage: str, place: str) -> None:
        """Runs a stage until it has killed itself at a place."""
        self._begin(stage, place)
        assert self._line() == -signal.SIGKILL, self._log.read_text(encoding="utf-8")[-3000:]

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Runs a stage, and ends it in good order."""
        pid = self._begin(stage, NOWHERE)
        yield
        os.kill(pid, signal.SIGTERM)
        assert self._line() == 0, self._log.read_text(encoding="utf-8")[-3000:]

    def _begin(self, stage: str, place: str) -> int:
        assert self._process.stdin is not None
        print(stage, place, file=self._process.stdin, flush=True)
        return self._line()

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


if __name__ == "__main__":
    main()
