"""Reads the stream past values that the server cannot send in the usual form.

The server writes each value of a published table into the stream as text in UTF-8, shared or not.
Where it cannot, it ends the stream, at the same place again and again. Past such a place the stream
is asked for in the server's own form: values in binary, in the encoding of the database. What the
agent shares is then turned into text by the server itself, row by row; a value that cannot be is
the fault of its table alone (docs/decisions/unreadable-values.md).
"""

import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.generators import execute
from psycopg.pq import ExecStatus

from agent.config import PostgresSettings
from agent.connectors.changes import Relation
from agent.connectors.position import position_text
from agent.connectors.postgres.session import connect, guarded
from agent.connectors.postgres.sqlstates import is_passing
from agent.errors import ValueUnreadable
from agent.messages import phrase
from agent.values.column_types import TEXT
from agent.values.rows import UNCHANGED, Row, Value

# What START_REPLICATION is told, beside the client_encoding of the session
OPTION: Final = ", binary 'true'"
_NAME = (
    "select pg_catalog.convert_to("
    "pg_catalog.convert_from($1, pg_catalog.getdatabaseencoding()), 'UTF8')"
)
# format() writes a value as the output function of its type does; a cast to text may write
# something else
_VALUE = "pg_catalog.convert_to(pg_catalog.format('%s', ${number}), 'UTF8')"
_BYTEA: Final = 17
_TEXT_FORM, _BINARY_FORM = 0, 1
_U16, _U32 = struct.Struct(">H"), struct.Struct(">I")


class ServerForm:
    """Reads rows and names of the stream in the server's own form, on a connection of its own."""

    def __init__(
        self,
        settings: PostgresSettings,
        needed: Mapping[tuple[str, str], tuple[str, Collection[str]]],
    ) -> None:
        """Connects. Raises SourceUnreachable, SourceUnfit, LoginRefused, SecretMissing.

        `needed`: by schema and table the resource and the columns that are read; the values of
        others are passed over.
        """
        self._settings, self._needed = settings, needed
        self._connection: psycopg.Connection[Any] = connect(settings, encoding="SQL_ASCII")

    def name(self, data: bytes) -> str:
        """The name of a schema, table or column."""
        if data.isascii():
            return data.decode()
        with guarded(self._settings):
            return self._asked(_NAME, [(data, _BYTEA, _BINARY_FORM)])[0]

    def row(
        self, data: bytes, offset: int, relation: Relation, kinds: bytes, lsn: int
    ) -> tuple[Row, int]:
        """See pgoutput.row_of.

        Raises ValueUnreadable for a value that the server cannot turn into text.
        """
        (count,) = _U16.unpack_from(data, offset + 1)
        if data[offset] not in kinds or count != len(relation.columns):
            raise ValueError("not the tuple expected")
        offset += 3
        resource, needed = self._needed.get((relation.schema, relation.table), ("", ()))
        values: list[Value] = []
        sent: dict[int, tuple[bytes, int, int]] = {}  # by place: value, type and form
        for column in relation.columns:
            kind = data[offset : offset + 1]
            offset += 1
            values.append(UNCHANGED if kind == b"u" else None)
            if kind in b"nu":
                continue
            if kind not in b"tb":
                raise ValueError("unknown column kind")
            (length,) = _U32.unpack_from(data, offset)
            offset += 4
            if column.name in needed:
                value = data[offset : offset + length]
                place = len(values) - 1
                sent[place] = (
                    (value, TEXT, _TEXT_FORM)
                    if kind == b"t"
                    else (value, column.type_oid, _BINARY_FORM)
                )
            offset += length
        for place, text in self._texts(sent, resource, relation, lsn).items():
            values[place] = text
        return tuple(values), offset

    def close(self) -> None:
        """Ends the connection. Never raises."""
        with suppress(psycopg.Error):
            self._connection.close()

    def _texts(
        self,
        sent: Mapping[int, tuple[bytes, int, int]],
        resource: str,
        relation: Relation,
        lsn: int,
    ) -> dict[int, str]:
        if not sent:
            return {}
        asked = [_VALUE.format(number=number + 1) for number in range(len(sent))]
        try:
            texts = self._asked(f"select {', '.join(asked)}", list(sent.values()))
        except psycopg.Error as error:
            if error.sqlstate is None or is_passing(error.sqlstate):
                with guarded(self._settings):
                    raise
            if len(sent) > 1:  # each alone, to see which of them it is
                found: dict[int, str] = {}
                for place, value in sent.items():
                    found |= self._texts({place: value}, resource, relation, lsn)
                return found
            (place,) = sent
            reason = phrase(
                "SQLSTATE {sqlstate} in column {column}, written at {position}",
                sqlstate=error.sqlstate,
                column=relation.columns[place].name,
                position=position_text(lsn),
            )
            table = f"{relation.schema}.{relation.table}"
            raise ValueUnreadable(resource=resource, table=table, reason=reason) from None
        return dict(zip(sent, texts, strict=True))

    def _asked(self, statement: str, values: list[tuple[bytes, int, int]]) -> list[str]:
        """One row of texts in UTF-8. Raises psycopg.Error."""
        pgconn = self._connection.pgconn
        pgconn.send_query_params(
            statement.encode(),
            [value for value, _, _ in values],
            [oid for _, oid, _ in values],
            [form for _, _, form in values],
            _BINARY_FORM,
        )
        result = self._connection.wait(execute(pgconn))[-1]
        if result.status != ExecStatus.TUPLES_OK:
            raise psycopg.errors.error_from_result(result)
        return [(result.get_value(0, n) or b"").decode() for n in range(len(values))]
