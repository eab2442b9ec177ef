"""Column types of a MariaDB or MySQL front end: those we create, and those that hold every value.

Numbers, dates and times get the database's own types, which others read and count with;
`front.types = "text"` gives PostgreSQL's text. A column that somebody made is kept as long as it
loses no digit.
"""

import re
from typing import NamedTuple

from agent.errors import FrontTableWrong
from agent.messages import phrase
from agent.resource import FrontColumn, Target
from agent.values import column_types as v

# Bytes of an InnoDB index entry; a character counts four
KEY_BYTES = 3072

# Bytes of a row in an InnoDB page of 16 KiB
ROW_BYTES = 8126

# Bytes for VARCHAR columns in a row, of the server's 65,535
_ROW_BYTES = 60_000

# Bytes of a long value that may be in the row
_INLINE = 40

# Bytes of a row's transaction, its roll pointer, and the record's own
_HEADER = 18

# Bytes of a technical column, at the most
_TECHNICAL = 8

# Characters up to which we create VARCHAR
_SHORT = 255

_UNBOUNDED = 1 << 40

# Digits of a DECIMAL
_MOST_DIGITS = 65

# No native column takes more bytes
_NATIVE_BYTES = 32

_INTEGERS = {
    v.INT2: "SMALLINT",
    v.INT4: "INT",
    v.INT8: "BIGINT",
    v.OID: "BIGINT",
}

# Bytes of a value: by PostgreSQL's type, and by the database's own (with microseconds)
_BYTES = {
    v.INT2: 2,
    v.INT4: 4,
    v.INT8: 8,
    v.OID: 8,
    v.BOOL: 1,
}
SIZES = {
    "tinyint": 1,
    "smallint": 2,
    "mediumint": 3,
    "int": 4,
    "bigint": 8,
}
_NATIVE_SIZES = {
    "date": 3,
    "time": 6,
    "datetime": 8,
    "double": 8,
}

# Characters of four bytes
TEXTS = {
    "varchar": 0,
    "tinytext": 63,
    "text": 16_383,
    "mediumtext": 4_194_303,
    "longtext": _UNBOUNDED,
}

# Characters of the longest text that PostgreSQL writes for a type
_WIDTHS = {
    v.BOOL: 1,
    v.INT2: 6,
    v.INT4: 11,
    v.INT8: 20,
    v.OID: 10,
    v.FLOAT4: 32,
    v.FLOAT8: 32,
    v.DATE: 16,
    v.TIMESTAMP: 32,
    v.TIMESTAMPTZ: 36,
    v.TIME: 16,
    v.TIMETZ: 26,
    v.INTERVAL: 80,
    v.UUID: 36,
    v.NAME: 63,
    v.CHAR: 4,
}

# Types that are native, but for numeric. A float is none as a key: 0 and -0 are one value of two
# spellings.
_NATIVE = {
    v.DATE: "DATE",
    v.TIME: "TIME(6)",
    v.TIMESTAMP: "DATETIME(6)",
    v.TIMESTAMPTZ: "DATETIME(6)",
    v.FLOAT4: "DOUBLE",
    v.FLOAT8: "DOUBLE",
}
_FLOATS = (v.FLOAT4, v.FLOAT8)

_DECLARED = re.compile(r"^(\w+)(?:\((\d+)(?:,(\d+))?\))?(.*)$")
_SIZED = re.compile(r"\((\d+)(?:,(-?\d+))?\)")


class Forms(NamedTuple):
    """What types a table gets that we create."""

    # False: PostgreSQL's text
    native: bool = True

    # The most digits after the point that a DECIMAL of the server has
    scale: int = 30


# As version 0.1.0 made them
TEXT = Forms(native=False)

MARIADB = Forms(scale=38)
MYSQL = Forms(scale=30)


class Declared(NamedTuple):
    """A column type as information_schema has it: `decimal(10,2)` is decimal, 10, 2."""

    name: str
    size: int
    scale: int
    more: str  # unsigned, zerofill


