"""Rows as lines of PostgreSQL's COPY text format: what pages are read and compared as.

Source of the escapes: PostgreSQL manual, COPY, "Text Format". A line here has no line end.
"""

import re
from collections.abc import Sequence

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"[\\\b\f\n\r\v]")
_TABLE = str.maketrans({char: "\\" + letter for letter, char in _ESCAPES.items()})


def row_of(line: bytes) -> tuple[str | None, ...]:
    """Returns the values of a line; None is NULL."""
    text = line.decode()
    if "\\" not in text:
        return tuple(text.split("\t"))

    values: list[str | None] = []
    for part in text.split("\t"):
        if part == "\\N":
            values.append(None)
        elif "\\" in part:
            values.append(_ESCAPE.sub(_unescaped, part))
        else:
            values.append(part)
    return tuple(values)


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])


def line_of(row: Sequence[str | None]) -> bytes:
    """Returns the line of a row, as the server writes it."""
    text = "\t".join(["" if value is None else value for value in row])
    if text.count("\t") != len(row) - 1 or _SPECIAL.search(text) is not None:
        text = "\t".join(["\\N" if value is None else value.translate(_TABLE) for value in row])
    elif None in row:
        text = "\t".join(["\\N" if value is None else value for value in row])
    return text.encode()
