"""The agent's own tables as 0.1.0 has left them: read as they are, and brought up to date."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from sqlalchemy import Engine, event, insert, inspect, select, text, update

from agent.errors import FrontUnfit, InitRefused, NewerVersion
from agent.front.base import Copy
from agent.front.first_version import FURTHER
from agent.front.layout import copy_now, find, former_tables
from agent.front.mariadb.front import MariaDbFront
from agent.front.migration import STEPS
from agent.front.postgres.front import PostgresFront
from agent.front.schema import SUFFIXES, VERSION, AgentTables, table_name
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.outbox.reader import Reader
from tests.front.conftest import sqlalchemy_url
from tests.services.mariadb import connected, execute
from tests.upgrade.left import Left

KNOWN = {"system_id": "71", "position": "0/9000000"}
IDENTITY = {"system_id": "71", "timeline": 1, "publication": ""}
COPY = '{"phase": "pages", "mark": ["7"], "horizon": 745, "began_us": 1, "rows": 3}'
COMMITTING = ("ALTER", "CREATE", "DROP", "RENAME")  # at once, where DDL is not in transactions


class Killed(Exception):
    """The process ends here."""


class Place(NamedTuple):
    """A database of one kind."""

    left: Left
    new: Callable[[], SqlFront]
    run: Callable[[list[str]], None]  # statements, as the owner of the database
    emptied: Callable[[], None]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database, reached with just the rights that the handbook of 0.1.0 names."""
    made = {"sqlite": in_sqlite, "postgres": in_postgres, "mariadb": in_mariadb}[request.param]
    return made(request, tmp_path)


def in_sqlite(_: pytest.FixtureRequest, folder: Path) -> Place:
    """A file."""
    path = folder / "front.db"

    def run(statements: list[str]) -> None:
        with closing(sqlite3.connect(path)) as file:
            file.executescript(";\n".join(statements) + ";")

    def emptied() -> None:
        for file in folder.iterdir():
            file.unlink()

    return Place(
        Left("sqlite"), lambda: SqliteFront(f"sqlite:///{path}", 5.0, "oldsqlite"), run, emptied
    )


def in_postgres(request: pytest.FixtureRequest, _: Path) -> Place:
    """A database of its own."""
    database = request.getfixturevalue("database")

    def run(statements: list[str]) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(";\n".join(statements).encode())

    def emptied() -> None:
        run(["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"])

    url = sqlalchemy_url(database)
    return Place(
        Left("postgres"), lambda: PostgresFront(url, None, 5.0, "oldpostgres"), run, emptied
    )


def in_mariadb(request: pytest.FixtureRequest, _: Path) -> Place:
    """A database of its own, in which the agent's user may neither rename nor drop."""
    server, url = (request.getfixturevalue(f"mariadb_{name}") for name in ("server", "database"))
    url = url.replace("mariadb://", "mariadb+pymysql://", 1)
    front = MariaDbFront(url, None, 5.0, "oldmariadb")
    administrator = server.url.set(database=front.engine.url.database)

    def run(statements: list[str]) -> None:
        with connected(administrator) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def emptied() -> None:
        name = front.engine.url.database
        for statement in (f"DROP DATABASE {name}", f"CREATE DATABASE {name}"):
            execute(server.url, statement)

    return Place(Left("mariadb"), lambda: MariaDbFront(url, None, 5.0, "oldmariadb"), run, emptied)


def leave(place: Place) -> None:
    """What the released version has left, and a copy that was under way."""
    copying = f"INSERT INTO sync_agent_copy (name, progress) VALUES ('person', '{COPY}')"
    place.run([*place.left.statements("front.sql", KNOWN), copying])


def contents(front: SqlFront) -> dict[str, Any]:
    """Every row of the agent's tables, and the version."""
    found: dict[str, Any] = {}
    with front.engine.connect() as connection:
        own = find(connection, front.agent)
        assert (own.version, own.names, own.missing) == (VERSION, {}, frozenset())
        for suffix in SUFFIXES:
            rows = connection.execute(select(own.table(suffix))).mappings().all()
            found[suffix] = sorted((dict(row) for row in rows), key=repr)
    for row in found["state"]:
        row.pop("nonce")
        row.pop("epoch")
    return found