def declared(text: str) -> Declared:
    """Parses a column type."""
    text = text.lower()
    found = _DECLARED.match(text)
    if found is None:
        return Declared(text, 0, 0, "")

    name, size, scale, more = found.groups()
    return Declared(name, int(size or 0), int(scale or 0), more.strip())


# ---- the types we create


def column_type(  # noqa: PLR0911 - one for each type
    target: Target,
    index: int,
    forms: Forms = MARIADB,
) -> str:
    """Returns the type we create, without collation.

    Raises FrontTableWrong where the key would not fit into an index.
    """
    column = target.columns[index]
    in_key = index in target.key

    if column.builtin and column.type_oid in _INTEGERS:
        return _INTEGERS[column.type_oid]
    if column.builtin and column.type_oid == v.BOOL:
        return "TINYINT(1)"
    native = _native_type(column, forms, in_key)
    if native:
        return native

    if in_key:
        room = _key_room(target, forms)
        if column.type_oid == v.BYTEA:
            return f"VARBINARY({room})"
        width = _key_width(column) or room // 4
        return f"VARCHAR({width})"

    if column.builtin and column.type_oid == v.BYTEA:
        return "LONGBLOB"
    width = _width(column)
    if width <= _SHORT and _short_bytes(target, forms) <= _ROW_BYTES:
        return f"VARCHAR({width})"
    return "LONGTEXT"


def _native_type(column: FrontColumn, forms: Forms, in_key: bool) -> str:
    """Returns the database's own type for a column; '' where none holds what is usual."""
    if not forms.native or not column.builtin:
        return ""
    if in_key and column.type_oid in _FLOATS:
        return ""

    digits = _digits(column)
    if digits is None:
        return _NATIVE.get(column.type_oid, "")

    before, after = digits
    total = before + after
    if total > _MOST_DIGITS or after > forms.scale:
        return ""
    return f"DECIMAL({total},{after})"


def sized(column: FrontColumn) -> tuple[int, int] | None:
    """Returns length and 0, or precision and scale, of a PostgreSQL type that has them."""
    found = _SIZED.search(column.type_name)
    if found is None:
        return None
    return int(found[1]), int(found[2] or 0)


def _width(column: FrontColumn) -> int:
    """Returns the characters that every value's text fits into."""
    if not column.builtin:
        return _UNBOUNDED

    size = sized(column)
    if size and column.type_oid in (v.VARCHAR, v.BPCHAR):
        length, _ = size
        return length

    if size and column.type_oid == v.NUMERIC:
        precision, scale = size
        digits = max(precision, scale, precision - scale)
        return digits + 3  # sign, point, zero before it

    return _WIDTHS.get(column.type_oid, _UNBOUNDED)


def _digits(column: FrontColumn) -> tuple[int, int] | None:
    """Returns the digits before and after the point of a numeric; None where it has no limit."""
    size = sized(column)
    if column.type_oid != v.NUMERIC or size is None:
        return None

    precision, scale = size
    before = max(precision - scale, 0)
    after = max(scale, 0)
    return before, after


# ---- room in a row and in the key


def _short_bytes(target: Target, forms: Forms) -> int:
    """Returns the bytes of a row for the key, and for the columns that are kept in the row."""
    taken = KEY_BYTES
    for i, column in enumerate(target.columns):
        if i in target.key:
            continue

        width = _width(column)
        if _native_type(column, forms, in_key=False):
            taken += _NATIVE_BYTES
        elif width <= _SHORT:
            taken += 4 * width + 2
    return taken


def _key_width(column: FrontColumn) -> int:
    """Returns the characters that a key column takes for itself.

    0: it shares what the others leave.
    """
    if column.type_oid == v.BYTEA:
        return 0
    width = _width(column)
    return width if width <= _SHORT else 0


