"""Columns of a MariaDB or MySQL front end: the types we create, those that hold every value exactly, and how values go in and out.

Numbers, dates and times get the database's own types, which others read and count with; `front.types = "text"` gives PostgreSQL's text.
A column that somebody made is kept as long as it loses no digit. A value that a column cannot hold (NaN, infinity, years before Christ or
past 9999) is refused here, never left to the server, which even in strict mode cuts trailing spaces and rounds decimals without an error.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from agent.errors import FrontTableWrong
from agent.messages import phrase
from agent.resource import FrontColumn, FrontRow, Target
from agent.values import column_types as v
from agent.values import writing
from agent.values.floats import FLOAT4_DIGITS, FLOAT8_DIGITS, float_writer
from agent.values.rows import Key

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
_NATIVE_SIZES = {"date": 3, "time": 6, "datetime": 8, "double": 8}  # bytes, with microseconds
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

# Types that are native, but for numeric. A float is none as a key: 0 and -0 are one value of two spellings.
_NATIVE = {
    v.DATE: "DATE",
    v.TIME: "TIME(6)",
    v.TIMESTAMP: "DATETIME(6)",
    v.TIMESTAMPTZ: "DATETIME(6)",
    v.FLOAT4: "DOUBLE",
    v.FLOAT8: "DOUBLE",
}
_FLOATS = (v.FLOAT4, v.FLOAT8)
_MOST_DIGITS = 65  # of a DECIMAL
_NATIVE_BYTES = 32  # no native column takes more

_DECLARED = re.compile(r"^(\w+)(?:\((\d+)(?:,(\d+))?\))?(.*)$")
_SIZED = re.compile(r"\((\d+)(?:,(-?\d+))?\)")
_FLOAT = re.compile(r"-?\d+(?:\.\d+)?(e[+-]?\d+)?")
_DATE = r"(\d{4}-\d\d-\d\d)"


class Unfit(Exception):
    """A value its column cannot hold; the argument names the column and never the value."""


class Beyond(Enum):
    """Where a value stands that no row can have."""

    BEFORE = "before every value"
    AFTER = "after every value"


class Forms(NamedTuple):
    """What types a table gets that we create."""

    native: bool = True  # else PostgreSQL's text
    scale: int = 30  # the most digits after the point that a DECIMAL of the server has


TEXT = Forms(native=False)  # as version 0.1.0 made them
MARIADB, MYSQL = Forms(scale=38), Forms(scale=30)


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


def _digits(column: FrontColumn) -> tuple[int, int] | None:
    """Digits before and after the point of a numeric that is limited; None of one that is not."""
    sized = _sized(column)
    if column.type_oid != v.NUMERIC or sized is None:
        return None
    precision, scale = sized
    return max(precision - scale, 0), max(scale, 0)


def _native_type(column: FrontColumn, forms: Forms, in_key: bool) -> str:
    """The database's own type for a column; '' where there is none that holds what is usual."""
    if not forms.native or not column.builtin or (in_key and column.type_oid in _FLOATS):
        return ""
    digits = _digits(column)
    if digits is None:
        return _NATIVE.get(column.type_oid, "")
    before, after = digits
    fits = before + after <= _MOST_DIGITS and after <= forms.scale
    return f"DECIMAL({before + after},{after})" if fits else ""


def column_type(target: Target, index: int, forms: Forms = MARIADB) -> str:
    """The type we create, without collation. Raises FrontTableWrong where the key would not fit into an index."""
    column, in_key = target.columns[index], index in target.key
    if column.builtin and column.type_oid in _INTEGERS:
        return _INTEGERS[column.type_oid]
    if column.builtin and column.type_oid == v.BOOL:
        return "TINYINT(1)"
    if native := _native_type(column, forms, in_key):
        return native
    if in_key:
        room = _key_room(target, forms)
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
        if width <= _SHORT and _short_bytes(target, forms) <= _ROW_BYTES
        else "LONGTEXT"
    )


def _short_bytes(target: Target, forms: Forms) -> int:
    """Bytes of a row for the key, and for the other columns that are not stored elsewhere."""
    taken = KEY_BYTES
    for i, column in enumerate(target.columns):
        if i in target.key:
            continue
        if _native_type(column, forms, in_key=False):
            taken += _NATIVE_BYTES
        elif _width(column) <= _SHORT:
            taken += 4 * _width(column) + 2
    return taken


