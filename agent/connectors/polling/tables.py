"""What polling needs of a table: its key, the columns that are read, and the cursor column."""

from collections.abc import Sequence

from agent.config import PollSettings, ResourceSettings, Settings
from agent.connectors.base import Fingerprint
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.catalogue import fingerprint as of_columns
from agent.connectors.database.filters import Unfit, text_of
from agent.connectors.dialects.base import Kind
from agent.connectors.discovery import Cursor
from agent.connectors.table import TableName
from agent.messages import phrase
from agent.values import column_types as v

_NUMBERS = (v.INT2, v.INT4, v.INT8, v.NUMERIC)
# Texts in ISO 8601 have the order of time: so some databases keep it
_MOMENTS = (v.DATE, v.TIMESTAMP, v.TIMESTAMPTZ, v.TEXT, v.VARCHAR)
_FLAGS = (v.BOOL, *_NUMBERS, v.TEXT, v.VARCHAR, v.BPCHAR)


def keys_of(settings: Settings) -> dict[TableName, Sequence[str]]:
    """Returns the configured tables, each with its configured key, () for the table's own."""
    keys: dict[TableName, Sequence[str]] = {}
    for resource in settings.resource:
        poll = resource.poll
        keys[settings.source.place(resource.table)] = () if poll is None else poll.key
    return keys


def has_looks(resource: ResourceSettings) -> bool:
    """Returns whether changed rows are looked for, or found by comparison alone."""
    return resource.poll is not None and resource.poll.column is not None


def needed(resource: ResourceSettings) -> list[str]:
    """Returns the columns that are read."""
    names = resource.needed_columns
    if resource.poll is not None and resource.poll.column is not None:
        names = list(dict.fromkeys([*names, resource.poll.column]))
    return names


def missing(resource: ResourceSettings, read: ReadTable) -> list[str]:
    """Returns the columns that are to be read and do not exist."""
    return [name for name in needed(resource) if name not in read.kinds]


def unfit(resource: ResourceSettings, read: ReadTable) -> str:
    """Tells why the table cannot be polled as configured; '' where it can."""
    for name in needed(resource):
        if name in read.unreadable:
            declared = read.unreadable[name]
            return phrase(
                "column {name} has type {type}, which the agent does not read",
                name=name,
                type=declared,
            )
    poll = resource.poll
    if poll is None or poll.column is None:
        return ""

    if poll.column not in read.kinds:
        return phrase("column {names} does not exist", names=poll.column)
    fits = _is_flag(poll, read) if poll.mode == "flag" else _is_cursor(poll, read)
    if not fits:
        return phrase("column {name} does not fit mode = {mode}", name=poll.column, mode=poll.mode)
    if poll.mode == "flag" and not _holds(poll, read):
        return phrase("a value of pending or done is none of column {name}", name=poll.column)
    return ""


def _is_cursor(poll: PollSettings, read: ReadTable) -> bool:
    """Tells whether looks can go by the values of the column."""
    kind = read.exact.get(str(poll.column))
    fitting = _NUMBERS if poll.mode == "sequence" else _MOMENTS
    return kind is not None and kind.oid in fitting


def cursor_of(kind: Kind) -> Cursor:
    """Tells by which kind of cursor a column of this kind could show the changed rows."""
    if kind.oid in _NUMBERS:
        return "sequence"
    return "timestamp" if kind.oid in _MOMENTS else ""


def _is_flag(poll: PollSettings, read: ReadTable) -> bool:
    return read.kinds[str(poll.column)].oid in _FLAGS


def _holds(poll: PollSettings, read: ReadTable) -> bool:
    """Tells whether the flag can have the values that are configured."""
    declared = {column.name: column.type for column in read.table.columns}
    try:
        for value in poll.flags:
            text_of(value, declared[str(poll.column)])
    except Unfit:
        return False
    return True


def fingerprint(resource: ResourceSettings, read: ReadTable) -> Fingerprint:
    """Returns what must not change unseen: with another cursor column, rows may have been missed.

    The table is copied then.
    """
    found = of_columns(read, needed(resource))
    poll = resource.poll
    if poll is None or poll.column is None:
        return found
    parts = {**found.copy, "poll": f"{poll.mode} {poll.column}"}
    return found._replace(copy=parts)
