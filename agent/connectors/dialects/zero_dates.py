"""Days of MariaDB and MySQL that are none, and what becomes of them.

The driver gives them as texts, such as 0000-00-00 or 2024-00-10. In a key nothing becomes of them:
a row needs its key.
"""

from typing import Any

from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Kind
from agent.values import column_types as v


def nullable(kind: Kind) -> Kind:
    """Returns a kind of dates or moments in which days that are none are NULL."""

    def write(value: Any) -> str:
        if isinstance(value, str):
            raise kinds.Absent
        return kind.write(value)

    return kind._replace(write=write)


def spelled(kind: Kind) -> Kind:
    """Returns a kind of texts, in which such days have the server's own spelling."""

    def write(value: Any) -> str:
        if not isinstance(value, str):
            return kind.write(value)
        # Digits of a second end in no zero, as those of other moments
        return kinds.text(value.rstrip("0").rstrip(".") if "." in value else value)

    return kind._replace(oid=v.TEXT, name=kinds.TEXT.name, write=write)
