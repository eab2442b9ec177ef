"""Plants mistakes that only a world finds.

In schedules the table is always the same, and nobody has set anything.

Each names the kept world that must find it. Their edits follow the product's text, as those of
tests/faults/bugs.py do.
"""

from typing import NamedTuple

from tests.faults.planting import Bug, Edit


class Planted(NamedTuple):
    """A planted bug, and the kept world that finds it."""

    bug: Bug
    world: str


PLANTED: tuple[Planted, ...] = (
    Planted(
        Bug(
            "time_zone_of_the_role",
            "sessions take their time zone from what somebody has set for the role or the database",
            (Edit("values/canonical.py", '    "TimeZone": "UTC",\n', ""),),
        ),
        "role-with-a-time-zone",
    ),
    Planted(
        Bug(
            "filter_as_it_was_written",
            "a filter compares what the person wrote with what the server writes",
            (
                Edit(
                    "connectors/postgres/filters.py",
                    "                texts.add(plainest(canonical, self.spelling))\n",
                    "                texts.add(text)\n",
                ),
            ),
        ),
        "boolean-filter-as-a-person-writes-it",
    ),
)
