"""Rows as the agent handles them: values in canonical text, and keys."""

from enum import Enum
from typing import Final, Literal


class Unchanged(Enum):
    """Stands for a value the log does not carry because it did not change (PostgreSQL: unchanged TOAST). Never NULL."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
# A value in PostgreSQL's text form, NULL, or not sent
Value = str | None | Literal[Unchanged.UNCHANGED]
Row = tuple[Value, ...]
Key = tuple[str, ...]
