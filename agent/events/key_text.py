"""A key's JSON form turned back into PostgreSQL's text, where that is certain; the caller tries besides whether it gives the same JSON again."""

import re
from base64 import b64decode

from agent.events.values import BYTEA, DATE, MONEY, TIMESTAMP, TIMESTAMPTZ, TIMETZ

_YEAR = re.compile(r"\d{4}-|-?infinity$")  # other years have another form
_SEVERAL = (MONEY, TIMETZ)  # several texts have one form


def text_of(value: object, type_oid: int) -> str:
    """The text of a value of a key. Raises ValueError or TypeError where it cannot be told."""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise TypeError("a key holds no such value")
    if type_oid in _SEVERAL or (
        type_oid in (DATE, TIMESTAMP, TIMESTAMPTZ) and not _YEAR.match(value)
    ):
        raise ValueError("its text is not certain")
    if type_oid == BYTEA:
        return "\\x" + b64decode(value, validate=True).hex()
    if type_oid == TIMESTAMP:
        return value.replace("T", " ", 1)
    if type_oid == TIMESTAMPTZ and value.endswith("Z"):
        return value[:-1].replace("T", " ", 1) + "+00"
    return value
