"""Mistakes that only a world finds: in schedules the table is always the same, and nobody has set anything.

Each names the kept world that must find it. Their edits follow the product's text, as those of tests/faults/bugs.py do.
"""

from typing import NamedTuple

from tests.faults.bugs import Bug, Edit


class Planted(NamedTuple):
    """A planted bug, and the kept world that finds it."""

    bug: Bug
    world: str


PLANTED: tuple[Planted, ...] = (
    Planted(
        Bug(
            "time_zone_of_the_role",
            "sessions take their time zone from what somebody has set for the role or the database",
            (Edit("events/values.py", '    "TimeZone": "UTC",\n', ""),),
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
    Planted(
        Bug(
            "key_of_another_spelling",
            "an upsert leaves the key as it stands, and a look-up takes any equal one",
            (
                Edit(
                    "front/postgres.py",
                    "        return not all(_SPELLED_ONCE.match(self._type(target, i)) for i in target.key)\n",
                    "        return False\n",
                ),
            ),
        ),
        "interval-key-written-as-days",
    ),
    Planted(
        Bug(
            "operators_of_the_session",
            "pages name the operators of a key without their schema",
            (
                Edit(
                    "connectors/postgres/pages.py",
                    """\
    schema, name = named
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(schema), sql.SQL(name))
""",
                    """\
    return sql.SQL(named[1])
""",
                ),
            ),
        ),
        "citext-off-the-search-path",
    ),
)
