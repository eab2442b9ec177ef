"""Reads the keys of notes: a text of a trigger becomes the canonical text that a page has, too."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal

from agent.connectors.database.catalogue import ReadTable
from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Kind
from agent.connectors.trigger.databases.base import Form, KeyPart, LoggedTable, parts
from agent.values import column_types as v
from agent.values.rows import Key

_TRUTHS = {"1": "t", "0": "f", "true": "t", "false": "f"}


def _whole(text: str) -> str:
    return str(int(text))


def _octets(text: str) -> str:
    return "\\x" + bytes.fromhex(text).hex()


def _truth(text: str) -> str:
    return _TRUTHS[text.lower()]


# How a part of a key is read, by its canonical type. One that is missing here is written by a
# database in a form that depends on the session, or equals no text
_READ: Mapping[int, Callable[[str], str]] = {
    v.INT2: _whole,
    v.INT4: _whole,
    v.INT8: _whole,
    v.BYTEA: _octets,
    v.BOOL: _truth,
    v.UUID: str.lower,
}

_TEXTS = (v.TEXT, v.VARCHAR, v.BPCHAR)

# What a trigger may have to write in a way of its own
_FORMS: Mapping[int, Form] = {
    v.BYTEA: "bytes",
    v.INT2: "number",
    v.INT4: "number",
    v.INT8: "number",
    v.NUMERIC: "number",
    v.DATE: "date",
    v.TIMESTAMP: "moment",
}

# What a database that writes the canonical text itself writes so in JSON, too
_WRITTEN_AS_TEXT = (v.NUMERIC, v.DATE, v.TIMESTAMP)


def logged(read: ReadTable) -> LoggedTable | None:
    """Returns a table as its triggers are made; None where they cannot note its key."""
    key = []
    for name in read.table.key:
        kind = read.kinds[name]
        if _reader(kind) is None:
            return None
        key.append(KeyPart(name, _FORMS.get(kind.oid, "text")))
    if not key:
        return None
    return LoggedTable(read.table.schema, read.table.table, tuple(key))


def keys_reader(read: ReadTable) -> Callable[[str], list[Key]]:
    """Returns what reads the keys of a note, for a table that `logged` gives.

    It raises ValueError for a text that is made of other keys than the table's.
    """
    readers = []
    for name in read.table.key:
        reader = _reader(read.kinds[name])
        assert reader is not None, "its triggers can note the key"
        readers.append(reader)

    def keys(text: str) -> list[Key]:
        found = []
        listed = parts(text)
        try:
            for begin in range(0, len(listed), len(readers)):
                pairs = zip(readers, listed[begin : begin + len(readers)], strict=True)
                found.append(tuple([reader(part) for reader, part in pairs]))
        except (KeyError, TypeError, ArithmeticError) as error:
            raise ValueError("no key") from error
        return found

    return keys


def _reader(kind: Kind) -> Callable[[str], str] | None:
    """Returns what reads a part of a key."""
    if kind.write is kinds.text and kind.oid in _WRITTEN_AS_TEXT:
        # JSON puts a letter between date and time
        return lambda text: text.replace("T", " ")
    if kind.oid in _TEXTS:
        # Of other writers the database would note bytes as letters of another encoding
        return kind.write if kind.write in (kinds.text, kinds.unpadded) else None
    if kind.oid == v.NUMERIC:
        return lambda text: kind.write(Decimal(text))
    if kind.oid == v.DATE:
        return lambda text: kind.write(date.fromisoformat(text))
    if kind.oid == v.TIMESTAMP:
        return lambda text: kind.write(datetime.fromisoformat(text))
    return _READ.get(kind.oid)
