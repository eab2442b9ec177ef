"""Mistakes that only a world finds: schedules always have the same table, on which nothing is set.

Each is named with what is broken and the kept world that must find it. Their edits follow the product's text, as those of
tests/faults/bugs.py do; `make faults` runs each on its world and fails when nothing speaks.
"""

from typing import NamedTuple

from tests.faults.bugs import Bug, Edit


class Planted(NamedTuple):
    """A planted bug and the kept world, by name, that finds it."""

    bug: Bug
    world: str


PLANTED: tuple[Planted, ...] = ()

__all__ = ["PLANTED", "Bug", "Edit", "Planted"]
