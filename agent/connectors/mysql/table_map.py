"""Reads a table's description in the log: columns with types, signs, names, charsets and texts.

The optional part is there with `binlog_row_metadata = FULL` only. Sources: MySQL 9.7,
libs/mysql/binlog/event/rows_event.h (Table_map_event); MariaDB 11.8, sql/log_event.h.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from agent.connectors.mysql.packing import (
    Damaged,
    high_bits,
    number,
    octets,
    packed,
    packed_octets,
)
from agent.connectors.mysql.packing import name as name_of

# ---- types, as they are in the log

TINY, SHORT, LONG, FLOAT, DOUBLE = 1, 2, 3, 4, 5
TIMESTAMP, LONGLONG, INT24, DATE, TIME, DATETIME, YEAR = 7, 8, 9, 10, 11, 12, 13
NEWDATE, VARCHAR, BIT = 14, 15, 16
TIMESTAMP2, DATETIME2, TIME2 = 17, 18, 19
BLOB_COMPRESSED, VARCHAR_COMPRESSED = 140, 141
VECTOR, JSON, NEWDECIMAL, ENUM, SET = 242, 245, 246, 247, 248
BLOB, VAR_STRING, STRING, GEOMETRY = 252, 253, 254, 255

# Bytes of a type's metadata in the description; those without any are not here
_METADATA: Final = {
    FLOAT: 1,
    DOUBLE: 1,
    VARCHAR: 2,
    BIT: 2,
    TIMESTAMP2: 1,
    DATETIME2: 1,
    TIME2: 1,
    BLOB_COMPRESSED: 1,
    VARCHAR_COMPRESSED: 2,
    VECTOR: 1,
    JSON: 1,
    NEWDECIMAL: 2,
    ENUM: 2,
    SET: 2,
    BLOB: 1,
    VAR_STRING: 2,
    STRING: 2,
    GEOMETRY: 1,
}
_WITHOUT: Final = frozenset(
    (
        TINY,
        SHORT,
        LONG,
        LONGLONG,
        INT24,
        DATE,
        TIME,
        DATETIME,
        TIMESTAMP,
        YEAR,
        NEWDATE,
    )
)
_NUMBERS: Final = frozenset((TINY, SHORT, INT24, LONG, LONGLONG, FLOAT, DOUBLE, NEWDECIMAL))
TABLE_ID_BYTES: Final = 6  # bytes
# MySQL 8.0.15 has no sign of a YEAR in its log; 8.0.29 is known to have one, MariaDB from 10.5 on,
# too. Nothing in a description tells which it is, and a mistake would turn signs of other columns
_SIGNLESS_YEARS: Final = (8, 0, 15)
_SIGNED_YEARS: Final = (8, 0, 29)
# Those that have a collation in the log, which a VECTOR has, too
_TEXTS: Final = frozenset(
    (STRING, VAR_STRING, VARCHAR, BLOB, BLOB_COMPRESSED, VARCHAR_COMPRESSED, VECTOR)
)
_CHOICES: Final = frozenset((ENUM, SET))

# ---- the optional part

_SIGNS, _DEFAULT_CHARSET, _CHARSETS, _NAMES = 1, 2, 3, 4
_SET_TEXTS, _ENUM_TEXTS, _GEOMETRIES, _KEY, _KEY_WITH_PREFIXES = 5, 6, 7, 8, 9
_CHOICE_DEFAULT_CHARSET, _CHOICE_CHARSETS, _VISIBLE, _DIMENSIONS = 10, 11, 12, 13


class LoggedColumn(NamedTuple):
    """A column as the log describes it."""

    name: str
    type: int  # ENUM and SET are named here, although the log has them as STRING
    metadata: int  # of the type; its first byte is the higher one for STRING, ENUM and SET
    unsigned: bool
    collation: int  # the server's id; 0: none
    texts: tuple[bytes, ...]  # of ENUM and SET, in the charset of the collation
    visible: bool


class LoggedTable(NamedTuple):
    """A table as the log describes it before its rows."""

    id: int
    schema: str
    name: str
    columns: tuple[LoggedColumn, ...]
    key: tuple[str, ...]  # names of the primary key's columns; empty where the log has none


class NotFull(ValueError):
    """The description has no names: the server's `binlog_row_metadata` is not FULL."""


class SignsUnknown(ValueError):
    """It is not known which signs in the description are of which columns."""


def years_have_signs(version: str) -> bool | None:
    """Tells from the version of a server whether its log has a sign of each YEAR.

    None: it is not known.
    """
    if "mariadb" in version.lower():
        return True
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if numbers >= _SIGNED_YEARS:
        return True
    return False if numbers <= _SIGNLESS_YEARS else None


def table_map(body: bytes, *, with_years: bool | None = True) -> LoggedTable:
    """Reads a description. Raises Damaged, NotFull, SignsUnknown.

    `with_years`: what `years_have_signs` says of the server that has written it.
    """
    table_id, schema, name, start = _place(body)
    count, start = packed(body, start)
    if count > len(body):
        raise Damaged("a table has more columns than its description has bytes")
    kinds = octets(body, start, count)
    data, start = packed_octets(body, start + count)
    start += (count + 7) // 8  # which columns may be NULL: the rows say which are

    types, metadata = _types(kinds, data)
    fields = _fields(body, start)
    if _NAMES not in fields and count:
        raise NotFull(f"{schema}.{name}")

    names = [name_of(text) for text in _listed(fields.get(_NAMES, b""))]
    columns = _columns(names, types, metadata, fields, with_years)
    return LoggedTable(table_id, schema, name, columns, _key(fields, names))


def place_of(body: bytes) -> tuple[int, str, str]:
    """Returns id, schema and name alone: most descriptions are of tables that nobody shares."""
    table_id, schema, name, _ = _place(body)
    return table_id, schema, name


