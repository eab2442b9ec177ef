"""Columns of a SQLite front end: types we create, types that keep values, and values."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from agent.resource import FrontColumn, FrontRow, Target
from agent.values import column_types
from agent.values.floats import FLOAT4_DIGITS, FLOAT8_DIGITS, float_writer
from agent.values.rows import Key
from agent.values.writing import boolean_text, bytes_text

INTEGERS = (column_types.INT2, column_types.INT4, column_types.INT8, column_types.OID)
FLOATS = (column_types.FLOAT4, column_types.FLOAT8)

# https://www.sqlite.org/datatype3.html section 3.1, in its order; the first match decides
_AFFINITIES = (
    (r"INT", "INTEGER"),
    (r"CHAR|CLOB|TEXT", "TEXT"),
    (r"BLOB|^$", "BLOB"),
    (r"REAL|FLOA|DOUB", "REAL"),
)

# The types we create. Floats get no affinity, for REAL turns NaN into NULL; numeric is TEXT, for
# NUMERIC loses digits.
_TYPES = dict.fromkeys((*INTEGERS, column_types.BOOL), "INTEGER") | {
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
    for pattern, name in _AFFINITIES:
        if re.search(pattern, declared.upper()):
            return name
    return "NUMERIC"


def column_type(column: FrontColumn) -> str:
    """Returns the type that we create."""
    return _TYPES.get(column.type_oid, "TEXT")


def keeps(column: FrontColumn, declared: str) -> bool:
    """Whether a column that was declared so keeps every value as it is."""
    return affinity(declared) in _KEEPS[column_type(column)]


# ---- values


def _float_in(text: str) -> object:
    # SQLite turns NaN into NULL
    return text if text in ("NaN", "Infinity", "-Infinity") else float(text)


# By type: PostgreSQL's text as a value of SQLite, and the way back. Others are texts as they are.
IN: dict[int, Callable[[str], object]] = dict.fromkeys(INTEGERS, int) | {
    column_types.BOOL: lambda text: 1 if text == "t" else 0,
    column_types.FLOAT4: _float_in,
    column_types.FLOAT8: _float_in,
    column_types.BYTEA: lambda text: bytes.fromhex(text[2:]),
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
        oids = [column.type_oid for column in target.columns]
        self._row_in = [IN.get(oid, str) for oid in oids]
        self._row_out = [OUT.get(oid, str) for oid in oids]
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
        return tuple([convert(part) for convert, part in zip(self._key_in, key, strict=True)])

    def texts(self, row: Sequence[Any]) -> FrontRow:
        """Returns the texts of a row that was read."""
        texts: list[str | None] = []
        for convert, value in zip(self._row_out, row, strict=True):
            texts.append(None if value is None else convert(value))
        return tuple(texts)

    def key_texts(self, row: Sequence[Any]) -> Key:
        """Returns the texts of a key that was read."""
        return tuple([convert(part) for convert, part in zip(self._key_out, row, strict=True)])
