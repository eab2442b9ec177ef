"""Tests every reason to refuse a table, found on a real server.

The SQL of each finding repairs it.
"""

from typing import Any

import psycopg
import pytest

from agent.connectors.postgres.setup import inspection
from agent.connectors.postgres.setup.inspection import Inspection
from agent.findings import Finding
from tests.preflight.conftest import Unit

NOTE: dict[str, Any] = {"name": "note", "table": "public.Note", "columns": ["id", "a"]}


def inspect(unit: Unit) -> Inspection:
    with psycopg.connect(unit.conninfo, autocommit=True) as connection:
        return inspection.inspect(unit.subscription, connection)


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def only(findings: list[Finding], code: str) -> Finding:
    found = [finding for finding in findings if finding.code == code]
    assert len(found) == 1, findings
    return found[0]


REPAIRED_BY_SQL = {
    "no key": (['create table "Note" (id int not null, a text)'], "KEY_MISSING", "ADD COLUMN"),
    "nothing": (
        [
            'create table "Note" (id int primary key, a text)',
            'alter table "Note" replica identity nothing',
        ],
        "IDENTITY_NOTHING",
        "DEFAULT",
    ),
    "nothing without a primary key": (
        [
            'create table "Note" (id int not null unique, a text)',
            'alter table "Note" replica identity nothing',
        ],
        "IDENTITY_NOTHING",
        "USING INDEX",
    ),
    "deferrable primary key": (
        ['create table "Note" (id int primary key deferrable, a text)'],
        "KEY_DEFERRABLE",
        "DROP CONSTRAINT",
    ),
    "full without a primary key": (
        [
            'create table "Note" (id int not null unique, a text)',
            'alter table "Note" replica identity full',
        ],
        "KEY_MISSING",
        "USING INDEX",
    ),
    "nullable unique index": (
        ['create table "Note" (id int unique, a text)'],
        "KEY_MISSING",
        "SET NOT NULL",
    ),
    "partial index": (
        [
            'create table "Note" (id int not null, a text)',
            'create unique index on "Note" (id) where a is null',
        ],
        "KEY_MISSING",
        'ADD PRIMARY KEY ("id")|ADD COLUMN',
    ),
    "expression index": (
        [
            'create table "Note" (id int not null, a text)',
            'create unique index on "Note" (lower(a))',
        ],
        "KEY_MISSING",
        "ADD COLUMN",
    ),
    "usable index that is not named": (
        ['create table "Note" (id int not null unique, a text)'],
        "KEY_MISSING",
        "USING INDEX",
    ),
    "deferrable unique constraint": (
        ['create table "Note" (id int unique deferrable, a text)'],
        "KEY_MISSING",
        'ADD PRIMARY KEY ("id")',
    ),
    "partition of a table with a named index": (
        [
            'create table "Note" (id int not null, a text) partition by hash (id)',
            (
                'create table mid partition of "Note" for values with (modulus 1, remainder 0) '
                "partition by hash (id)"
            ),
            'create table "Leaf" partition of mid for values with (modulus 1, remainder 0)',
            'create unique index u on "Note" (id)',
            'alter table "Note" replica identity using index u',
        ],
        "LEAF_IDENTITY",
        "USING INDEX",
    ),
    "unlogged": (
        ['create unlogged table "Note" (id int primary key, a text)'],
        "TABLE_UNLOGGED",
        "SET LOGGED",
    ),
    "partition with nothing": (
        [
            'create table "Note" (id int primary key, a text) partition by hash (id)',
            'create table "Note 0" partition of "Note" for values with (modulus 1, remainder 0)',
            'alter table "Note 0" replica identity nothing',
        ],
        "LEAF_IDENTITY",
        "REPLICA IDENTITY DEFAULT",
    ),
}


