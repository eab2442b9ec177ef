"""Patterns of tables: `schema.table` with * for any characters and ? for any one."""

import re
from collections.abc import Iterable

from agent.connectors.discovery import Wanted
from agent.connectors.table import TableName


def matching(patterns: Iterable[str], default_schema: str) -> Wanted:
    """Returns what tells whether a table fits one of the patterns.

    A pattern without a schema means the default one. Names are compared in their exact spelling.
    """
    pairs = []
    for pattern in patterns:
        schema, point, table = pattern.rpartition(".")
        pairs.append((_expression(schema if point else default_schema), _expression(table)))

    def wanted(place: TableName) -> bool:
        schema, table = place
        return any(of.fullmatch(schema) and name.fullmatch(table) for of, name in pairs)

    return wanted


def split(text: str) -> list[str]:
    """Returns the parts of a list that somebody has typed, separated by commas or blanks."""
    return [part for part in re.split(r"[,，、\s]+", text) if part]


def _expression(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    parts = [wild.get(letter, re.escape(letter)) for letter in pattern]
    return re.compile("".join(parts), re.DOTALL)
