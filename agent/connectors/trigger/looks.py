"""Looks at the source: what the notes say has changed, read in one snapshot.

A look becomes one transaction of states. Its notes are deleted when the front end has stored it,
and only these: one that was written meanwhile, be it of the same row, is read by the next look.
After a crash notes are read that were stored before: then the states equal the front end's rows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from agent.config import ResourceSettings
from agent.connectors.changes import Message, Relation, RowState, Truncate
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.rows import RowReader
from agent.connectors.dialects.base import Dialect
from agent.connectors.trigger.keys import keys_reader, logged
from agent.connectors.trigger.notes import Note
from agent.errors import ValueUnreadable
from agent.messages import phrase
from agent.values.rows import Key


class Followed(NamedTuple):
    """A table whose notes are read."""

    resource: str
    name: str  # as users write it
    relation: Relation  # the columns that are read
    key: tuple[int, ...]  # their places among these
    reader: RowReader
    keys_of: Callable[[str], list[Key]]


def followed(dialect: Dialect, resource: ResourceSettings, read: ReadTable) -> Followed | None:
    """Returns how a table is followed; None where its notes cannot be read."""
    if logged(read) is None:
        return None
    columns = []
    for column in read.relation.columns:
        if column.name in resource.needed_columns:
            columns.append(column)
    names = [column.name for column in columns]
    return Followed(
        resource.name,
        read.name,
        read.relation._replace(columns=tuple(columns)),
        tuple([names.index(name) for name in read.table.key]),
        RowReader(dialect, resource.name, read, names),
        keys_reader(read),
    )


class Looker:
    """Turns notes into the states of their rows. `followed` are the tables, as notes name them."""

    def __init__(self, followed: Mapping[str, Followed]) -> None:
        self._followed = followed

    def messages(
        self,
        connection: Connection,
        notes: Sequence[Note],
        known: Collection[str],
        position: int,
    ) -> Iterator[Message]:
        """Yields what changed, in the snapshot in which the notes were read.

        Tables that are not followed are passed over. `known` are the notes of TRUNCATE that the
        front end has stored already. Raises ValueUnreadable.
        """
        noted: dict[str, dict[str, None]] = {}
        truncated: dict[str, None] = {}
        for note in notes:
            if note.operation == "T" and str(note.id) not in known:
                truncated[note.table] = None
            noted.setdefault(note.table, {}).update(dict.fromkeys(note.keys))

        for name in truncated:
            if name in self._followed:
                yield Truncate((self._followed[name].relation,), position)
        for name, texts in noted.items():
            if name in self._followed:
                yield from _states(connection, self._followed[name], texts, position)


def _states(
    connection: Connection,
    table: Followed,
    texts: Collection[str],
    position: int,
) -> Iterator[RowState]:
    """Yields the state of each row that was noted, and of those that its key is taken for."""
    missing = dict.fromkeys(_keys(table, texts))
    for row in table.reader.under(connection, list(missing)):
        key = tuple([str(row[place]) for place in table.key])
        missing.pop(key, None)
        size = sum([len(text) for text in row if text is not None])
        yield RowState(table.relation, key, row, position, size)
    for key in missing:
        yield RowState(table.relation, key, None, position, sum(map(len, key)))


def _keys(table: Followed, texts: Collection[str]) -> Iterator[Key]:
    for text in texts:
        try:
            yield from table.keys_of(text)
        except ValueError:
            reason = phrase("a noted key is none of the table's")
            raise ValueUnreadable(
                resource=table.resource, table=table.name, reason=reason
            ) from None
