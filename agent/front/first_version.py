"""What 0.1.0 stored of its source, which was always PostgreSQL, and how it is read today.

Its state had columns for it, where later versions have one `identity` that only the source reads.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, String

# The version of tables without a number
FIRST = 1

# The setting in which `init` noted the publication before the identity had it
SOURCE_SETTING = "source.publication"

# Tables that later versions have added, by suffix
FURTHER = ("target", "refused", "written", "setting", "host")

_COLUMNS = ("system_id", "timeline", "slot")


def source_columns() -> list[Column[Any]]:
    """Returns the columns of the state for the source."""
    return [
        Column("system_id", String(40), nullable=False),
        Column("timeline", BigInteger, nullable=False),
        Column("slot", String(63), nullable=False),
    ]


def source_values(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of these columns, of the identity of a PostgreSQL log."""
    return {name: identity[name] for name in _COLUMNS}


def with_identity(
    state: Mapping[str, Any],
    settings: Mapping[str, str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Takes the source's columns out of a state row; returns the rest, and the identity they make.

    `settings` are what `init` has noted of the settings.
    """
    rest = {name: value for name, value in state.items() if name not in _COLUMNS}
    identity = source_values(state)
    identity["publication"] = settings.get(SOURCE_SETTING, "")
    return rest, identity
