"""Turns the events of the log into transactions of row changes, in the order of the log.

A transaction in which no shared table has a row is passed over; where it ends is known all the
same. No rule here is a guess: what cannot be told from the log is raised, and names its table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from agent import failpoints
from agent.connectors.changes import (
    Begin,
    Change,
    Column,
    Commit,
    Heartbeat,
    Message,
    Relation,
    Truncate,
)
from agent.connectors.mysql import event_types as types
from agent.connectors.mysql import events
from agent.connectors.mysql.columns import ColumnReader, Unsupported, column_reader, extent
from agent.connectors.mysql.compression import inner_events, payload, unpacked
from agent.connectors.mysql.events import Event, Gtid
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.origin import NOWHERE, Whereabouts
from agent.connectors.mysql.packing import Damaged, number
from agent.connectors.mysql.rows import Partial, Unreadable, head_of, rows_of, skipping
from agent.connectors.mysql.statements import (
    Meaning,
    Statement,
    drops_schema,
    names_table,
    statement_of,
)
from agent.connectors.mysql.table_map import (
    TABLE_ID_BYTES,
    LoggedColumn,
    LoggedTable,
    NotFull,
    SignsUnknown,
    place_of,
    table_map,
    years_have_signs,
)
from agent.connectors.table import TableName
from agent.messages import Phrase, phrase

STEP = 1 << 20  # positions of a transaction: each of its rows has one, up to so many


class Incomplete(Exception):
    """The log does not have every change of a table whole; the reason says why."""

    def __init__(self, place: TableName, reason: Phrase) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason


class Broken(Exception):
    """The log has something after which nobody knows what follows; the reason names it."""

    def __init__(self, reason: Phrase) -> None:
        super().__init__(reason)
        self.reason = reason


class NoValue(Exception):
    """A column holds a value without canonical text."""

    def __init__(self, place: TableName, column: str) -> None:
        super().__init__(column)
        self.place = place
        self.column = column


class Reading(NamedTuple):
    """How the rows of a table are read, from one description of it in the log."""

    place: TableName
    relation: Relation  # the columns that are read, in the order of the log
    names: Sequence[str]  # of all columns
    readers: Sequence[ColumnReader | int]


class Transactions:
    """Reads events one by one, from a place between two transactions on."""

    def __init__(
        self,
        followed: Mapping[TableName, Relation],
        charsets: Mapping[int, str],
        place: LogPlace,
        position: int,
        *,
        checked: bool,
        zero_is_null: bool = False,
    ) -> None:
        """`followed`: the columns that are read of each table, as the catalogue has them.

        `charsets`: the character set of each collation's id. `position`: of the last transaction
        that was delivered. `checked`: events have checksums. `zero_is_null`: days that are none are
        NULL, but in a key.
        """
        self._followed = followed
        self._charsets = charsets
        self._checked = checked
        self._zero_is_null = zero_is_null
        self._years_have_signs: bool | None = None  # until the log says who writes it
        self.place = place
        self.position = position

        # Where transactions begin that were delivered and are not stored, by their numbers
        self._places: dict[int, Whereabouts] = {}

        # The transaction that is being read
        self._begun_at = NOWHERE
        self._gtid: Gtid | None = None
        self._time_us = 0
        self._rows = 0  # of shared tables
        self._touched: TableName = ("", "")  # one of these
        self._is_open = False  # its end is to come

        # Whether a statement may have changed what a shared table is: its catalogue has to be read
        self._is_outdated = False

        # Statements in place of rows that may have changed any table
        self.statements = 0

        # By the log's id of a table; None: nobody reads it
        self._readings: dict[int, Reading | None] = {}

    @property
    def is_between(self) -> bool:
        """Tells whether every transaction that has begun is complete."""
        return self._gtid is None and not self._is_open

    @property
    def is_outdated(self) -> bool:
        """Tells whether the catalogue has to be read again, and no transaction is open."""
        return self._is_outdated and self.is_between

    def begun_at(self, number: int) -> Whereabouts:
        """Returns where a transaction begins that was delivered and is not stored."""
        return self._places.get(number, NOWHERE)

    def forget(self, position: int) -> None:
        """Forgets what is kept of transactions up to a position, which are stored."""
        for known in list(self._places):
            if known * STEP > position:
                break
            del self._places[known]

    def read(self, raw: bytes) -> Iterator[Message]:
        """Yields what one event says. Raises Damaged, Broken, Incomplete, NoValue."""
        if len(raw) > events.HEADER and raw[4] == types.FORMAT_DESCRIPTION:
            self._checked = events.checksums(raw)
            self._years_have_signs = years_have_signs(events.server_version(raw))
            self._readings.clear()

        event = events.event_of(raw, self._checked)
        if event.type == types.ROTATE:
            self.place.moved(*events.rotation(event.body))
            failpoints.hit("after_rotation")
            return
        yield from self._read(event)
        self.place.passed(event)

    def _read(self, event: Event) -> Iterator[Message]:
        if event.type in types.ROWS:
            yield from self._changes(event)
        elif event.type == types.TABLE_MAP:
            self._describe(event)
        elif event.type in _NAMES:
            self._begin(_NAMES[event.type](event), event)
        elif event.type == types.XID:
            yield from self._complete()
        elif event.type in (types.QUERY, types.QUERY_COMPRESSED, types.EXECUTE_LOAD_QUERY):
            yield from self._statement(event)
        elif event.type == types.TRANSACTION_PAYLOAD:
            for inner in inner_events(payload(event.body)):
                yield from self._read(events.event_of(inner, checked=False))
        elif event.type == types.XA_PREPARE:
            yield from self._prepared(event)
        elif event.type == types.PARTIAL_UPDATE_ROWS:
            self._partial_documents(event)
        elif event.type == types.INCIDENT:
            raise Broken(phrase("the server says that its log has lost events (INCIDENT)"))
        elif event.type not in types.READ and event.type not in types.PASSED_OVER:
            raise Broken(phrase("it has an event {type}, which may hold rows", type=event.type))

    # ---- where transactions begin and end

    def _begin(self, gtid: Gtid, event: Event) -> None:
        if not self.is_between:
            raise Broken(phrase("it has a transaction without an end"))
        self._gtid = gtid
        # MariaDB logs no BEGIN: its name of a transaction says whether an end follows
        self._is_open = event.type == types.MARIADB_GTID and not gtid.standalone
        self._time_us = events.commit_time(event)
        # The server passes over what was applied, so the place is not known before its first event
        self.place.passed(event)
        offset = self.place.offset - event.size
        self._begun_at = Whereabouts(gtid.text, event.server_id, self.place.file, offset)

    def _message(self, message: Message) -> Iterator[Message]:
        """Yields what a shared table has, behind the Begin of its transaction."""
        if not self._rows:
            number = self.position // STEP + 1
            self._places[number] = self._begun_at
            yield Begin(number, self.position + 1, self._time_us)
        self._rows += 1
        yield message

    @property
    def _at(self) -> int:
        """The position of the next row."""
        return self.position + min(self._rows + 2, STEP - 1)

    def _complete(self) -> Iterator[Message]:
        """Ends the transaction."""
        gtid, self._gtid = self._gtid, None
        self._is_open = False
        if gtid is not None:
            self.place.executed(gtid)
        if not self._rows:
            if self._is_outdated:
                # The next opening begins behind the definition
                self.position += STEP
                yield Heartbeat(self.position, self._time_us, self.place.token)
            return
        self._rows = 0
        self.position += STEP
        number = self.position // STEP
        yield Commit(number, self.position, self._time_us, self.place.token)

    def _prepared(self, event: Event) -> Iterator[Message]:
        """Ends the group of an XA transaction, which is complete only in one phase."""
        is_complete = bool(event.body[:1] == b"\1")
        if not is_complete and self._rows:
            reason = phrase("an XA transaction has prepared changes, whose end comes later")
            raise Incomplete(self._touched, reason)
        yield from self._complete()

    # ---- statements

    def _statement(self, event: Event) -> Iterator[Message]:
        query = events.query(event.body, loads_file=event.type == types.EXECUTE_LOAD_QUERY)
        text = query.text
        if event.type == types.QUERY_COMPRESSED:
            text = unpacked(text)

        found = statement_of(text, self._charsets.get(query.collation, "utf8mb4"))
        match found.meaning:
            case Meaning.BEGIN | Meaning.PREPARED:
                self._is_open = True
            case Meaning.COMMIT:
                yield from self._complete()
            case Meaning.ROLLBACK:
                yield from self._rolled_back(found)
            case Meaning.COMMIT_PREPARED | Meaning.ROLLBACK_PREPARED:
                yield from self._complete()
            case Meaning.TRUNCATE:
                yield from self._truncated(found, query.schema)
            case Meaning.DEFINITION:
                yield from self._defined(found, query.schema)
            case Meaning.ROWS:
                yield from self._unknown(found, query.schema)
            case Meaning.NOTHING:
                yield from self._alone()

    def _alone(self) -> Iterator[Message]:
        """Ends the group of a statement that stands outside of a transaction."""
        if not self._is_open:
            yield from self._complete()

    def _rolled_back(self, statement: Statement) -> Iterator[Message]:
        """Ends a transaction that is undone, or a part of it is.

        The log has such ones where a table without transactions has changes, too.
        """
        if self._rows:
            reason = phrase("changes in the log are undone by ROLLBACK")
            raise Incomplete(self._touched, reason)
        if " TO " not in statement.text.upper():
            yield from self._complete()

    def _truncated(self, statement: Statement, session_schema: str) -> Iterator[Message]:
        assert statement.table is not None, "TRUNCATE names a table"
        schema, name = statement.table
        place = (schema or session_schema, name)
        relation = self._followed.get(place)
        if relation is not None:
            self._touched = place
            yield from self._message(Truncate((relation,), self._at))
        elif not statement.is_readable or self._other_case(place):
            yield from self._defined(statement, session_schema)
            return
        yield from self._alone()

    def _other_case(self, place: TableName) -> bool:
        """Tells whether a shared table has this name in other letters, as some servers allow."""
        folded = [part.casefold() for part in place]
        return any([part.casefold() for part in known] == folded for known in self._followed)

    def _defined(self, statement: Statement, session_schema: str) -> Iterator[Message]:
        """Ends the group of a definition, and notes the shared tables that it may concern.

        It may have changed rows without a row in the log: a partition that was dropped, another
        table under the same name.
        """
        gtid = "" if self._gtid is None else self._gtid.text
        for table in self._followed:
            is_named = names_table(statement, table, session_schema)
            is_dropped = drops_schema(statement, table[0])
            if is_named or is_dropped or not statement.is_readable:
                self.place.define(*table, gtid)
                self._is_outdated = True
        if self._is_outdated:
            failpoints.hit("after_definition")
        yield from self._alone()

    def _unknown(self, statement: Statement, session_schema: str) -> Iterator[Message]:
        """Takes a statement of which nobody knows what it changes.

        Outside of a transaction it is all of its group, and may be a definition.
        """
        if self._is_open:
            self._rows_unknown(statement, session_schema)
            return
        self._doubt()
        yield from self._defined(statement, session_schema)

    def _rows_unknown(self, statement: Statement, session_schema: str) -> None:
        """Raises Incomplete for the first table that a statement may concern.

        One that names none may change a shared table all the same, by a view or a trigger: so it is
        noted in the place, which is stored, that all have to be compared.
        """
        for place in self._followed:
            if names_table(statement, place, session_schema):
                reason = phrase("a session logs statements in place of rows (binlog_format)")
                raise Incomplete(place, reason)
        self._doubt()

    def _doubt(self) -> None:
        """Notes that all shared tables have to be compared."""
        self.statements += 1
        gtid = "" if self._gtid is None else self._gtid.text
        for schema, name in self._followed:
            self.place.doubt(schema, name, gtid)

    # ---- rows

    def _describe(self, event: Event) -> None:
        """Takes over how the rows of a table are read, if anybody wants them."""
        table_id, schema, name = place_of(event.body)
        relation = self._followed.get((schema, name))
        if relation is None:
            self._readings[table_id] = None
            return
        try:
            table = table_map(event.body, with_years=self._years_have_signs)
        except NotFull:
            reason = phrase("the log has no names of columns (binlog_row_metadata)")
            raise Incomplete((schema, name), reason) from None
        except SignsUnknown:
            reason = phrase("of this server it is not known how its log tells signs beside a YEAR")
            raise Incomplete((schema, name), reason) from None
        self._readings[table_id] = self._reading(table, relation)

    def _reading(self, table: LoggedTable, relation: Relation) -> Reading:
        place = (table.schema, table.name)
        wanted = {column.name: column for column in relation.columns}
        found = []
        readers: list[ColumnReader | int] = []
        for column in table.columns:
            if column.name not in wanted:
                readers.append(self._passed_over(place, column))
                continue
            readers.append(self._reader(place, column, wanted[column.name]))
            found.append(wanted[column.name])
        names = [column.name for column in table.columns]
        return Reading(place, relation._replace(columns=tuple(found)), names, readers)

    def _passed_over(self, place: TableName, column: LoggedColumn) -> int:
        try:
            return skipping(*extent(column))
        except Unsupported as error:
            raise Incomplete(place, _unsupported(column, error)) from None

    def _reader(self, place: TableName, column: LoggedColumn, wanted: Column) -> ColumnReader:
        try:
            zero_is_null = self._zero_is_null and not wanted.identity
            return column_reader(column, self._charsets, wanted.type_oid, zero_is_null=zero_is_null)
        except Unsupported as error:
            raise Incomplete(place, _unsupported(column, error)) from None

    def _described(self, event: Event) -> Reading | None:
        """Returns how the rows of an event are read; None where nobody wants them."""
        table_id = number(event.body, 0, TABLE_ID_BYTES)
        if table_id not in self._readings:
            raise Damaged("rows of a table without a description")
        return self._readings[table_id]

    def _partial_documents(self, event: Event) -> None:
        """Raises Incomplete for a shared table."""
        reading = self._described(event)
        if reading is not None:
            reason = phrase("a session logs parts of JSON values (binlog_row_value_options)")
            raise Incomplete(reading.place, reason)

    def _changes(self, event: Event) -> Iterator[Message]:
        body = event.body
        reading = self._described(event)
        if reading is None:
            return

        try:
            head = head_of(event.type, body)
            images = rows_of(head, body, reading.readers)
        except Partial:
            reason = phrase("a session logs rows without all their columns (binlog_row_image)")
            raise Incomplete(reading.place, reason) from None
        except Unreadable as error:
            raise NoValue(reading.place, reading.names[error.place]) from None

        self._touched = reading.place
        size = len(body) // max(len(images), 1)
        for before, after in images:
            change = Change(
                reading.relation,
                head.op,
                before,
                after,
                old_complete=True,
                position=self._at,
                size=size,
            )
            yield from self._message(change)


def _unsupported(column: LoggedColumn, error: Unsupported) -> Phrase:
    return phrase(
        "column {name} has a type that the log reader does not know ({type})",
        name=column.name,
        type=str(error),
    )


def _of_body(read: Callable[[bytes], Gtid]) -> Callable[[Event], Gtid]:
    return lambda event: read(event.body)


# Events that name a transaction, which begins with them
_NAMES: Final[dict[int, Callable[[Event], Gtid]]] = {
    types.GTID: _of_body(events.gtid),
    types.GTID_TAGGED: _of_body(events.tagged_gtid),
    types.MARIADB_GTID: events.mariadb_gtid,
    types.ANONYMOUS_GTID: lambda _: Gtid("", 0),
}
