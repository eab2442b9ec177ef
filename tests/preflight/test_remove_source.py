"""Tests `sync-agent remove-source` at a PostgreSQL business database: slot and publication."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from agent.cli import app
from agent.connectors.opening import setup_of
from agent.connectors.postgres.setup import statements
from agent.errors import AnotherAgent, InitRefused
from agent.front.opening import open_front
from tests.preflight.conftest import TABLE, Unit
from tests.waiting import eventually


def told(unit: Unit, capsys: pytest.CaptureFixture[str], apply: bool = False) -> str:
    """Returns what `remove-source` tells."""
    capsys.readouterr()
    app.remove_source(unit.settings, apply, None)
    return capsys.readouterr().out


def publications(unit: Unit) -> int:
    """Publications of the business database."""
    return int(unit.value("select count(*) from pg_publication"))


def test_slot_and_publication_are_named_and_taken_away(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the service holds the front end, or somebody reads the slot, nothing is done."""
    unit.initialise()
    slot, publication = unit.subscription.slot, unit.subscription.publication
    plan = told(unit, capsys)
    assert f"SELECT pg_drop_replication_slot('{slot}');" in plan
    assert f'DROP PUBLICATION "{publication}";' in plan
    front = open_front(unit.settings.front, unit.settings.agent)
    front.open("nonce")
    with pytest.raises(AnotherAgent):
        app.remove_source(unit.settings, apply=True, admin_url=None)
    front.close()

    stream = f"START_REPLICATION SLOT {slot} LOGICAL 0/0"
    options = f"(proto_version '1', publication_names '{publication}')"
    with closing(psycopg.connect(f"{unit.conninfo} replication=database")) as reader:
        reader.pgconn.exec_(f"{stream} {options}".encode())
        with pytest.raises(InitRefused, match="is being read"):
            app.remove_source(unit.settings, apply=True, admin_url=None)
    eventually(lambda: not unit.value("select active from pg_replication_slots"), what="it is free")
    assert (unit.slots(), publications(unit)) == (1, 1)

    done = told(unit, capsys, apply=True)
    assert "Nothing of this agent is in the business database" in done
    assert (unit.slots(), publications(unit)) == (0, 0)
    assert "Nothing of this agent" in told(unit, capsys)
    assert unit.initialise()
    assert (unit.slots(), publications(unit)) == (1, 1)


def test_a_missing_right_is_told_with_the_statement(source: Unit) -> None:
    """What was made by an administrator is taken away by one."""
    name = source.subscription.publication
    source.execute(f'create publication "{name}"', "create role blind_remover login replication")
    administrator = source.settings.postgres.user
    source.change(source={"user": "blind_remover"})
    with pytest.raises(InitRefused, match="DROP PUBLICATION"):
        setup_of(source.settings).remove(print, None)
    address = source.settings.postgres
    url = f"postgresql://{administrator}@{address.host}:{address.port}/{address.database}"
    setup_of(source.settings).remove(print, url)
    assert (publications(source), roles(source)) == (0, 0)


@pytest.fixture
def reader(any_source: Unit) -> Iterator[Unit]:
    """A source that `init --apply --as` has prepared, but for the slot, with a role of its own."""
    unit = any_source
    unit.execute(TABLE)
    names = unit.subscription
    user = f"reader_{names.source.database}"
    unit.change(source={"user": user})
    for statement in (
        statements.role(user),
        *statements.grants(unit.subscription),
        statements.create_publication(unit.subscription, generated=False),
    ):
        unit.execute(statement)
    yield unit
    unit.execute("drop table if exists further", f'drop table if exists "{user}"')
    if unit.value(f"select count(*) from pg_roles where rolname = '{user}'"):
        unit.execute(f'drop owned by "{user}" cascade', f'drop role "{user}"')


def removed(unit: Unit) -> list[str]:
    """Runs `remove-source --apply --as`; returns what it says of the role that stays."""
    address = unit.settings.postgres
    url = f"postgresql://postgres@{address.host}:{address.port}/{address.database}"
    setup = setup_of(unit.settings)
    setup.remove(print, url)
    return list(setup.removal(url).stays)


def roles(unit: Unit) -> int:
    """Counts the agent's role."""
    user = unit.settings.postgres.user
    return int(unit.value(f"select count(*) from pg_roles where rolname = '{user}'"))


def test_a_role_of_the_agent_alone_goes_with_its_rights(reader: Unit) -> None:
    assert removed(reader) == []
    assert (roles(reader), publications(reader)) == (0, 0)


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        ('create table further (a int); grant select on further to "{user}"', "may something"),
        ('grant select on pg_catalog.pg_authid to "{user}"', "may something"),
        ('create table "{user}" (a int); alter table "{user}" owner to "{user}"', "owns"),
        ('alter table "人员" owner to "{user}"', "owns"),
        ('alter schema public owner to "{user}"', "owns"),
        ('create policy p on "人员" to "{user}" using (true)', "may something"),
        ('grant pg_monitor to "{user}"', "may something"),
        ('alter role "{user}" superuser', "administers"),
    ],
)
def test_a_role_that_somebody_else_may_use_stays(reader: Unit, use: str, reason: str) -> None:
    """Nothing is taken from it."""
    user = reader.settings.postgres.user
    reader.execute(*use.format(user=user).split("; "))
    (stays,) = removed(reader)
    assert reason in stays
    assert publications(reader) == 0
    table = reader.subscription.resources[0].table
    may = f"select has_column_privilege('{user}', '{table}', 'id', 'select')"
    assert reader.value(may)