def _key_width(column: FrontColumn) -> int:
    """Characters a key column takes for itself; 0: it shares what the others leave."""
    width = 0 if column.type_oid == v.BYTEA else _width(column)
    return width if width <= _SHORT else 0


def _key_bytes(column: FrontColumn, forms: Forms) -> int:
    """Bytes a key column takes for itself; 0: it shares what the others leave."""
    if not column.builtin:
        return 0
    if _native_type(column, forms, in_key=True):
        return _NATIVE_BYTES
    return _BYTES.get(column.type_oid, 4 * _key_width(column))


def _key_room(target: Target, forms: Forms) -> int:
    """Bytes for each key column without a short length of its own."""
    columns = [target.columns[i] for i in target.key]
    taken = [_key_bytes(column, forms) for column in columns]
    sharing = taken.count(0)
    room = (KEY_BYTES - sum(taken)) // max(1, sharing)
    if room < 4 * bool(sharing):
        names = ", ".join(column.name for column in columns)
        raise FrontTableWrong(
            resource=target.resource,
            table=target.name,
            reason=phrase(
                "its key ({names}) does not fit into the {size} bytes of an index",
                names=names,
                size=KEY_BYTES,
            ),
        )
    return room


def row_size(target: Target, forms: Forms) -> int:
    """Computes the bytes that a row of the table we create takes in an InnoDB page, at the most.

    The server reckons so when it creates a table, whose rows must fit into half a page of 16 KiB.
    """
    size = _HEADER + len(target.columns) // 8
    for i in range(len(target.columns)):
        size += _stored_bytes(declared(column_type(target, i, forms)))
    return size + _TECHNICAL * len(target.technical)


