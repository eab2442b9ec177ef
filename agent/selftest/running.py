"""Runs a self-test: one trial after the other, and the removal of all that was made."""

import os
import time
from collections.abc import Callable

from agent.connectors.database.session import ADMINISTRATOR_PASSWORD, Database
from agent.messages import mark, translate
from agent.selftest.report import Report, Step, about, told
from agent.selftest.scratch import Scratch
from agent.selftest.trials import Trials

_SECONDS = 20.0  # the longest statement


def selftest(url: str, tell: Callable[[str], None]) -> Report:
    """Tries everything, and shows each step. Raises SourceUnfit for a URL of no known database.

    The password is the one in the environment, see ADMINISTRATOR_PASSWORD.
    """
    password = os.environ.get(ADMINISTRATOR_PASSWORD)
    database = Database(url, None if password is None else lambda: password, _SECONDS)
    scratch = Scratch(database)
    versions: list[str] = []
    steps: list[Step] = []

    def tried(title: str, trial: Callable[[], int]) -> bool:
        step = _tried(title, trial)
        steps.append(step)
        tell(step.line)
        return not step.failure

    def connect() -> int:
        connection = database.connect()
        try:
            with database.guarded():
                versions.extend(about(database.dialect.name, connection))
        finally:
            connection.close()
        return 0

    if not tried(translate(mark("connection")), connect):
        return Report(about(database.dialect.name, None), steps)

    trials = Trials(url, scratch)

    def remove() -> int:
        trials.remove_log()
        return scratch.drop()

    try:
        for trial in trials:
            tried(trial.title, trial.run)
    finally:
        tried(translate(mark("everything removed")), remove)
    return Report(versions, steps)


def _tried(title: str, trial: Callable[[], int]) -> Step:
    began = time.monotonic()
    rows = 0
    failure = ""
    try:
        rows = trial()
    except Exception as error:  # noqa: BLE001 - each trial tells for itself
        failure = told(error)
    return Step(title, time.monotonic() - began, rows, failure)
