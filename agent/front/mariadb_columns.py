"""Columns of a MariaDB or MySQL front end: the types we create, those that hold every value exactly, and how values go in and out.

Where a native type could change or refuse a value (NaN, infinity, years before Christ or past 9999), we create a column for PostgreSQL's text.
A native column that somebody made is kept as long as it loses no digit; a value it cannot hold is refused here, never left to the server,
which even in strict mode cuts trailing spaces and rounds decimals without an error.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any, NamedTuple

from agent.errors import FrontTableWrong
from agent.events import values as v
from agent.resource import FrontColumn, FrontRow, Key, Target

KEY_BYTES = 3072  # of an InnoDB index entry; a character counts four
_ROW_BYTES = 60_000  # for VARCHAR columns in a row, of the server's 65,535
ROW_BYTES = 8126  # of a row in an InnoDB page of 16 KiB
_INLINE = 40  # bytes of a long value that may stand in the row
_HEADER = 18  # transaction, roll pointer, and the record's own
_TECHNICAL = 8
_SHORT = 255  # characters up to which we create VARCHAR
_UNBOUNDED = 1 << 40

_INTEGERS = {v.INT2: "SMALLINT", v.INT4: "INT", v.INT8: "BIGINT", v.OID: "BIGINT"}
_BYTES = {v.INT2: 2, v.INT4: 4, v.INT8: 8, v.OID: 8, v.BOOL: 1}
_SIZES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
# Characters of four bytes
_TEXTS = {
    "varchar": 0,
    "tinytext": 63,
    "text": 16_383,
    "mediumtext": 4_194_303,
    "longtext": _UNBOUNDED,
}
# Characters of the longest text PostgreSQL writes for a type.
_WIDTHS = {
    v.BOOL: 1, v.INT2: 6, v.INT4: 11, v.INT8: 20, v.OID: 10, v.FLOAT4: 32, v.FLOAT8: 32, v.DATE: 16, v.TIMESTAMP: 32, v.TIMESTAMPTZ: 36,
    v.TIME: 16, v.TIMETZ: 26, v.INTERVAL: 80, v.UUID: 36, v.NAME: 63, v.CHAR: 4,
}  # fmt: skip

_EXACT = Context(prec=100)  # DECIMAL has at most 65 digits
_DECLARED = re.compile(r"^(\w+)(?:\((\d+)(?:,(\d+))?\))?(.*)$")
_SIZED = re.compile(r"\((\d+)(?:,(-?\d+))?\)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)( \d\d:\d\d:\d\d(?:\.\d{1,6})?)?(?:\+00)?")


class Unfit(Exception):
    """A value its column cannot hold; the argument names the column and never the value."""


class Declared(NamedTuple):
    """A column type as information_schema has it: `decimal(10,2)` is decimal, 10, 2."""

    name: str
    size: int
    scale: int
    more: str  # unsigned, zerofill


def declared(text: str) -> Declared:
    """Parses a column type."""
    found = _DECLARED.match(text.lower())
    return (
        Declared(found[1], int(found[2] or 0), int(found[3] or 0), found[4].strip())
        if found
        else Declared(text.lower(), 0, 0, "")
    )


def _sized(column: FrontColumn) -> tuple[int, int] | None:
    """Length, or precision and scale, of a PostgreSQL type that has them."""
    found = _SIZED.search(column.type_name)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _width(column: FrontColumn) -> int:
    """Characters that every value's text fits into."""
    sized = _sized(column) if column.builtin else None
    if sized and column.type_oid in (v.VARCHAR, v.BPCHAR):
        return sized[0]
    if sized and column.type_oid == v.NUMERIC:
        precision, scale = sized
        return max(precision, scale, precision - scale) + 3  # sign, point, zero before it
    return _WIDTHS.get(column.type_oid, _UNBOUNDED) if column.builtin else _UNBOUNDED