@pytest.mark.parametrize("case", REPAIRED_BY_SQL)
def test_a_table_is_refused_and_repaired_by_the_sql_of_its_finding(
    any_source: Unit, case: str
) -> None:
    statements, code, fix = REPAIRED_BY_SQL[case]
    any_source.share(NOTE).execute(*statements)
    finding = only(inspect(any_source).tables, code)
    assert finding.level == "error"
    assert "public.Note" in finding.message
    assert any(part in finding.fix for part in fix.split("|")), finding.fix
    any_source.execute(*finding.fix.splitlines())
    after = inspect(any_source).tables
    if codes(after) == {"KEY_UNLISTED"}:  # a new column: the configuration has to name it
        any_source.share(NOTE | {"columns": [*NOTE["columns"], "row_id"]})
        after = inspect(any_source).tables
    assert codes(after) == {"TABLE_OK"}


REPAIRED_BY_SETTINGS: dict[str, tuple[list[str], dict[str, Any], str, dict[str, Any]]] = {
    "missing table": (
        ['create table "Note" (id int primary key, a text)'],
        {"table": "public.note"},
        "TABLE_MISSING",
        {"table": "public.Note"},
    ),
    "view": (
        [
            'create table "Note" (id int primary key, a text)',
            'create view v as select * from "Note"',
        ],
        {"table": "public.v"},
        "TABLE_KIND",
        {"table": "public.Note"},
    ),
    "materialized view": (
        [
            'create table "Note" (id int primary key, a text)',
            'create materialized view v as select * from "Note"',
        ],
        {"table": "public.v"},
        "TABLE_KIND",
        {"table": "public.Note"},
    ),
    "foreign table": (
        [
            'create table "Note" (id int primary key, a text)',
            "create foreign data wrapper w",
            "create server s foreign data wrapper w",
            "create foreign table f (id int, a text) server s",
        ],
        {"table": "public.f"},
        "TABLE_KIND",
        {"table": "public.Note"},
    ),
    "partition": (
        [
            'create table "Note" (id int primary key, a text) partition by hash (id)',
            'create table part partition of "Note" for values with (modulus 1, remainder 0)',
        ],
        {"table": "public.part"},
        "TABLE_PARTITION",
        {"table": "public.Note"},
    ),
    "missing column": (
        ['create table "Note" (id int primary key, a text)'],
        {"columns": ["id", "A"]},
        "COLUMN_MISSING",
        {"columns": ["id", "a"]},
    ),
    "missing filter column": (
        ['create table "Note" (id int primary key, a text)'],
        {"filter": [{"column": "b", "is_null": True}]},
        "COLUMN_MISSING",
        {"filter": [{"column": "a", "is_null": True}]},
    ),
    "key not listed": (
        ['create table "Note" (id int primary key, a text)'],
        {"columns": ["a"]},
        "KEY_UNLISTED",
        {"columns": ["id", "a"]},
    ),
}


@pytest.mark.parametrize("case", REPAIRED_BY_SETTINGS)
def test_a_configuration_is_refused_that_the_table_does_not_fit(
    any_source: Unit, case: str
) -> None:
    statements, wrong, code, right = REPAIRED_BY_SETTINGS[case]
    any_source.share(NOTE | wrong).execute(*statements)
    finding = only(inspect(any_source).tables, code)
    assert finding.level == "error"
    assert finding.fix
    any_source.share(NOTE | right)
    assert codes(inspect(any_source).tables) == {"TABLE_OK"}


@pytest.mark.parametrize("identity", ["default", "full", "using index u"])
@pytest.mark.parametrize("partitioned", [False, True])
def test_usable_keys_pass(any_source: Unit, identity: str, partitioned: bool) -> None:
    suffix = " partition by hash (id)" if partitioned else ""
    any_source.execute(
        f'create table "Note" (id int primary key, a text){suffix}',
        'create unique index u on "Note" (id)',
    )
    if partitioned:
        any_source.execute(
            'create table leaf partition of "Note" for values with (modulus 1, remainder 0)'
        )
    any_source.execute(f'alter table "Note" replica identity {identity}')
    if partitioned and identity == "full":
        any_source.execute("alter table leaf replica identity full")
    if partitioned and identity == "using index u":
        any_source.execute("alter table leaf replica identity using index leaf_id_idx")
    found = inspect(any_source.share(NOTE))
    assert codes(found.tables) == {"TABLE_OK"}
    assert found.catalogued["public", "Note"].table.key == ("id",)


