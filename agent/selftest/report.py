"""What a self-test has found: a report that can be sent on.

It names no server, no user and no database, and holds no value but those of the test's own rows.
"""

import platform
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from sqlalchemy import Connection

from agent import BUILD, __version__
from agent.errors import AgentError
from agent.messages import mark, translate

_PASSED, _FAILED = mark("passed"), mark("FAILED")


class Failed(Exception):
    """Something is not as it should be. The text is a catalogue message, filled in."""


class Step(NamedTuple):
    """One thing that was tried."""

    title: str  # in the user's language
    seconds: float
    rows: int  # that were written or read
    failure: str = ""  # '' where it has passed

    @property
    def line(self) -> str:
        """Tells it in one line, and why it failed."""
        state = translate(_FAILED if self.failure else _PASSED)
        cost = translate(mark("{seconds:.2f} s, {rows} rows"), seconds=self.seconds, rows=self.rows)
        told = f"{state:<8}{self.title} ({cost})"
        return f"{told}\n        {self.failure}" if self.failure else told


class Report(NamedTuple):
    """Everything that was tried."""

    about: Sequence[str]  # versions
    steps: Sequence[Step]

    @property
    def passed(self) -> bool:
        """Whether nothing has failed."""
        return not any(step.failure for step in self.steps)

    @property
    def text(self) -> str:
        """The report as lines."""
        failed = sum(1 for step in self.steps if step.failure)
        seconds = sum(step.seconds for step in self.steps)
        rows = sum(step.rows for step in self.steps)
        said = mark("{passed} passed, {failed} failed, in {seconds:.1f} s with {rows} rows")
        sums = translate(
            said, passed=len(self.steps) - failed, failed=failed, seconds=seconds, rows=rows
        )
        return "\n".join([*self.about, "", *[step.line for step in self.steps], "", sums]) + "\n"


def about(kind: str, connection: Connection | None) -> list[str]:
    """Returns the versions of everything that takes part."""
    build = " (compiled)" if BUILD == "compiled" else ""
    found = [
        f"sync-agent {__version__}{build}",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        f"SQLAlchemy {version('sqlalchemy')}",
        kind,
    ]
    if connection is not None:
        dialect = connection.dialect
        driver: Any = dialect.dbapi
        released = getattr(driver, "__version__", None) or getattr(driver, "version", "")
        found.append(f"{driver.__name__} {released}")
        server = ".".join(map(str, dialect.server_version_info or ()))
        found.append(f"server {server}")
    return found


def told(error: Exception) -> str:
    """Tells an error without what a message of a driver could name: server, user or database.

    Of one that nobody foresaw it tells where in the agent it came from.
    """
    if isinstance(error, Failed):
        return str(error)
    if isinstance(error, AgentError):
        reason = error.plain_values().get("reason") or error.plain_values().get("change") or ""
        return f"{error.code}: {reason}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}, {place.name}:{place.lineno}"