def test_older_tables_are_read_as_they_are(place: Place) -> None:
    """By `status` and `check`: nothing is changed by looking."""
    leave(place)
    front = place.new()
    reader = Reader(front.engine, front.agent)
    record = place.left.record
    assert reader.identity().agent_uuid == record["agent"]
    assert reader.identity().number == 8
    assert reader.backlog(5).events == 3
    assert reader.resources()["person"]["state"] == "live"
    assert reader.copies() == {"person": Copy(mark=("7",), barrier="745", began_us=1, rows=3)}
    assert (reader.refused(), reader.refusals("person")) == ({}, [])
    stored = front.stored_state()
    assert stored is not None
    assert stored["identity"] == {**IDENTITY, "slot": f"sync_agent_{front.agent}"}
    assert (stored["token"], front.noted()) == ("", ({}, {"person": f"{front.agent}.person"}))
    with front.engine.connect() as connection:
        assert find(connection, front.agent).version == 1
    front.engine.dispose()


def test_a_writer_brings_them_up_to_date(place: Place) -> None:
    """Nothing is lost; a second opening finds nothing to do."""
    leave(place)
    front = place.new()
    stored = front.open("nonce")
    assert stored.resume.identity == {**IDENTITY, "slot": f"sync_agent_{front.agent}"}
    assert (stored.resume.position, stored.resume.token) == (KNOWN["position"], "")
    assert stored.copies["person"].barrier == "745"
    assert (stored.number, stored.epoch) == (8, 2)
    front.close()
    before = contents(front)
    again = place.new()
    assert again.open("nonce").epoch == 3
    again.close()
    assert contents(again) == before
    assert len(before["outbox"]) >= 3
    assert before["state"][0]["version"] == VERSION
    assert json.loads(before["copy"][0]["progress"])["barrier"] == "745"


def killed_at(front: SqlFront, number: int, act: Callable[[SqlFront], object]) -> bool:
    """Acts on a front end and ends before its DDL or commit of that number; False: there was none.

    What happens between two of these leaves nothing behind when the process ends.
    """
    count = 0

    def reached(*_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Killed

    def before(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().upper().startswith(COMMITTING):
            reached()

    engine: Engine = front.engine
    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "commit", reached)
    try:
        act(front)
    except Killed:
        return True
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "commit", reached)
        front.close()
        engine.dispose()
    return False


def opened(front: SqlFront) -> object:
    return front.open("nonce")


@pytest.mark.slow
@pytest.mark.no_cover  # the other tests here run the same code
def test_an_end_at_any_place_is_healed_by_the_next_start(place: Place) -> None:
    """Nothing is lost, doubled or left half."""
    leave(place)
    first = place.new()
    first.open("nonce")
    first.close()
    expected = contents(first)
    number, alive = 1, False
    while not alive:
        place.emptied()
        leave(place)
        alive = not killed_at(place.new(), number, opened)
        healed = place.new()
        assert healed.open("nonce").number == 8
        healed.close()
        assert contents(healed) == expected, number
        healed.engine.dispose()
        number += 1
    assert number > len(SUFFIXES)


def released(front: SqlFront) -> dict[str, Any] | None:
    """Every row of the tables as 0.1.0 has them; None where this version's hold the state."""
    found = {}
    with front.engine.connect() as connection:
        own = find(connection, front.agent)
        if own.version == VERSION:
            return None
        for suffix, name in own.names.items():
            assert name == f"sync_agent_{suffix}"
            rows = connection.execute(select(own.table(suffix))).mappings().all()
            found[suffix] = sorted((dict(row) for row in rows), key=repr)
    for row in found["state"]:
        row.pop("nonce")
        row.pop("epoch")
    return found


