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
from agent.messages import Phrase, mark, translate

_PASSED, _FAILED = mark("passed"), mark("FAILED")


class Failed(Exception):
    """Something is not as it should be. The text is a catalogue message, filled in."""


class Step(NamedTuple):
    """One thing that was tried."""

    title: str  # in the user's language
    seconds: float
    rows: int  # that were written or read
    statements: int  # that the server was given
    failure: str = ""  # '' where it has passed

    @property
    def line(self) -> str:
        """Tells it in one line, and why it failed."""
        state = translate(_FAILED if self.failure else _PASSED)
        said = mark("{seconds:.2f} s, {rows} rows, {statements} statements")
        cost = translate(said, seconds=self.seconds, rows=self.rows, statements=self.statements)
        told = f"{state:<8}{self.title} ({cost})"
        return f"{told}\n        {self.failure}" if self.failure else told


class Report(NamedTuple):
    """Everything that was tried."""

    about: Sequence[str]  # versions
    steps: Sequence[Step]
    interrupted: bool = False  # the rest was not tried
    left: Sequence[str] = ()  # statements that take away what is left; they name a schema

    @property
    def passed(self) -> bool:
        """Whether everything was tried, and nothing has failed."""
        return not self.interrupted and not any(step.failure for step in self.steps)

    @property
    def text(self) -> str:
        """The report as lines."""
        failed = sum(1 for step in self.steps if step.failure)
        seconds = sum(step.seconds for step in self.steps)
        rows = sum(step.rows for step in self.steps)
        said = mark(
            "{passed} passed, {failed} failed, in {seconds:.1f} s with {rows} rows and "
            "{statements} statements"
        )
        sums = translate(
            said,
            passed=len(self.steps) - failed,
            failed=failed,
            seconds=seconds,
            rows=rows,
            statements=sum(step.statements for step in self.steps),
        )
        lines = [*self.about, "", *[step.line for step in self.steps], "", sums]
        if self.interrupted:
            lines.append(translate(mark("interrupted: what would have come next was not tried")))
        if self.left:
            text = mark("{number} statements are needed to take away what is left")
            lines.append(translate(text, number=len(self.left)))
        return "\n".join(lines) + "\n"


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
        reason = error.values.get("reason") or error.values.get("change") or ""
        if isinstance(reason, Phrase):
            reason = translate(reason.message, None, **reason.values)
        return f"{error.code}: {reason}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}, {place.name}:{place.lineno}"


def expect(found: object, expected: object) -> None:
    """Raises Failed where something else was found."""
    if found != expected:
        said = mark("found {found}, expected {expected}")
        raise Failed(translate(said, found=found, expected=expected))
