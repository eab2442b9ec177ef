"""Rows as the agent handles them: values in canonical text, and keys."""

from enum import Enum
from typing import Final, Literal


class Unchanged(Enum):
    """Stands for a value that the log does not carry because it did not change.

    It is never NULL. PostgreSQL calls it unchanged TOAST.
    """

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
# A value in canonical text, NULL, or not sent
Value = str | None | Literal[Unchanged.UNCHANGED]
Row = tuple[Value, ...]
Key = tuple[str, ...]