def test_the_way_back_ends_nowhere_between(place: Place) -> None:
    """Wherever it is killed, the state is that of one version or the other, and whole."""
    place.run(place.left.statements("front.sql", KNOWN))
    front = place.new()
    before = released(front)
    assert before is not None
    assert before.keys() == set(SUFFIXES) - {*FURTHER}
    front.open("nonce")
    front.close()
    expected = contents(front)

    number = 1
    while killed_at(place.new(), number, SqlFront.step_back):
        assert released(front) in (None, before)
        again = place.new()
        again.open("nonce")
        again.close()
        assert contents(again) == expected, number
        again.engine.dispose()
        number += 1
    assert number > 1
    assert released(front) == before
    front.engine.dispose()


def test_the_way_back_leaves_another_agent_alone(place: Place) -> None:
    """Version 0.1.0 had one agent in a front end."""
    place.run(place.left.statements("front.sql", KNOWN))
    front = place.new()
    with front.engine.connect() as connection:
        own = find(connection, front.agent)
        row = connection.execute(select(own.state)).mappings().one()
    others = {column.key: row[column] for column in own.state.columns}
    front.open("nonce")
    front.close()
    before = contents(front)

    state = former_tables(front.agent).state
    with front.engine.begin() as connection:
        state.create(connection, checkfirst=True)
        connection.execute(insert(state).values({**others, "agent_name": "other"}))
    with pytest.raises(InitRefused, match="belong to agent other"):
        front.step_back()
    assert contents(front) == before
    front.engine.dispose()


def test_tables_between_the_versions_are_brought_up_to_date(place: Place) -> None:
    """They had the agent's name and settings already, but no number."""
    leave(place)
    agent = place.left.agent
    renames = [
        f"ALTER TABLE {name} RENAME TO {table_name(agent, suffix)}"
        for suffix, name in ((s, f"sync_agent_{s}") for s in SUFFIXES)
        if suffix not in FURTHER
    ]
    setting = table_name(agent, "setting")
    place.run(
        [
            *renames,
            f"CREATE TABLE {setting} (name varchar(100) PRIMARY KEY, value varchar(249))",
            f"INSERT INTO {setting} VALUES ('source.publication', 'p'), ('kafka.prefix', 'k')",
        ]
    )
    front = place.new()
    stored = front.stored_state()
    assert stored is not None
    assert stored["identity"]["publication"] == "p"
    assert Reader(front.engine, agent).identity().number == 8
    if place.left.kind == "mariadb":  # these were never released, and ALTER is not granted
        with pytest.raises(FrontUnfit):
            front.open("nonce")
        return
    opened = front.open("nonce")
    assert (opened.identity["publication"], opened.settings) == ("p", {"kafka.prefix": "k"})
    front.close()
    assert contents(front)["state"][0]["version"] == VERSION


def test_a_newer_version_is_refused(place: Place) -> None:
    """By readers and writers alike, and nothing is changed."""
    leave(place)
    front = place.new()
    front.open("nonce")
    front.close()
    state = AgentTables(front.agent).state
    with front.engine.begin() as connection:
        connection.execute(update(state).values(version=VERSION + 1))
        connection.execute(text("SELECT 1"))
    for ask in (
        lambda: place.new().open("nonce"),
        lambda: place.new().stored_state(),
        lambda: Reader(place.new().engine, front.agent).identity(),
    ):
        with pytest.raises(NewerVersion, match=rf"format {VERSION + 1}; .* {VERSION}"):
            ask()
    with front.engine.connect() as connection:
        assert connection.execute(select(state.c.version)).scalar_one() == VERSION + 1
        assert state.name in inspect(connection).get_table_names()


def test_steps_are_numbered_without_a_gap() -> None:
    """The last one leads to this version."""
    assert [number for number, _ in STEPS] == list(range(2, VERSION + 1))
    for _, step in STEPS:
        assert step.__doc__


def test_a_barrier_of_today_is_left_alone() -> None:
    """The step can be repeated."""
    assert copy_now({"barrier": "7"}) == {"barrier": "7"}
    assert copy_now({"horizon": 0}) == {"barrier": ""}
