"""Columns of a SQLite front end: types we create, types that keep values, and values."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from agent.resource import FrontColumn, FrontRow, Target
from agent.values import column_types
from agent.values.floats import FLOAT4_DIGITS, FLOAT8_DIGITS, float_writer
from agent.values.rows import Key
from agent.values.writing import boolean_text, bytes_text

INTEGERS = (
    column_types.INT2,
    column_types.INT4,
    column_types.INT8,
    column_types.OID,
)
FLOATS = (
    column_types.FLOAT4,
    column_types.FLOAT8,
)

# https://www.sqlite.org/datatype3.html section 3.1, in its order; the first match decides
_AFFINITIES = (
    (r"INT", "INTEGER"),
    (r"CHAR|CLOB|TEXT", "TEXT"),
    (r"BLOB|^$", "BLOB"),
    (r"REAL|FLOA|DOUB", "REAL"),
)

# The types we create. Floats get no affinity, for REAL turns NaN into NULL; numeric is TEXT, for
# NUMERIC loses digits.
_TYPES = {
    column_types.INT2: "INTEGER",
    column_types.INT4: "INTEGER",
    column_types.INT8: "INTEGER",
    column_types.OID: "INTEGER",
    column_types.BOOL: "INTEGER",
    column_types.FLOAT4: "",
    column_types.FLOAT8: "",
    column_types.BYTEA: "BLOB",
}

# By the type that we create: the affinities of existing columns that keep a value as it is
_KEEPS = {
    "INTEGER": ("INTEGER", "BLOB"),
    "": ("BLOB",),
    "BLOB": ("BLOB",),
    "TEXT": ("TEXT", "BLOB"),
}


def affinity(declared: str) -> str:
    """Returns SQLite's affinity of a declared column type."""
    declared = declared.upper()
    for pattern, name in _AFFINITIES:
        if re.search(pattern, declared):
            return name
    return "NUMERIC"


def column_type(column: FrontColumn) -> str:
    """Returns the type that we create."""
    return _TYPES.get(column.type_oid, "TEXT")


def keeps(column: FrontColumn, declared: str) -> bool:
    """Whether a column that was declared so keeps every value as it is."""
    created = column_type(column)
    return affinity(declared) in _KEEPS[created]


# ---- values


def _boolean_in(text: str) -> int:
    return 1 if text == "t" else 0


def _float_in(text: str) -> object:
    if text in ("NaN", "Infinity", "-Infinity"):
        # SQLite would turn NaN into NULL
        return text
    return float(text)


def _bytes_in(text: str) -> bytes:
    digits = text[2:]
    return bytes.fromhex(digits)


# By type: PostgreSQL's text as a value of SQLite, and the way back. Others are texts as they are.
IN: dict[int, Callable[[str], object]] = {
    column_types.INT2: int,
    column_types.INT4: int,
    column_types.INT8: int,
    column_types.OID: int,
    column_types.BOOL: _boolean_in,
    column_types.FLOAT4: _float_in,
    column_types.FLOAT8: _float_in,
    column_types.BYTEA: _bytes_in,
}
OUT: dict[int, Callable[[Any], str]] = {
    column_types.BOOL: boolean_text,
    column_types.FLOAT4: float_writer(FLOAT4_DIGITS),
    column_types.FLOAT8: float_writer(FLOAT8_DIGITS),
    column_types.BYTEA: bytes_text,
}


class Values:
    """Turns rows and keys of one table into SQLite's values, and what was read into texts."""

    def __init__(self, target: Target) -> None:
        self._row_in: list[Callable[[str], object]] = []
        self._row_out: list[Callable[[Any], str]] = []
        for column in target.columns:
            self._row_in.append(IN.get(column.type_oid, str))
            self._row_out.append(OUT.get(column.type_oid, str))

        self._key_in = [self._row_in[i] for i in target.key]
        self._key_out = [self._row_out[i] for i in target.key]

    def row(self, row: FrontRow) -> tuple[object, ...]:
        """Returns the values of a row."""
        values: list[object] = []
        for convert, text in zip(self._row_in, row, strict=True):
            values.append(None if text is None else convert(text))
        return tuple(values)

    def key(self, key: Key) -> tuple[object, ...]:
        """Returns the values of a key."""
        pairs = zip(self._key_in, key, strict=True)
        return tuple([convert(part) for convert, part in pairs])

    def texts(self, row: Sequence[Any]) -> FrontRow:
        """Returns the texts of a row that was read."""
        texts: list[str | None] = []
        for convert, value in zip(self._row_out, row, strict=True):
            texts.append(None if value is None else convert(value))
        return tuple(texts)

    def key_texts(self, row: Sequence[Any]) -> Key:
        """Returns the texts of a key that was read."""
        pairs = zip(self._key_out, row, strict=True)
        return tuple([convert(value) for convert, value in pairs])
