"""Decoder of pgoutput's messages, protocol version 1.

Source of the formats: PostgreSQL manual, "Logical Replication Message Formats"
(protocol-logicalrep-message-formats).
"""

import struct
from collections.abc import Callable
from typing import Final, Protocol

from agent.connectors.changes import (
    Begin,
    Change,
    Column,
    Commit,
    Heartbeat,
    HighPosition,
    Message,
    Relation,
    Truncate,
)
from agent.connectors.position import position_text
from agent.errors import ProtocolViolated
from agent.messages import phrase
from agent.values.rows import UNCHANGED, Row, Value

_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, PostgreSQL's epoch, in microseconds since 1970
HEARTBEAT_PREFIX: Final = "unit-sync-agent"
PAGE_PREFIX: Final = "unit-sync-agent.page"

_BEGIN: Final = struct.Struct(">QqI")
_COMMIT: Final = struct.Struct(">BQQq")
_COLUMN_TAIL: Final = struct.Struct(">Ii")
_MESSAGE: Final = struct.Struct(">BQ")
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_TUPLE: Final = struct.Struct(">BH")
_NEW: Final = ord("N")
_OLD: Final = ord("O")
# The kinds of a column's value
_TEXT: Final = ord("t")
_NULL: Final = ord("n")
_UNCHANGED: Final = ord("u")


class Form(Protocol):
    """Reads rows and names of the stream that are not in the usual form: text in UTF-8."""

    def name(self, data: bytes) -> str:
        """The name of a schema, table or column."""

    def row(
        self, data: bytes, offset: int, relation: Relation, kinds: bytes, lsn: int
    ) -> tuple[Row, int]:
        """See `row_of`."""


