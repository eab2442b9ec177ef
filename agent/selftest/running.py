"""Runs a self-test: one trial after the other, and the removal of all that was made."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from agent.connectors.database.session import ADMINISTRATOR_PASSWORD, Database
from agent.errors import SourceUnreachable
from agent.messages import mark, translate
from agent.selftest.costs import Statements
from agent.selftest.interruption import Interrupted, Interruption
from agent.selftest.report import Report, Step, about, told
from agent.selftest.scratch import Scratch
from agent.selftest.trials import Trials

_SECONDS = 20.0  # the longest statement
_PATIENCE = 30.0  # seconds that a server may be away when everything is to be removed
_PAUSE = 1.0


class Tried(NamedTuple):
    """What a self-test is given."""

    url: str
    schema: str = ""  # where tables are made; '' for the session's own
    encoding: str = ""  # of texts in columns declared otherwise; '': it is not tried


def selftest(tried: Tried, tell: Callable[[str], None]) -> Report:
    """Tries everything, and shows each step. Raises SourceUnfit for a URL of no known database.

    The password is the one in the environment, see ADMINISTRATOR_PASSWORD. A signal ends the
    trials, and what was made is removed; a second one ends the removal, too.
    """
    return _Run(tried, tell).report()


class _Run:
    """One self-test."""

    def __init__(self, given: Tried, tell: Callable[[str], None]) -> None:
        """Connects nothing yet. Raises SourceUnfit."""
        password = os.environ.get(ADMINISTRATOR_PASSWORD)
        read = None if password is None else lambda: password
        self._database = Database(given.url, read, _SECONDS)
        encoded = None
        if given.encoding:
            encoded = Database(given.url, read, _SECONDS, given.encoding)
        self._scratch = Scratch(self._database, given.schema)
        self._trials = Trials(given.url, self._scratch, encoded)
        self._tell = tell
        self._interruption = Interruption()
        self._statements = Statements()
        self._about = about(self._database.dialect.name, None)
        self._steps: list[Step] = []

    def report(self) -> Report:
        """Tries everything."""
        interrupted = False
        with self._statements.counted(), self._interruption.watched():
            try:
                self._try_all()
            except Interrupted:
                interrupted = True
            interrupted = interrupted or self._interruption.came
            if interrupted:
                self._tell(translate(mark("interrupted: what was made is removed")))
            left = self._remove_all()
        return Report(self._about, self._steps, interrupted, left)

    def _try_all(self) -> None:
        """Makes one trial after the other, until the test is interrupted."""
        if not self._tried(translate(mark("connection")), self._connect):
            return
        if self._scratch.schema:
            title = translate(mark("a schema for the test"))
            if not self._tried(title, self._scratch.check_schema):
                return
        for trial in self._trials:
            if self._interruption.came:
                return
            self._tried(trial.title, trial.run)

    def _connect(self) -> int:
        connection = self._database.connect()
        try:
            with self._database.guarded():
                self._about = about(self._database.dialect.name, connection)
                self._trials.version = connection.dialect.server_version_info or ()
        finally:
            connection.close()
        return 0

    # ---- removal

    def _remove_all(self) -> list[str]:
        """Takes away everything, and returns the statements for what is left."""
        if not self._trials.left:
            return []
        # A second signal may come between two trials
        with suppress(Interrupted):
            self._tried(translate(mark("everything removed")), self._remove)
        return self._trials.left

    def _remove(self) -> int:
        """Takes away the log and the tables; a server that is away is waited for."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._trials.remove_log() + self._scratch.drop()
            except SourceUnreachable:
                if time.monotonic() > until:
                    raise
            time.sleep(_PAUSE)

    # ---- one trial

    def _tried(self, title: str, trial: Callable[[], int]) -> bool:
        """Makes a trial, and shows what has become of it."""
        began = time.monotonic()
        before = self._statements.number
        rows = 0
        failure = ""
        try:
            rows = trial()
        except Interrupted:
            failure = translate(mark("interrupted"))
        except Exception as error:  # noqa: BLE001 - each trial tells for itself
            failure = told(error)
        statements = self._statements.number - before
        step = Step(title, time.monotonic() - began, rows, statements, failure)
        self._steps.append(step)
        self._tell(step.line)
        return not failure
