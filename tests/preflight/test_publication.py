"""Tests the publication: the one of init can break nothing of the application.

Any other one is judged, and repaired by the SQL of its finding.
"""

import psycopg
import pytest

from agent.connectors.postgres.setup import inspection, preparation
from agent.connectors.postgres.setup.inspection import Inspection
from agent.connectors.readiness import refuse
from tests.preflight.conftest import Unit
from tests.preflight.test_table_checks import NOTE, codes, inspect, only

TABLES = {
    "plain": ['create table "Note" (id int primary key, a text, b int)'],
    "full": [
        'create table "Note" (id int primary key, a text, b int)',
        'alter table "Note" replica identity full',
    ],
    "index": [
        'create table "Note" (id int not null, a text, b int)',
        'create unique index u on "Note" (id)',
        'alter table "Note" replica identity using index u',
    ],
    "parent of a table without a key": [
        'create table "Note" (id int primary key, a text, b int)',
        'create table child () inherits ("Note")',
    ],
    "partitioned": [
        'create table "Note" (id int primary key, a text, b int) partition by range (id)',
        'create table leaf partition of "Note" for values from (0) to (1000)',
        'create table other partition of "Note" default',
    ],
    "stored generated": [
        (
            'create table "Note" (id int primary key, a text, b int, '
            "g int generated always as (id * 2) stored)"
        )
    ],
    "full with stored generated": [
        (
            'create table "Note" (id int primary key, a text, b int, '
            "g int generated always as (id * 2) stored)"
        ),
        'alter table "Note" replica identity full',
    ],
}
APPLICATION = [
    """insert into "Note" (id, a, b) select n, 'a', n from generate_series(1, 5) n""",
    (
        """insert into "Note" (id, a, b) values (1, 'x', 1) """
        "on conflict (id) do update set a = excluded.a"
    ),
    """update "Note" set a = 'b', b = b + 1""",
    """update "Note" set id = id + 5000 where id = 2""",
    """delete from "Note" where id = 3""",
    'alter table "Note" add column c int default 7',
    'update "Note" set c = 8',
    'alter table "Note" alter column b type bigint',
    'alter table "Note" alter column a type varchar(40)',
    'update "Note" set b = b + 1',
    'alter table "Note" drop column c',
    'alter table "Note" drop column a',
    'update "Note" set b = 0',
    'delete from "Note" where id = 4',
    'truncate "Note"',
]


def publish(unit: Unit) -> Inspection:
    """Makes init's publication for the unit."""
    with psycopg.connect(unit.conninfo, autocommit=True) as connection:
        found = inspection.inspect(unit.subscription, connection)
        refuse(found.tables)
        preparation.make_publication(unit.subscription, connection, found, unit.told.append)
        return inspection.inspect(unit.subscription, connection)


@pytest.mark.parametrize("case", TABLES)
def test_no_statement_of_the_application_fails(any_source: Unit, case: str) -> None:
    any_source.share(NOTE).execute(*TABLES[case])
    assert codes(publish(any_source).publication) == {"PUBLICATION_OK"}
    any_source.execute(*APPLICATION)
    if "child" in case:
        any_source.execute(
            "insert into child (id) values (1)", "update child set id = 2", "delete from child"
        )


def test_a_list_of_columns_would_make_them_fail(any_source: Unit) -> None:
    """Why there is none: the proof that the test above can fail."""
    any_source.execute(*TABLES["plain"], 'create publication p for table "Note" (id, a)')
    with pytest.raises(psycopg.Error):
        any_source.execute(*APPLICATION)


def test_shared_generated_columns_are_published(source: Unit) -> None:
    source.share(NOTE | {"columns": ["id", "g"]}).execute(*TABLES["stored generated"])
    assert publish(source).published is not None
    assert source.value("select pubgencols from pg_publication") == "s"


BROKEN = {
    "PUBLICATION_TABLES": ["create publication {p}"],
    "PUBLICATION_FILTER": ['create publication {p} for table "Note" where (id > 1)'],
    "PUBLICATION_COLUMNS": ['create publication {p} for table "Note" (id, a)'],
    "PUBLICATION_OPERATIONS": [
        """create publication {p} for table "Note" with (publish = 'insert, update')"""
    ],
    "PUBLICATION_ROOT": [
        'create publication {p} for table "Note" with (publish_via_partition_root = false)'
    ],
    "PUBLICATION_OTHERS": [
        "create table other (id int primary key)",
        'create publication {p} for table "Note", other',
    ],
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_wrong_publication_is_repaired_by_the_sql_of_its_finding(
    any_source: Unit, code: str
) -> None:
    any_source.share(NOTE).execute(*TABLES["plain"])
    any_source.execute(
        *(
            statement.format(p=any_source.settings.postgres.publication)
            for statement in BROKEN[code]
        )
    )
    if code != "PUBLICATION_ROOT":
        any_source.execute(
            f"alter publication {any_source.settings.postgres.publication} "
            "set (publish_via_partition_root = true)"
        )
    finding = only(inspect(any_source).publication, code)
    assert finding.level == ("warning" if code == "PUBLICATION_OTHERS" else "error")
    any_source.execute(finding.fix)
    assert codes(inspect(any_source).publication) == {"PUBLICATION_OK"}


def test_generated_columns_that_are_not_published_are_repaired(source: Unit) -> None:
    source.share(NOTE | {"columns": ["id", "g"]}).execute(*TABLES["stored generated"])
    source.execute(
        f"create publication {source.settings.postgres.publication} "
        'for table "Note" with (publish_via_partition_root = true)'
    )
    source.execute(only(inspect(source).publication, "PUBLICATION_GENERATED").fix)
    assert codes(inspect(source).publication) == {"PUBLICATION_OK"}


def test_a_publication_of_all_tables_works_with_a_warning(any_source: Unit) -> None:
    any_source.share(NOTE).execute(*TABLES["plain"])
    any_source.execute(
        f"create publication {any_source.settings.postgres.publication} "
        "for all tables with (publish_via_partition_root = true)"
    )
    assert only(inspect(any_source).publication, "PUBLICATION_ALL_TABLES").level == "warning"


def test_without_a_publication_nothing_is_judged(source: Unit) -> None:
    source.share(NOTE).execute(*TABLES["plain"])
    assert inspect(source).publication == []
