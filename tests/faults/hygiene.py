"""Judges O10: the service shows no secret, does not grow, and leaves nothing behind.

Whatever happens, nothing it shows holds a row's value or a secret.
"""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests.agent_process import Agent, Installation
from tests.checker.inputs import CANARY
from tests.checker.sampler import Sampler
from tests.checker.table import in_mariadb
from tests.services.mariadb import execute
from tests.services.processes import HOST
from tests.waiting import eventually

INTERVAL = 0.5  # seconds between samples
GONE = 10.0  # seconds in which the servers have noticed that the service is gone
# When each table was last compared, and the past of the status page: both outlive the service. A
# journal is left by a service that was killed while it wrote
KEPT_FILES = {"last-verify.json", "history.db", "history.db-journal"}
FRONT_FILES = re.compile(r"front\.db(-wal|-shm|\.turn|(\.[a-z0-9_]+)?\.lock)?")
SLOTS = (
    "SELECT slot_name FROM pg_replication_slots "
    "WHERE database = current_database() AND (active OR slot_name <> ALL (%s))"
)
# MariaDB
FRONT_SESSIONS = (
    "SELECT count(*) FROM information_schema.processlist "
    "WHERE user = substring_index(user(), '@', 1) AND id <> connection_id()"
)
SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE application_name = 'unit-sync-agent' AND datname = current_database()"
)


class Burden(NamedTuple):
    """What a process has open."""

    descriptors: int
    threads: int


# A third more than healthy processes have at the most, with either client and any front end.
BOUNDS = {"supervisor": Burden(40, 16), "capture": Burden(40, 16), "publish": Burden(40, 16)}


class Hygiene(Sampler):
    """Watches the processes of a service and what they say.

    Call `inspect` after its end, then `report`.
    """

    oracle, place = "O10", "service"

    def __init__(
        self,
        place: Installation,
        agent: Agent,
        secrets: Sequence[str],
        others: Sequence[str] = (),
        interval: float = INTERVAL,
    ) -> None:
        super().__init__(interval)
        self._installed, self._agent = place, agent
        self._words = [
            word for text in (CANARY, *secrets) for word in (text, os.fsencode(text).hex())
        ]
        self._slots = [place.slot, *others]  # `others`: slots that are somebody else's
        # Processes whose command line and environment are known to be clean
        self._shown: set[int] = set()

    def sample(self) -> None:
        """One look at each process, and at the metrics."""
        try:
            pids = {"supervisor": self._agent.pid, **self._agent.children()}
            for stage, pid in pids.items():
                self._look(stage, pid)
        except OSError:  # it is ending, or not yet there
            self.skipped += 1
            return
        self.samples += 1
        self._hear("/metrics", self._metrics())

    def inspect(self) -> None:
        """Inspects what is left when the service has ended: log, slot, sessions and files."""
        self._hear("its log", self._agent.log)
        self._inspect_source()
        if self._installed.front is not None:
            self._expect_none("sessions at the front end", self._away_from_front)
        for file in sorted(self._installed.front_file.parent.parent.rglob("*")):
            of_front = self._installed.front is None and FRONT_FILES.fullmatch(file.name)
            if file.is_file() and not of_front and file.name not in KEPT_FILES:
                self.violation(f"left the file {file.name} in its state directory")

    def _inspect_source(self) -> None:
        with psycopg.connect(self._installed.source, autocommit=True) as connection:
            self._expect_none(
                "sessions at the source", lambda: connection.execute(SESSIONS).fetchall() == [(0,)]
            )
            self._expect_none(
                "slots of others, or its own in use",
                lambda: not connection.execute(SLOTS, [self._slots]).fetchall(),
            )

    def _look(self, stage: str, pid: int) -> None:
        process = Path(f"/proc/{pid}")
        found = Burden(*(sum(1 for _ in (process / folder).iterdir()) for folder in ("fd", "task")))

        if any(has > most for has, most in zip(found, BOUNDS[stage], strict=True)):
            self.violation(
                f"{stage} has {found.descriptors} descriptors and {found.threads} threads"
            )
        if pid not in self._shown:
            for file in ("cmdline", "environ"):
                self._hear(
                    f"{file} of {stage}", (process / file).read_bytes().decode(errors="replace")
                )
            self._shown.add(pid)

    def _metrics(self) -> str:
        try:
            with urllib.request.urlopen(
                f"http://{HOST}:{self._installed.listen}/metrics", timeout=5
            ) as answer:  # loopback
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""

    def _hear(self, where: str, text: str) -> None:
        if any(word in text for word in self._words):
            self.violation(f"{where} holds a row's value or a secret")

    def _expect_none(self, what: str, none: Callable[[], bool]) -> None:
        try:
            eventually(none, GONE, f"no {what}")
        except AssertionError:
            self.violation(f"left {what}")

    def _away_from_front(self) -> bool:
        front = str(self._installed.front)
        if in_mariadb(front):
            return execute(front, FRONT_SESSIONS) == [(0,)]
        with psycopg.connect(front, autocommit=True) as connection:
            return connection.execute(SESSIONS).fetchall() == [(0,)]