def column_type(target: Target, index: int) -> str:
    """The type we create, without collation. Raises FrontTableWrong where the key would not fit into an index."""
    column = target.columns[index]
    if column.builtin and column.type_oid in _INTEGERS:
        return _INTEGERS[column.type_oid]
    if column.builtin and column.type_oid == v.BOOL:
        return "TINYINT(1)"
    if index in target.key:
        room = _key_room(target)
        return (
            f"VARBINARY({room})"
            if column.type_oid == v.BYTEA
            else f"VARCHAR({_key_width(column) or room // 4})"
        )
    if column.builtin and column.type_oid == v.BYTEA:
        return "LONGBLOB"
    width = _width(column)
    return (
        f"VARCHAR({width})"
        if width <= _SHORT and _short_bytes(target) <= _ROW_BYTES
        else "LONGTEXT"
    )


def _short_bytes(target: Target) -> int:
    widths = [_width(column) for i, column in enumerate(target.columns) if i not in target.key]
    return KEY_BYTES + sum(4 * width + 2 for width in widths if width <= _SHORT)


def _key_width(column: FrontColumn) -> int:
    """Characters a key column takes for itself; 0: it shares what the others leave."""
    width = 0 if column.type_oid == v.BYTEA else _width(column)
    return width if width <= _SHORT else 0


def _key_room(target: Target) -> int:
    """Bytes for each key column without a short length of its own."""
    columns = [target.columns[i] for i in target.key]
    fixed = sum(
        _BYTES.get(column.type_oid, 4 * _key_width(column)) if column.builtin else 0
        for column in columns
    )
    sharing = sum(
        1
        for column in columns
        if not (column.builtin and column.type_oid in _BYTES) and not _key_width(column)
    )
    room = (KEY_BYTES - fixed) // max(1, sharing)
    if room < 4 * bool(sharing):
        names = ", ".join(column.name for column in columns)
        raise FrontTableWrong(
            resource=target.resource,
            table=target.name,
            reason=f"its key ({names}) does not fit into the {KEY_BYTES} bytes of an index",
        )
    return room


def row_size(target: Target) -> int:
    """Bytes that a row of the table we create takes in an InnoDB page of 16 KiB at the most, by what the server reckons."""
    size = _HEADER + len(target.columns) // 8
    for i in range(len(target.columns)):
        kind = declared(column_type(target, i))
        width = {"longtext": _UNBOUNDED, "longblob": _UNBOUNDED, "varchar": 4 * kind.size}
        size += _SIZES.get(kind.name) or 2 + min(_INLINE, width.get(kind.name, kind.size))
    return size + _TECHNICAL * len(target.technical)


def holds(target: Target, index: int, found: Declared) -> bool:
    """Whether a column of that type gives every value back exactly that it takes, and takes all that are usual."""
    column = target.columns[index]
    wanted = declared(column_type(target, index))
    if found.name in _TEXTS:
        width = wanted.size if index in target.key and wanted.name == "varchar" else _width(column)
        return (found.size or _TEXTS[found.name]) >= width
    if not column.builtin:
        return False
    if wanted.name in _SIZES:
        return _SIZES.get(found.name, 0) >= _SIZES[wanted.name] and not found.more
    if wanted.name in ("longblob", "varbinary"):
        return found.name == wanted.name and found.size >= wanted.size
    return _native(column, found)


def _native(column: FrontColumn, found: Declared) -> bool:
    sized = _sized(column)
    if column.type_oid == v.NUMERIC and found.name == "decimal" and sized and not found.more:
        return found.scale >= sized[1] >= 0 and found.size - found.scale >= sized[0] - sized[1]
    if column.type_oid in (v.TIMESTAMP, v.TIMESTAMPTZ):
        return found.name == "datetime" and found.size >= (sized[0] if sized else 6)
    return column.type_oid == v.DATE and found.name == "date"


def ordered(column: FrontColumn, found: Declared) -> bool:
    """Whether the column's order is PostgreSQL's."""
    return column.builtin and column.type_oid in _INTEGERS and found.name in _SIZES


# ---- values in: SQL literals


