"""Finds out whose an exception is that nobody foresaw: the table's at work, or everybody's."""

import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.errors.kinds import AgentError
from agent.errors.suspensions import Internal

_AGENT = Path(__file__).parent.parent
# What all tables share: counters and outbox, and the agent's own tables in the front end.
SHARED = ("outbox/writer.py", "outbox/frames.py", "front/own_tables.py")
# Called by these, yet of one table: its values become keys and JSON.
OF_A_TABLE = ("resource.py", "values/")


class TableWork:
    """A block of work for one table: an exception that nobody foresaw suspends it.

    The other tables go on. `resource` names the table and may change within the block; '' stands
    for what all tables share, whose exceptions pass and halt the service. Errors of the agent's own
    tree pass, and so does what is no fault of the code: a file or a signal.
    """

    __slots__ = ("resource",)

    def __init__(self, resource: str = "") -> None:
        self.resource = resource

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, AgentError | OSError):
            return
        if self.resource and not _is_shared(error):
            raise unforeseen(error, self.resource) from None


def unforeseen(error: Exception, resource: str) -> Internal:
    """Makes the error that suspends a table: type and place of the exception.

    Its text could hold values of rows and stays out.
    """
    places = _places(error)
    place = places[-1] if places else "?"
    return Internal(resource=resource, detail=f"{type(error).__name__} at {place}")


def _is_shared(error: Exception) -> bool:
    places = _places(error)
    if places and places[-1].startswith(OF_A_TABLE):
        return False
    return any(place.startswith(SHARED) for place in places)


def _places(error: Exception) -> list[str]:
    """Where the exception passed through the agent's code, as module:line, the innermost last."""
    found = []
    for frame in traceback.extract_tb(error.__traceback__):
        # Compiled code names its file from where the agent lies
        path = _AGENT.parent / frame.filename
        if path.is_relative_to(_AGENT):
            found.append(f"{path.relative_to(_AGENT).as_posix()}:{frame.lineno}")
    return found