def _stored_bytes(kind: Declared) -> int:
    """Computes the bytes of one column; of a long value only the beginning lies in the row itself."""
    fixed = _SIZES | _NATIVE_SIZES
    if kind.name in fixed:
        return fixed[kind.name]
    if kind.name == "decimal":
        return 4 * (kind.size // 9 + 2)
    width = {"longtext": _UNBOUNDED, "longblob": _UNBOUNDED, "varchar": 4 * kind.size}
    return 2 + min(_INLINE, width.get(kind.name, kind.size))


def holds(target: Target, index: int, found: Declared) -> bool:
    """Whether a column of that type gives every value back exactly that it takes, and takes all that are usual."""
    column, in_key = target.columns[index], index in target.key
    wanted = declared(column_type(target, index, TEXT))
    if found.name in _TEXTS:
        width = wanted.size if in_key and wanted.name == "varchar" else _width(column)
        return (found.size or _TEXTS[found.name]) >= width
    if not column.builtin:
        return False
    if wanted.name in _SIZES:
        return _SIZES.get(found.name, 0) >= _SIZES[wanted.name] and not found.more
    if wanted.name in ("longblob", "varbinary"):
        return found.name == wanted.name and found.size >= wanted.size
    return not found.more and _native(column, found, in_key)


def _native(column: FrontColumn, found: Declared, in_key: bool) -> bool:
    """Whether a column that is no text loses no digit."""
    digits = _digits(column)
    if digits is not None and found.name == "decimal":
        return found.scale >= digits[1] and found.size - found.scale >= digits[0]
    if column.type_oid in _FLOATS:
        return found.name == "double" and not found.size and not in_key
    wanted = declared(_NATIVE.get(column.type_oid, ""))
    sized = _sized(column)
    return found.name == wanted.name and found.size >= (min(sized[0], 6) if sized else wanted.size)


def ordered(column: FrontColumn, found: Declared) -> bool:
    """Whether the column's order is PostgreSQL's: of what it holds, and where what it cannot hold would stand (see `bound`)."""
    if not column.builtin:
        return False
    if column.type_oid in _INTEGERS:
        return found.name in _SIZES
    return found.name in ("decimal", "date", "time", "datetime")


# ---- values in: SQL literals


def quoted(text: str) -> str:
    """A text as a literal. Sessions read backslashes as escapes (sql_mode is set and verified)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fitting(name: str, limit: int, convert: Callable[[str], str]) -> Callable[[str], str]:
    def literal(text: str) -> str:
        if len(text) > limit:  # the server would cut trailing spaces without an error
            raise Unfit(phrase("a value is longer than column {name}", name=name))
        return convert(text)

    return literal


def _matching(name: str, pattern: str, form: str) -> Callable[[str], str]:
    """`form` takes the groups of the pattern."""
    shape = re.compile(pattern)

    def literal(text: str) -> str:
        match = shape.fullmatch(text)
        if match is None:
            raise Unfit(
                phrase(
                    "column {name} cannot hold a value: no number, no date, too many digits, or a year outside 1 to 9999",
                    name=name,
                )
            )
        return form.format(*match.groups())

    return literal


def _decimal_shape(size: int, scale: int) -> str:
    """Numbers of so many digits, of which so many stand after the point."""
    before = rf"\d{{1,{size - scale}}}" if size > scale else "0"
    return rf"(-?{before}(?:\.\d{{1,{scale}}})?)" if scale else rf"(-?{before})"


def _time_shape(places: int) -> str:
    """Times of day with at most so many places after the seconds."""
    return rf"(\d\d:\d\d:\d\d(?:\.\d{{1,{places}}})?)" if places else r"(\d\d:\d\d:\d\d)"


def _double(name: str) -> Callable[[str], str]:
    """With an exponent: a number without one would be a DECIMAL."""

    def literal(text: str) -> str:
        match = _FLOAT.fullmatch(text)
        if match is None or text == "-0":  # the server makes it 0
            raise Unfit(phrase("column {name} cannot hold a value: NaN, infinity or -0", name=name))
        return text if match[1] else text + "e0"

    return literal


def _binary(text: str) -> str:
    return f"X'{text[2:]}'"


def _encoder(column: FrontColumn, found: Declared) -> Callable[[str], str]:  # noqa: PLR0911 - one for each type
    if found.name in _TEXTS:
        return (
            quoted
            if found.name == "longtext"
            else _fitting(column.name, found.size or _TEXTS[found.name], quoted)
        )
    if column.type_oid == v.BOOL:
        return {"t": "1", "f": "0"}.__getitem__
    match found.name:
        case "decimal":
            return _matching(column.name, _decimal_shape(found.size, found.scale), "{0}")
        case "double":
            return _double(column.name)
        case "date":
            return _matching(column.name, _DATE, "DATE'{0}'")
        case "time":
            return _matching(column.name, _time_shape(found.size), "TIME'{0}'")
        case "datetime":
            shape = f"{_DATE} {_time_shape(found.size)}(?:\\+00)?"
            return _matching(column.name, shape, "TIMESTAMP'{0} {1}'")
    if found.name == "varbinary":
        return _fitting(column.name, 2 + 2 * found.size, _binary)
    return _binary if found.name == "longblob" else lambda text: str(int(text))


# ---- values out: PostgreSQL's text


def _decoder(column: FrontColumn, found: Declared) -> Callable[[Any], str] | None:  # noqa: PLR0911 - one for each type
    """None where the driver gives the text already."""
    if found.name in _TEXTS:
        return None
    if column.type_oid == v.BOOL:
        return writing.boolean_text
    if found.name == "decimal":
        return writing.decimal_writer((_sized(column) or (0, found.scale))[1])
    if found.name == "datetime":
        zoned = column.type_oid == v.TIMESTAMPTZ
        return writing.instant_text if zoned else writing.datetime_text
    if found.name == "time":
        return writing.time_text
    if found.name == "double":
        return float_writer(FLOAT4_DIGITS if column.type_oid == v.FLOAT4 else FLOAT8_DIGITS)
    if found.name == "date":
        return writing.date_text
    return writing.integer_text if found.name in _SIZES else writing.bytes_text


class Columns:
    """A target's columns as the table has them: rows and keys become literals, and what was read becomes PostgreSQL's text."""

    def __init__(
        self, target: Target, found: Mapping[str, Declared], forms: Forms = MARIADB
    ) -> None:
        types = [
            found.get(column.name) or declared(column_type(target, i, forms))
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

    def held(self, keys: Iterable[Key]) -> Iterator[list[str]]:
        """Literals of keys; one that a column cannot hold stands in no row, and is left out."""
        for key in keys:
            with suppress(Unfit):
                yield self.key(key)

    def bound(self, key: Key) -> list[str | Beyond]:
        """Literals of a key that rows are compared with: what a column cannot hold stands before or after all it can."""
        parts: list[str | Beyond] = []
        for encode, part in zip(self._key_encoders, key, strict=True):
            try:
                parts.append(encode(part))
            except Unfit:
                before = part.startswith("-") or part.endswith(" BC")
                parts.append(Beyond.BEFORE if before else Beyond.AFTER)
        return parts

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