def quoted(text: str) -> str:
    """A text as a literal. Sessions read backslashes as escapes (sql_mode is set and verified)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fitting(name: str, limit: int, convert: Callable[[str], str]) -> Callable[[str], str]:
    def literal(text: str) -> str:
        if len(text) > limit:  # the server would cut trailing spaces without an error
            raise Unfit(f"a value is longer than column {name}")
        return convert(text)

    return literal


def _matching(
    name: str, pattern: re.Pattern[str], form: Callable[[re.Match[str]], str]
) -> Callable[[str], str]:
    def literal(text: str) -> str:
        match = pattern.fullmatch(text)
        if match is None:
            raise Unfit(
                f"column {name} cannot hold a value: no number, no date, or a year outside 1 to 9999"
            )
        return form(match)

    return literal


def _binary(text: str) -> str:
    return f"X'{text[2:]}'"


def _encoder(column: FrontColumn, found: Declared) -> Callable[[str], str]:
    if found.name in _TEXTS:
        return (
            quoted
            if found.name == "longtext"
            else _fitting(column.name, found.size or _TEXTS[found.name], quoted)
        )
    if column.type_oid == v.BOOL:
        return {"t": "1", "f": "0"}.__getitem__
    if found.name == "decimal":
        return _matching(column.name, _NUMBER, lambda match: match[0])
    if found.name == "date":
        return _matching(column.name, _MOMENT, lambda match: f"DATE'{match[1]}'")
    if found.name == "datetime":
        return _matching(column.name, _MOMENT, lambda match: f"TIMESTAMP'{match[1]}{match[2]}'")
    if found.name == "varbinary":
        return _fitting(column.name, 2 + 2 * found.size, _binary)
    return _binary if found.name == "longblob" else lambda text: str(int(text))


# ---- values out: PostgreSQL's text


def _number_out(scale: int) -> Callable[[Any], str]:
    """In a column with more scale 5.00 stands as 5.0000."""

    def out(value: Decimal) -> str:
        number = value.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
        return format(number if number == value else value, "f")

    return out


def _moment_out(zone: str) -> Callable[[Any], str]:
    def out(value: object) -> str:
        if not isinstance(value, datetime):
            return str(value)  # a zero date that somebody wrote
        text = value.isoformat(" ")
        return (text.rstrip("0") if value.microsecond else text) + zone

    return out


def _decoder(column: FrontColumn, found: Declared) -> Callable[[Any], str] | None:
    """None where the driver gives the text already."""
    if found.name in _TEXTS:
        return None
    if column.type_oid == v.BOOL:
        return lambda value: "t" if value else "f"
    if found.name == "decimal":
        return _number_out((_sized(column) or (0, found.scale))[1])
    if found.name == "datetime":
        return _moment_out("+00" if column.type_oid == v.TIMESTAMPTZ else "")
    if found.name == "date":
        return lambda value: value.isoformat() if isinstance(value, date) else str(value)
    return str if found.name in _SIZES else lambda value: "\\x" + value.hex()


class Columns:
    """A target's columns as the table has them: rows and keys become literals, and what was read becomes PostgreSQL's text."""

    def __init__(self, target: Target, found: Mapping[str, Declared]) -> None:
        types = [
            found.get(column.name) or declared(column_type(target, i))
            for i, column in enumerate(target.columns)
        ]
        self._encoders = [
            _encoder(column, kind) for column, kind in zip(target.columns, types, strict=True)
        ]
        self._key_encoders = [self._encoders[i] for i in target.key]
        self._decoders = [
            (i, out)
            for i, (c, kind) in enumerate(zip(target.columns, types, strict=True))
            if (out := _decoder(c, kind))
        ]
        self._key = target.key
        self.ordered = all(ordered(target.columns[i], types[i]) for i in target.key)

    def row(self, row: FrontRow) -> list[str]:
        """Literals of a row. Raises Unfit."""
        return [
            "NULL" if value is None else encode(value)
            for encode, value in zip(self._encoders, row, strict=True)
        ]

    def key(self, key: Key) -> list[str]:
        """Literals of a key. Raises Unfit."""
        return [encode(part) for encode, part in zip(self._key_encoders, key, strict=True)]

    def texts(self, row: Sequence[Any]) -> FrontRow:
        """A whole row that was read."""
        texts = list(row)
        for i, out in self._decoders:
            if texts[i] is not None:
                texts[i] = out(texts[i])
        return tuple(texts)

    def key_texts(self, parts: Sequence[Any]) -> Key:
        """A key that was read."""
        outs = dict(self._decoders)
        return tuple(
            [
                str(outs[i](part)) if i in outs else part
                for i, part in zip(self._key, parts, strict=True)
            ]
        )
