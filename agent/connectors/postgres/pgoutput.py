"""Decoder of pgoutput's messages, protocol version 1.

Source of the formats: PostgreSQL manual, "Logical Replication Message Formats" (protocol-logicalrep-message-formats).
"""

import struct
from typing import Final

from agent.errors import ProtocolViolated
from agent.events.changes import UNCHANGED, Begin, Change, Column, Commit, Heartbeat, Message, Relation, Row, Truncate, Value, lsn_text

_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, PostgreSQL's epoch, in microseconds since 1970
HEARTBEAT_PREFIX: Final = "unit-sync-agent"

_BEGIN = struct.Struct(">QqI")
_COMMIT = struct.Struct(">BQQq")
_COLUMN_TAIL = struct.Struct(">Ii")
_MESSAGE = struct.Struct(">BQ")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


class Decoder:
    """Keeps the relations of one connection. Raises ProtocolViolated for what it does not know; it never skips."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._xid = 0

    def decode(self, data: bytes, lsn: int) -> Message | None:
        """One message; None for those that carry no change (relation, type, origin, foreign logical messages)."""
        kind = data[:1]
        if kind == b"I":
            relation = self._relation(data, 1, lsn)
            row, _ = self._row(data, 6, lsn)
            return Change(relation, "I", None, row, False, lsn, len(data))
        if kind == b"U":
            return self._update(data, lsn)
        if kind == b"D":
            relation = self._relation(data, 1, lsn)
            row, _ = self._row(data, 6, lsn)
            return Change(relation, "D", row, None, data[5:6] == b"O", lsn, len(data))
        if kind == b"B":
            commit_lsn, time_us, self._xid = _BEGIN.unpack_from(data, 1)
            return Begin(self._xid, commit_lsn, time_us + _EPOCH_US)
        if kind == b"C":
            _, _, end, time_us = _COMMIT.unpack_from(data, 1)
            return Commit(self._xid, end, time_us + _EPOCH_US)
        return self._rare(kind, data, lsn)

    def _rare(self, kind: bytes, data: bytes, lsn: int) -> Message | None:
        if kind == b"R":
            relation = _read_relation(data)
            self._relations[relation.oid] = relation
            return None
        if kind == b"T":
            count, _ = struct.unpack_from(">IB", data, 1)
            return Truncate(tuple(self._relation(data, 6 + 4 * i, lsn) for i in range(count)), lsn)
        if kind == b"M":
            return _read_message(data)
        if kind in (b"Y", b"O"):
            return None
        raise ProtocolViolated(position=lsn_text(lsn), what=f"message type {kind!r}")

    def _relation(self, data: bytes, offset: int, lsn: int) -> Relation:
        (oid,) = _U32.unpack_from(data, offset)
        relation = self._relations.get(oid)
        if relation is None:
            raise ProtocolViolated(position=lsn_text(lsn), what=f"a row of relation {oid} before its description")
        return relation

    def _update(self, data: bytes, lsn: int) -> Change:
        relation = self._relation(data, 1, lsn)
        old: Row | None = None
        offset, kind = 6, data[5:6]
        if kind != b"N":
            old, offset = self._row(data, 6, lsn)
            offset += 1
        new, _ = self._row(data, offset, lsn)
        return Change(relation, "U", old, new, kind == b"O", lsn, len(data))

    def _row(self, data: bytes, offset: int, lsn: int) -> tuple[Row, int]:
        """A TupleData at `offset` and the offset behind it."""
        (count,) = _U16.unpack_from(data, offset)
        offset += 2
        values: list[Value] = []
        for _ in range(count):
            kind = data[offset]
            offset += 1
            if kind == 116:  # t: text
                (length,) = _U32.unpack_from(data, offset)
                offset += 4
                values.append(data[offset : offset + length].decode())
                offset += length
            elif kind == 110:  # n: NULL
                values.append(None)
            elif kind == 117:  # u: unchanged TOAST
                values.append(UNCHANGED)
            else:
                raise ProtocolViolated(position=lsn_text(lsn), what=f"column kind {kind}")
        return tuple(values), offset


def _text(data: bytes, offset: int) -> tuple[str, int]:
    end = data.index(b"\0", offset)
    return data[offset:end].decode(), end + 1


def _read_relation(data: bytes) -> Relation:
    (oid,) = _U32.unpack_from(data, 1)
    schema, offset = _text(data, 5)
    table, offset = _text(data, offset)
    identity = chr(data[offset])
    (count,) = _U16.unpack_from(data, offset + 1)
    offset += 3
    columns = []
    for _ in range(count):
        in_identity = bool(data[offset] & 1)
        name, offset = _text(data, offset + 1)
        type_oid, modifier = _COLUMN_TAIL.unpack_from(data, offset)
        offset += 8
        columns.append(Column(name, type_oid, modifier, in_identity))
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _read_message(data: bytes) -> Heartbeat | None:
    """A logical message: ours is a heartbeat whose content is its time; the position is the end of its record."""
    _, lsn = _MESSAGE.unpack_from(data, 1)
    prefix, offset = _text(data, 10)
    if prefix != HEARTBEAT_PREFIX:
        return None
    return Heartbeat(lsn, int(data[offset + 4 :]))
