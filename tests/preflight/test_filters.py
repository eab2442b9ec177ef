"""Tests filters in init and check.

What is no value of the column's type is named, and a sample shows what a filter does.
"""

from typing import Any

import psycopg
import pytest

from agent.connectors.postgres.session import connect
from agent.connectors.postgres.setup import filter_samples
from agent.connectors.postgres.setup.filter_samples import check_filters
from agent.connectors.postgres.setup.inspection import inspect
from agent.errors import ConfigInvalid
from agent.findings import Finding
from agent.preflight.checks import check
from tests.preflight.conftest import PERSON, Unit

TABLE = """
    create table held (
        id int primary key, district char(8), secret boolean, kind app.kind, never text
    )
"""
HELD = {"name": "held", "table": "public.held", "columns": ["id"]}


def holding(unit: Unit, *conditions: dict[str, Any], rows: int = 10) -> Unit:
    """Shares a table of so many rows under these conditions, as the second resource."""
    unit.execute(
        """create table if not exists "人员" (id int primary key, "姓名" text, secret text)""",
        "create schema app",
        "create type app.kind as enum ('a', 'b')",
        TABLE,
        "insert into held select n, "
        "case when n % 2 = 0 then '000000' else '310101' end, n % 5 = 0, 'a' "
        f"from generate_series(1, {rows}) n",
    )
    return unit.share(PERSON, HELD | {"filter": list(conditions)})


def tried(unit: Unit) -> list[Finding]:
    """Returns what the sample says."""
    with connect(unit.settings.postgres) as connection:
        return check_filters(connection, inspect(unit.subscription, connection).shareable)


def test_a_wrong_value_stops_init_and_is_named_by_its_plan_and_by_check(unit: Unit) -> None:
    """All of them at once; no slot, no publication and no front end come of it."""
    wrong = holding(
        unit,
        {"column": "district", "not_in": ["000000", "1234567890"]},
        {"column": "secret", "is_in": [True, "perhaps"]},
    )
    places = ["resource[1].filter[0].not_in[1]", "resource[1].filter[1].is_in[1]"]
    with pytest.raises(ConfigInvalid) as caught:
        wrong.initialise()
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == places
    assert (wrong.slots(), wrong.value("select count(*) from pg_publication")) == (0, 0)
    told = "\n".join(wrong.initialise(apply=False))
    found = next(finding for finding in check(wrong.settings) if finding.code == "CONFIG_INVALID")
    assert all(place in told and place in found.message for place in places)
    assert "1234567890" not in told + found.message


def test_a_sample_shows_what_each_condition_keeps(source: Unit) -> None:
    """In rows; and the conditions together, where there are several."""
    holding(
        source,
        {"column": "district", "not_in": ["000000"]},
        {"column": "secret", "not_in": ["true"]},
    )
    assert [(finding.level, finding.message) for finding in tried(source)] == [
        ("ok", "held: filter[0] shares 5 of 10 rows of a sample"),
        ("ok", "held: filter[1] shares 8 of 10 rows of a sample"),
        ("ok", "held: filter shares 4 of 10 rows of a sample"),
    ]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"column": "district", "not_in": ["999999"]}, 10),
        ({"column": "district", "is_in": ["999999"]}, 0),
        ({"column": "never", "is_null": False}, 0),
    ],
)
def test_a_filter_that_keeps_all_or_none_is_a_warning(
    source: Unit, condition: dict[str, Any], kept: int
) -> None:
    """With a statement that shows the column's values."""
    (found,) = tried(holding(source, condition))
    assert (found.level, found.message) == (
        "warning",
        f"held: filter[0] shares {kept} of 10 rows of a sample",
    )
    statement = found.fix.partition(": ")[2]
    assert source.value(statement.rstrip(";")) in ("000000  ", "310101  ", None)


def test_a_table_that_cannot_be_tried(source: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty, or locked for longer than check waits."""
    holding(source, {"column": "district", "is_in": ["310101"]}, rows=0)
    (empty,) = tried(source)
    assert (empty.level, "is empty" in empty.message) == ("ok", True)
    monkeypatch.setattr(filter_samples, "_PATIENCE", "100ms")
    with psycopg.connect(source.conninfo) as owner:
        owner.execute("lock table held")
        (locked,) = tried(source)
        assert (locked.level, "in time" in locked.message) == ("ok", True)


def test_the_schema_of_a_type_is_granted(unit: Unit) -> None:
    """A role that may read the column may not yet name its type.

    init grants it that right, as check says.
    """
    holding(unit, {"column": "kind", "is_in": ["a"]})
    admin = unit.settings.postgres
    role = f"r_{unit.settings.agent}"
    url = f"postgresql://{admin.user}@{admin.host}:{admin.port}/{admin.database}"
    unit.change(source={"user": role})
    try:
        unit.execute(
            f'create role "{role}" login replication',
            f'grant select on all tables in schema public to "{role}"',
        )
        wrong = next(f for f in check(unit.settings) if f.code == "RIGHT_TYPE_SCHEMA")
        assert wrong.fix == f'GRANT USAGE ON SCHEMA "app" TO "{role}";'
        told = "\n".join(unit.initialise(url))
        assert 'GRANT USAGE ON SCHEMA "app"' in told
        assert "RIGHT_TYPE_SCHEMA" not in {finding.code for finding in check(unit.settings)}
    finally:
        unit.execute(f'drop owned by "{role}"', f'drop role "{role}"')
