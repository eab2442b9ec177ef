"""Texts that a database holds in another encoding than it says: they are read as bytes."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, null

from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Kind, Stored


def encoded(
    kind: Kind,
    encoding: str,
    octets: Callable[[ColumnElement[Any]], ColumnElement[Any]],
    text_of: Callable[[bytes], Any],
) -> Kind:
    """Returns a kind of texts whose bytes are in an encoding.

    `octets` selects the bytes of a column, `text_of` makes of bytes what equals a column's text.
    """

    def write(value: Any) -> str:
        if not isinstance(value, bytes):
            raise TypeError("no bytes")
        found = kinds.text(value.decode(encoding))
        # Else another value would be looked for under its text
        if found.encode(encoding) != value:
            raise ValueError("several spellings")
        return found

    def bind(canonical: str) -> Any:
        try:
            return text_of(canonical.encode(encoding))
        except UnicodeEncodeError:
            return null()

    stored = Stored(encoding, octets)
    return kind._replace(write=write, bind=bind, select=octets, stored=stored)
