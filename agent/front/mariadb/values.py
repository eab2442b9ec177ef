"""Values of a MariaDB or MySQL front end: texts become literals, and what is read texts.

A value that a column cannot hold (NaN, infinity, years before Christ or past 9999) is refused here
and never left to the server, which even in strict mode cuts trailing spaces and rounds decimals
without an error.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

from agent.front.mariadb.columns import (
    MARIADB,
    SIZES,
    TEXTS,
    Declared,
    Forms,
    column_type,
    declared,
    ordered,
    sized,
)
from agent.messages import phrase
from agent.resource import FrontColumn, FrontRow, Target
from agent.values import column_types as v
from agent.values import writing
from agent.values.floats import FLOAT4_DIGITS, FLOAT8_DIGITS, float_writer
from agent.values.rows import Key

_FLOAT = re.compile(r"-?\d+(?:\.\d+)?(e[+-]?\d+)?")
_DATE = r"(\d{4}-\d\d-\d\d)"


class Unfit(Exception):
    """A value its column cannot hold; the argument names the column and never the value."""


class Beyond(Enum):
    """Where a value lies that no row can have."""

    BEFORE = "before every value"
    AFTER = "after every value"


# ---- values in: SQL literals


def quoted(text: str) -> str:
    """Returns a text as a literal.

    Sessions read backslashes as escapes (sql_mode is set and verified).
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fitting(
    name: str,
    limit: int,
    convert: Callable[[str], str],
) -> Callable[[str], str]:
    def literal(text: str) -> str:
        if len(text) > limit:
            # The server would cut trailing spaces without an error
            reason = phrase("a value is longer than column {name}", name=name)
            raise Unfit(reason)
        return convert(text)

    return literal


def _matching(name: str, pattern: str, form: str) -> Callable[[str], str]:
    """Returns what writes a text that matches; `form` takes the groups of the pattern."""
    shape = re.compile(pattern)

    def literal(text: str) -> str:
        match = shape.fullmatch(text)
        if match is None:
            reason = phrase(
                "column {name} cannot hold a value: no number, no date, too many digits, or a "
                "year outside 1 to 9999",
                name=name,
            )
            raise Unfit(reason)
        return form.format(*match.groups())

    return literal


def _decimal_shape(size: int, scale: int) -> str:
    """Returns the pattern of numbers of so many digits, of which so many follow the point."""
    before = rf"\d{{1,{size - scale}}}" if size > scale else "0"
    if not scale:
        return rf"(-?{before})"
    return rf"(-?{before}(?:\.\d{{1,{scale}}})?)"


def _time_shape(places: int) -> str:
    """Returns the pattern of times of day with at most so many places after the seconds."""
    if not places:
        return r"(\d\d:\d\d:\d\d)"
    return rf"(\d\d:\d\d:\d\d(?:\.\d{{1,{places}}})?)"


def _double(name: str) -> Callable[[str], str]:
    """Returns what writes a float with an exponent: without one it would be a DECIMAL."""

    def literal(text: str) -> str:
        match = _FLOAT.fullmatch(text)
        if match is None or text == "-0":
            # The server would make -0 a 0
            reason = phrase("column {name} cannot hold a value: NaN, infinity or -0", name=name)
            raise Unfit(reason)

        exponent = match[1]
        return text if exponent else text + "e0"

    return literal


def _binary(text: str) -> str:
    return f"X'{text[2:]}'"


def _encoder(  # noqa: PLR0911 - one for each type
    column: FrontColumn, found: Declared
) -> Callable[[str], str]:
    """Returns what writes the texts of a column as literals. The writer raises Unfit."""
    if found.name == "longtext":
        return quoted
    if found.name in TEXTS:
        return _fitting(column.name, found.size or TEXTS[found.name], quoted)
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
        case "varbinary":
            return _fitting(column.name, 2 + 2 * found.size, _binary)
        case "longblob":
            return _binary
    return lambda text: str(int(text))


# ---- values out: PostgreSQL's text


def _decoder(  # noqa: PLR0911 - one for each type
    column: FrontColumn, found: Declared
) -> Callable[[Any], str] | None:
    """Returns what writes a value as text; None where the driver gives the text already."""
    if found.name in TEXTS:
        return None
    if column.type_oid == v.BOOL:
        return writing.boolean_text

    match found.name:
        case "decimal":
            _, scale = sized(column) or (0, found.scale)
            return writing.decimal_writer(scale)
        case "datetime":
            zoned = column.type_oid == v.TIMESTAMPTZ
            return writing.instant_text if zoned else writing.datetime_text
        case "time":
            return writing.time_text
        case "double":
            if column.type_oid == v.FLOAT4:
                return float_writer(FLOAT4_DIGITS)
            return float_writer(FLOAT8_DIGITS)
        case "date":
            return writing.date_text
    return writing.integer_text if found.name in SIZES else writing.bytes_text


# ---- both ways, for one table


class Values:
    """Writes rows and keys of one table as literals, and what was read as PostgreSQL's text."""

    def __init__(
        self,
        target: Target,
        found: Mapping[str, Declared],
        forms: Forms = MARIADB,
    ) -> None:
        """`found` has the types of the columns as they are; of others those that we create."""
        self._encoders: list[Callable[[str], str]] = []
        self._decoders: list[tuple[int, Callable[[Any], str]]] = []
        self.ordered = True
        for i, column in enumerate(target.columns):
            kind = found.get(column.name)
            if kind is None:
                kind = declared(column_type(target, i, forms))

            self._encoders.append(_encoder(column, kind))
            decoder = _decoder(column, kind)
            if decoder is not None:
                self._decoders.append((i, decoder))

            if i in target.key and not ordered(column, kind):
                self.ordered = False

        decoders = dict(self._decoders)
        self._key_encoders = [self._encoders[i] for i in target.key]
        self._key_decoders = [decoders.get(i) for i in target.key]

    def row(self, row: FrontRow) -> list[str]:
        """Returns the literals of a row. Raises Unfit."""
        return [
            "NULL" if value is None else encode(value)
            for encode, value in zip(self._encoders, row, strict=True)
        ]

    def key(self, key: Key) -> list[str]:
        """Returns the literals of a key. Raises Unfit."""
        pairs = zip(self._key_encoders, key, strict=True)
        return [encode(part) for encode, part in pairs]

    def keys(self, keys: Iterable[Key]) -> Iterator[list[str]]:
        """Yields the literals of keys; one that a column cannot hold is in no row, and left out."""
        for key in keys:
            with suppress(Unfit):
                yield self.key(key)

    def bound(self, key: Key) -> list[str | Beyond]:
        """Returns the literals of a key that rows are compared with.

        What a column cannot hold lies before or after all that it can.
        """
        parts: list[str | Beyond] = []
        for encode, part in zip(self._key_encoders, key, strict=True):
            try:
                parts.append(encode(part))
            except Unfit:
                before = part.startswith("-") or part.endswith(" BC")
                parts.append(Beyond.BEFORE if before else Beyond.AFTER)
        return parts

    def texts(self, row: Sequence[Any]) -> FrontRow:
        """Returns the texts of a whole row that was read."""
        texts = list(row)
        for i, out in self._decoders:
            if texts[i] is not None:
                texts[i] = out(texts[i])
        return tuple(texts)

    def key_texts(self, parts: Sequence[Any]) -> Key:
        """Returns the texts of a key that was read."""
        texts = []
        for out, part in zip(self._key_decoders, parts, strict=True):
            texts.append(part if out is None else str(out(part)))
        return tuple(texts)