class Decoder:
    """Decodes the messages of one connection, whose relations it keeps.

    Raises ProtocolViolated for what it does not know; it never skips.
    """

    def __init__(self, form: Form | None = None) -> None:
        self._relations: dict[int, Relation] = {}
        self._xid = 0
        self.commit_lsn = 0  # of the transaction that has begun last
        self._row = row_of if form is None else form.row
        self._name: Callable[[bytes], str] = bytes.decode if form is None else form.name

    @property
    def inside(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._xid != 0

    def decode(self, data: bytes, lsn: int) -> Message | None:
        """Decodes one message.

        None for those that carry no change: relation, type, origin, foreign logical messages.
        """
        kind = data[:1]
        try:
            if kind == b"I":
                return self._insert(data, lsn)
            if kind == b"U":
                return self._update(data, lsn)
            if kind == b"D":
                return self._delete(data, lsn)
            if kind == b"B":
                self.commit_lsn, time_us, self._xid = _BEGIN.unpack_from(data, 1)
                return Begin(self._xid, self.commit_lsn, time_us + _EPOCH_US)
            if kind == b"C":
                _, _, end, time_us = _COMMIT.unpack_from(data, 1)
                xid, self._xid = self._xid, 0
                return Commit(xid, end, time_us + _EPOCH_US)
            return self._rare(kind, data, lsn)
        except (struct.error, IndexError, ValueError):
            # Bytes that end too early, go on too long or are no UTF-8
            pass
        # Raised out here, for the error above may quote values, and compiled code knows no
        # `from None`: it would stay with this one as its context
        raise ProtocolViolated(
            position=position_text(lsn),
            what=phrase("a malformed message of type {kind!r}", kind=kind),
        )

    def _rare(self, kind: bytes, data: bytes, lsn: int) -> Message | None:
        if kind == b"R":
            relation = _read_relation(data, self._name)
            self._relations[relation.oid] = relation
            return None
        if kind == b"T":
            count, _ = struct.unpack_from(">IB", data, 1)
            if len(data) != 6 + 4 * count:
                raise ValueError("not as many tables as announced")
            return Truncate(tuple(self._relation(data, 6 + 4 * i, lsn) for i in range(count)), lsn)
        if kind == b"M":
            return _read_message(data)
        if kind in (b"Y", b"O"):
            return None
        raise ProtocolViolated(
            position=position_text(lsn), what=phrase("message type {kind!r}", kind=kind)
        )

    def _relation(self, data: bytes, offset: int, lsn: int) -> Relation:
        (oid,) = _U32.unpack_from(data, offset)
        relation = self._relations.get(oid)
        if relation is None:
            raise ProtocolViolated(
                position=position_text(lsn),
                what=phrase("a row of relation {oid} before its description", oid=oid),
            )
        return relation

    def _insert(self, data: bytes, lsn: int) -> Change:
        relation = self._relation(data, 1, lsn)
        row = self._only_row(data, 5, relation, b"N", lsn)
        return Change(relation, "I", None, row, False, lsn, len(data))

    def _delete(self, data: bytes, lsn: int) -> Change:
        relation = self._relation(data, 1, lsn)
        return Change(
            relation,
            "D",
            self._only_row(data, 5, relation, b"KO", lsn),
            None,
            data[5] == _OLD,
            lsn,
            len(data),
        )

    def _update(self, data: bytes, lsn: int) -> Change:
        relation = self._relation(data, 1, lsn)
        if data[5] == _NEW:
            return Change(
                relation,
                "U",
                None,
                self._only_row(data, 5, relation, b"N", lsn),
                False,
                lsn,
                len(data),
            )
        old, offset = self._row(data, 5, relation, b"KO", lsn)
        return Change(
            relation,
            "U",
            old,
            self._only_row(data, offset, relation, b"N", lsn),
            data[5] == _OLD,
            lsn,
            len(data),
        )

    def _only_row(
        self, data: bytes, offset: int, relation: Relation, kinds: bytes, lsn: int
    ) -> Row:
        """The row that ends the message."""
        row, end = self._row(data, offset, relation, kinds, lsn)
        if end != len(data):
            raise ValueError("the message does not end with its row")
        return row


def row_of(
    data: bytes, offset: int, relation: Relation, kinds: bytes, _lsn: int
) -> tuple[Row, int]:
    """A tuple of one of these kinds at `offset` and the offset behind it."""
    kind, count = _TUPLE.unpack_from(data, offset)
    if kind not in kinds or count != len(relation.columns):
        raise ValueError("not the tuple expected")

    offset += _TUPLE.size
    length_at = _U32.unpack_from
    values: list[Value] = []
    for _ in range(count):
        kind = data[offset]
        offset += 1
        if kind == _TEXT:
            (length,) = length_at(data, offset)
            start = offset + 4
            offset = start + length
            values.append(data[start:offset].decode())
        elif kind == _NULL:
            values.append(None)
        elif kind == _UNCHANGED:
            values.append(UNCHANGED)
        else:
            raise ValueError("unknown column kind")
    return tuple(values), offset


def _text(data: bytes, offset: int, name: Callable[[bytes], str] = bytes.decode) -> tuple[str, int]:
    end = data.index(b"\0", offset)
    return name(data[offset:end]), end + 1


def _read_relation(data: bytes, name_of: Callable[[bytes], str]) -> Relation:
    (oid,) = _U32.unpack_from(data, 1)
    schema, offset = _text(data, 5, name_of)
    table, offset = _text(data, offset, name_of)
    identity = chr(data[offset])
    (count,) = _U16.unpack_from(data, offset + 1)
    offset += 3
    columns = []
    for _ in range(count):
        in_identity = bool(data[offset] & 1)
        name, offset = _text(data, offset + 1, name_of)
        type_oid, modifier = _COLUMN_TAIL.unpack_from(data, offset)
        offset += 8
        columns.append(Column(name, type_oid, modifier, in_identity))
    if offset != len(data):
        raise ValueError("the message does not end with its last column")
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _read_message(data: bytes) -> Heartbeat | HighPosition | None:
    """Decodes a logical message; None for one that is not ours.

    Ours are a heartbeat, outside of any transaction, with its time; and a page's high position,
    inside one, with the page's token.
    """
    transactional, lsn = _MESSAGE.unpack_from(data, 1)
    prefix, offset = _text(data, 10)
    if prefix != (PAGE_PREFIX if transactional else HEARTBEAT_PREFIX):
        return None
    (length,) = _U32.unpack_from(data, offset)
    content = data[offset + 4 :]
    if len(content) != length:
        raise ValueError("the message does not end with its content")
    if transactional:
        return HighPosition(content.decode())
    if length > 18:  # more digits than a time has
        raise ValueError("not a heartbeat of ours")
    return Heartbeat(lsn, int(content))
