"""Names of resources and front-end tables, made of those of source tables."""

import hashlib
import re
from collections.abc import Callable, Iterable

from agent.connectors.table import TableName

_LONGEST = 40  # characters of a resource's name
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")


def resource_name(place: TableName, taken: Callable[[str], bool]) -> str:
    """Returns a name for the resource of a table that no other has.

    The table's own, else with its schema before it, else with a number. A name in which nothing can
    be used, as one in Chinese, becomes `table_` and a part of its hash: it stays the same whichever
    tables are chosen beside it.
    """
    schema, table = place
    plain = _usable(table) or f"table_{_digest(place)}"
    wider = _usable(f"{schema}_{plain}")
    for name in (plain, wider):
        if not taken(name):
            return name
    return unused(plain, taken, _LONGEST)


def unused(name: str, taken: Callable[[str], bool], longest: int) -> str:
    """Returns the name, with the first number behind it that makes it one of its own."""
    if not taken(name):
        return name
    number = 2
    while True:
        ending = f"_{number}"
        found = f"{name[: longest - len(ending)]}{ending}"
        if not taken(found):
            return found
        number += 1


def fold(name: str) -> str:
    """Returns what names have in common that people take for one."""
    return name.lower()


def taken_by(names: Iterable[str]) -> Callable[[str], bool]:
    """Returns what tells whether one of these names is the same."""
    folded = {fold(name) for name in names}
    return lambda name: fold(name) in folded


def _usable(name: str) -> str:
    return _UNFIT.sub("_", name).strip("_-")[:_LONGEST].strip("_-")


def _digest(place: TableName) -> str:
    return hashlib.sha256(".".join(place).encode()).hexdigest()[:6]
