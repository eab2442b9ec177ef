"""Builds pgoutput's messages (protocol 1) after PostgreSQL's manual, not after the decoder."""

import struct
from collections.abc import Sequence

from agent.connectors.changes import Relation
from agent.values.rows import UNCHANGED, Row

EPOCH_2000_US = 946_684_800_000_000


def begin(xid: int, commit_lsn: int, time_us: int) -> bytes:
    """Begin: final LSN, commit time, xid."""
    return b"B" + struct.pack(">QqI", commit_lsn, time_us - EPOCH_2000_US, xid)


def commit(commit_lsn: int, end: int, time_us: int) -> bytes:
    """Commit: flags, LSN of the commit, its end, commit time."""
    return b"C" + struct.pack(">BQQq", 0, commit_lsn, end, time_us - EPOCH_2000_US)


def relation(described: Relation) -> bytes:
    """Relation: oid, schema, table, identity, columns."""
    columns = b"".join(
        struct.pack(">B", column.identity)
        + column.name.encode()
        + b"\0"
        + struct.pack(">Ii", column.type_oid, column.type_modifier)
        for column in described.columns
    )
    names = described.schema.encode() + b"\0" + described.table.encode() + b"\0"
    return (
        b"R"
        + struct.pack(">I", described.oid)
        + names
        + described.identity.encode()
        + struct.pack(">H", len(described.columns))
        + columns
    )


def row(values: Row) -> bytes:
    """TupleData."""
    parts = [struct.pack(">H", len(values))]
    for value in values:
        if value is None:
            parts.append(b"n")
        elif value is UNCHANGED:
            parts.append(b"u")
        else:
            parts.append(b"t" + struct.pack(">I", len(value.encode())) + value.encode())
    return b"".join(parts)


def insert(oid: int, new: Row) -> bytes:
    """Insert."""
    return b"I" + struct.pack(">I", oid) + b"N" + row(new)


def update(oid: int, old: Row | None, new: Row, kind: bytes = b"O") -> bytes:
    """Update; `kind` is O for a whole old row and K for its key."""
    return (
        b"U"
        + struct.pack(">I", oid)
        + (kind + row(old) if old is not None else b"")
        + b"N"
        + row(new)
    )


def delete(oid: int, old: Row, kind: bytes = b"O") -> bytes:
    """Delete; `kind` as in `update`."""
    return b"D" + struct.pack(">I", oid) + kind + row(old)


def truncate(oids: Sequence[int], options: int = 0) -> bytes:
    """Truncate; options: 1 CASCADE, 2 RESTART IDENTITY."""
    return b"T" + struct.pack(">IB", len(oids), options) + struct.pack(f">{len(oids)}I", *oids)


def message(prefix: str, content: bytes, lsn: int, transactional: bool = False) -> bytes:
    """Logical message."""
    return (
        b"M"
        + struct.pack(">BQ", transactional, lsn)
        + prefix.encode()
        + b"\0"
        + struct.pack(">I", len(content))
        + content
    )