def _place(body: bytes) -> tuple[int, str, str, int]:
    table_id = number(body, 0, TABLE_ID_BYTES)
    schema, start = packed_octets(body, TABLE_ID_BYTES + 2)
    name, start = packed_octets(body, start + 1)
    return table_id, name_of(schema), name_of(name), start + 1


def _types(kinds: bytes, data: bytes) -> tuple[list[int], list[int]]:
    """Returns the columns' types and their metadata. Raises Damaged for a type nobody knows."""
    types: list[int] = []
    metadata: list[int] = []
    start = 0
    for listed in kinds:
        kind = listed
        size = _METADATA.get(kind, 0)
        if not size and kind not in _WITHOUT:
            raise Damaged(f"a column of a type that nobody knows: {kind}")
        value = number(data, start, size)
        if kind in (STRING, ENUM, SET, NEWDECIMAL):
            value = int.from_bytes(octets(data, start, size), "big")
        if kind == STRING and value >> 8 in _CHOICES:
            kind = value >> 8
        types.append(kind)
        metadata.append(value)
        start += size
    return types, metadata


def _fields(body: bytes, start: int) -> dict[int, bytes]:
    """Reads the optional part by its length, so that a field nobody knows is passed over."""
    fields: dict[int, bytes] = {}
    while start < len(body):
        kind = number(body, start, 1)
        fields[kind], start = packed_octets(body, start + 1)
    return fields


def _columns(
    names: Sequence[str],
    types: Sequence[int],
    metadata: Sequence[int],
    fields: dict[int, bytes],
    with_years: bool | None,
) -> tuple[LoggedColumn, ...]:
    count = len(types)
    if len(names) != count:
        raise Damaged("a table has another number of names than of columns")

    signs = _per_column(types, _signed(types, with_years), fields.get(_SIGNS, b""), high_bits)
    collations = _collations(types, _TEXTS, fields, _DEFAULT_CHARSET, _CHARSETS)
    collations |= _collations(types, _CHOICES, fields, _CHOICE_DEFAULT_CHARSET, _CHOICE_CHARSETS)
    texts = _texts(types, ENUM, fields.get(_ENUM_TEXTS, b""))
    texts |= _texts(types, SET, fields.get(_SET_TEXTS, b""))
    visible = [True] * count
    if _VISIBLE in fields:
        visible = high_bits(fields[_VISIBLE], count)

    columns = []
    for place in range(count):
        column = LoggedColumn(
            names[place],
            types[place],
            metadata[place],
            signs.get(place, False),
            collations.get(place, 0),
            texts.get(place, ()),
            visible[place],
        )
        columns.append(column)
    return tuple(columns)


def _signed(types: Sequence[int], with_years: bool | None) -> frozenset[int]:
    """Returns the types of which the log has a sign. Raises SignsUnknown."""
    if with_years is None and YEAR in types:
        raise SignsUnknown
    return _NUMBERS | {YEAR} if with_years else _NUMBERS


def _per_column(
    types: Sequence[int],
    wanted: frozenset[int],
    data: bytes,
    read: Callable[[bytes, int], list[bool]],
) -> dict[int, bool]:
    """Returns by place what a bitmap says of the columns of some types, in their order."""
    places = [place for place, kind in enumerate(types) if kind in wanted]
    if not data:
        return {}
    return dict(zip(places, read(data, len(places)), strict=True))


def _collations(
    types: Sequence[int],
    wanted: frozenset[int],
    fields: dict[int, bytes],
    default_field: int,
    each_field: int,
) -> dict[int, int]:
    """Returns by place the collations of the columns of some types.

    The log has one for all and those that differ, or one for each, whichever is shorter.
    """
    places = [place for place, kind in enumerate(types) if kind in wanted]
    if each_field in fields:
        each = _numbers(fields[each_field])
        if len(each) != len(places):
            raise Damaged("a table has another number of collations than of texts")
        return dict(zip(places, each, strict=True))
    if default_field not in fields:
        return {}

    listed = _numbers(fields[default_field])
    if not len(listed) % 2:
        raise Damaged("a table without a collation for all, or with half a pair")
    default, *pairs = listed
    found = dict.fromkeys(places, default)
    for which, collation in zip(pairs[::2], pairs[1::2], strict=True):
        if which >= len(places):
            raise Damaged("a collation of a column that is not there")
        found[places[which]] = collation
    return found


def _texts(types: Sequence[int], wanted: int, data: bytes) -> dict[int, tuple[bytes, ...]]:
    """Returns by place the texts of the columns of type ENUM, or SET."""
    found: dict[int, tuple[bytes, ...]] = {}
    start = 0
    for place, kind in enumerate(types):
        if kind != wanted or start >= len(data):
            continue
        count, start = packed(data, start)
        texts = []
        for _ in range(count):
            text, start = packed_octets(data, start)
            texts.append(text)
        found[place] = tuple(texts)
    return found


def _key(fields: dict[int, bytes], names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the primary key's columns, in its order."""
    places = _numbers(fields.get(_KEY, b""))
    if _KEY_WITH_PREFIXES in fields:
        places = _numbers(fields[_KEY_WITH_PREFIXES])[::2]
    for place in places:
        if place >= len(names):
            raise Damaged("a key of a column that is not there")
    return tuple(names[place] for place in places)


def _numbers(data: bytes) -> list[int]:
    found = []
    start = 0
    while start < len(data):
        value, start = packed(data, start)
        found.append(value)
    return found


def _listed(data: bytes) -> list[bytes]:
    found = []
    start = 0
    while start < len(data):
        text, start = packed_octets(data, start)
        found.append(text)
    return found