def test_a_foreign_partition_is_refused(source: Unit) -> None:
    source.share(NOTE).execute(
        'create table "Note" (id int not null, a text) partition by hash (id)',
        "create foreign data wrapper w",
        "create server s foreign data wrapper w",
        'create foreign table leaf partition of "Note" '
        "for values with (modulus 1, remainder 0) server s",
    )
    assert "LEAF_KIND" in codes(inspect(source).tables)


def test_an_unlogged_partition_is_repaired(any_source: Unit) -> None:
    any_source.share(NOTE).execute(
        'create table "Note" (id int primary key, a text) partition by hash (id)',
        'create unlogged table leaf partition of "Note" for values with (modulus 1, remainder 0)',
    )
    finding = only(inspect(any_source).tables, "LEAF_KIND")
    any_source.execute(finding.fix)
    assert codes(inspect(any_source).tables) == {"TABLE_OK"}


def test_inheritance_children_are_named(any_source: Unit) -> None:
    any_source.share(NOTE).execute(
        'create table "Note" (id int primary key, a text)',
        'create table "Child" () inherits ("Note")',
    )
    finding = only(inspect(any_source).tables, "TABLE_CHILDREN")
    assert finding.level == "warning"
    assert '"Child"' in finding.message


# ---- generated columns ----


def test_a_stored_generated_column_needs_18(any_source: Unit) -> None:
    any_source.share(NOTE).execute(
        'create table "Note" (id int primary key, a int generated always as (id * 2) stored)'
    )
    found = inspect(any_source)
    if any_source.value("show server_version_num") >= "180000":
        assert codes(found.tables) == {"TABLE_OK"}
        assert found.generated
    else:
        assert codes(found.tables) == {"COLUMN_GENERATED"}


def test_a_virtual_generated_column_is_refused(source: Unit) -> None:
    source.share(NOTE).execute(
        'create table "Note" (id int primary key, a int generated always as (id * 2) virtual)'
    )
    assert codes(inspect(source).tables) == {"COLUMN_VIRTUAL"}
    assert not inspect(source.share(NOTE | {"columns": ["id"]})).generated


def test_full_identity_with_a_virtual_column_is_refused_for_the_applications_sake(
    source: Unit,
) -> None:
    """The application's UPDATE would fail; the SQL of the finding is the way out."""
    source.share(NOTE).execute(
        'create table "Note" (id int primary key, a text, '
        "v int generated always as (id * 2) virtual)",
        'alter table "Note" replica identity full',
        'insert into "Note" values (1)',
        'create publication p for table "Note"',
    )
    with pytest.raises(psycopg.errors.InvalidColumnReference):
        source.execute('update "Note" set a = 1')
    finding = only(inspect(source).tables, "IDENTITY_VIRTUAL")
    source.execute(finding.fix, 'update "Note" set a = 1')
    assert codes(inspect(source).tables) == {"TABLE_OK"}


def test_full_identity_publishes_stored_generated_columns_for_the_applications_sake(
    source: Unit,
) -> None:
    """On 18 an UPDATE fails where FULL identity has an unpublished stored generated column."""
    source.share(NOTE).execute(
        'create table "Note" (id int primary key, a text, '
        "s int generated always as (id * 2) stored)",
        'alter table "Note" replica identity full',
        'insert into "Note" values (1)',
        'create publication p for table "Note"',
    )
    with pytest.raises(psycopg.errors.InvalidColumnReference):
        source.execute('update "Note" set a = 1')
    assert inspect(source).generated
    source.execute(
        "alter publication p set (publish_generated_columns = stored)", 'update "Note" set a = 1'
    )