def _key_bytes(column: FrontColumn, forms: Forms) -> int:
    """Returns the bytes that a key column takes for itself; 0: it shares what the others leave."""
    if not column.builtin:
        return 0
    if _native_type(column, forms, in_key=True):
        return _NATIVE_BYTES
    if column.type_oid in _BYTES:
        return _BYTES[column.type_oid]
    return 4 * _key_width(column)


def _key_room(target: Target, forms: Forms) -> int:
    """Returns the bytes for each key column without a short length of its own."""
    columns = [target.columns[i] for i in target.key]
    taken = [_key_bytes(column, forms) for column in columns]
    sharing = taken.count(0)
    room = (KEY_BYTES - sum(taken)) // max(1, sharing)

    # One character at least
    least = 4 if sharing else 0
    if room < least:
        names = [column.name for column in columns]
        reason = phrase(
            "its key ({names}) does not fit into the {size} bytes of an index",
            names=", ".join(names),
            size=KEY_BYTES,
        )
        raise FrontTableWrong(resource=target.resource, table=target.name, reason=reason)
    return room


def row_size(target: Target, forms: Forms) -> int:
    """Computes the bytes that a row of the table we create takes in an InnoDB page, at the most.

    The server reckons so when it creates a table, whose rows must fit into half a page of 16 KiB.
    """
    size = _HEADER + len(target.columns) // 8
    for i, _ in enumerate(target.columns):
        kind = declared(column_type(target, i, forms))
        size += _stored_bytes(kind)
    return size + _TECHNICAL * len(target.technical)


def _stored_bytes(kind: Declared) -> int:
    """Computes the bytes of one column; of a long value only the beginning is in the row itself."""
    fixed = SIZES | _NATIVE_SIZES
    if kind.name in fixed:
        return fixed[kind.name]
    if kind.name == "decimal":
        return 4 * (kind.size // 9 + 2)

    size = kind.size
    if kind.name in ("longtext", "longblob"):
        size = _UNBOUNDED
    elif kind.name == "varchar":
        size = 4 * kind.size
    return 2 + min(_INLINE, size)


# ---- the types of existing columns


def holds(target: Target, index: int, found: Declared) -> bool:
    """Whether a column of that type takes all usual values, and gives each back exactly."""
    column = target.columns[index]
    in_key = index in target.key
    wanted = declared(column_type(target, index, TEXT))

    if found.name in TEXTS:
        in_index = in_key and wanted.name == "varchar"
        width = wanted.size if in_index else _width(column)
        return (found.size or TEXTS[found.name]) >= width

    if not column.builtin:
        return False
    if wanted.name in ("longblob", "varbinary"):
        return found.name == wanted.name and found.size >= wanted.size
    if found.more:
        return False
    if wanted.name in SIZES:
        return SIZES.get(found.name, 0) >= SIZES[wanted.name]
    return _holds_native(column, found, in_key)


def _holds_native(column: FrontColumn, found: Declared, in_key: bool) -> bool:
    """Whether a column that is no text loses no digit."""
    digits = _digits(column)
    if digits is not None and found.name == "decimal":
        before, after = digits
        found_before = found.size - found.scale
        return found_before >= before and found.scale >= after

    if column.type_oid in _FLOATS:
        return found.name == "double" and not found.size and not in_key

    wanted = declared(_NATIVE.get(column.type_oid, ""))
    places = wanted.size
    size = sized(column)
    if size:
        places = min(size[0], 6)
    return found.name == wanted.name and found.size >= places


def ordered(column: FrontColumn, found: Declared) -> bool:
    """Whether the column's order is PostgreSQL's.

    That goes for what the column holds, and for the place that `Values.bound` gives to what it
    cannot hold.
    """
    if not column.builtin:
        return False
    if column.type_oid in _INTEGERS:
        return found.name in SIZES
    return found.name in ("decimal", "date", "time", "datetime")
