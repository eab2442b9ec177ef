"""Tests two agents in one front-end database: each has its own tables and locks.

What version 0.1 has left, whose tables bore no agent's name, is tested too.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, inspect, text

from agent.errors import AnotherAgent, FrontTableTaken
from agent.front import migration
from agent.front.base import Batch
from agent.front.first_version import FURTHER
from agent.front.layout import former_tables
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.schema import SUFFIXES, AgentTables, former_name, table_name
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.outbox.reader import Published, Reader
from tests.front.conftest import IDENTITY, PLAIN, WORDS, fetch, progress, put, sql, write
from tests.services.mariadb import MariaDbAddress, execute

LONG = "a" * 63
OLD = [suffix for suffix in SUFFIXES if suffix not in FURTHER]
MOVED = [suffix for suffix in OLD if suffix != "state"]
FORMER_STATE = {name: value for name, value in IDENTITY.items() if name != "identity"} | {
    "system_id": "1",
    "timeline": 1,
    "slot": "slot",
}


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is held is held at once."""
    monkeypatch.setattr("agent.front.postgres.front._LOCK_PATIENCE", 0.5)
    monkeypatch.setattr("agent.front.mariadb.front._LOCK_PATIENCE", 1)


class Shared(NamedTuple):
    """One database for several agents; `postgres_url` is '' where it is another kind."""

    kind: str
    url: str
    new: Callable[[str], SqlFront]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    """Returns an empty database, reached with just the rights that the handbook names."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/front.db"
        return Shared("sqlite", url, lambda agent: SqliteFront(url, 5.0, agent))
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb_url")
        return Shared("mariadb", url, lambda agent: MariaDbFront(url, None, 5.0, agent))
    url = request.getfixturevalue("postgres_url")
    return Shared("postgres", url, lambda agent: PostgresFront(url, None, 5.0, agent))


def initialised(shared: Shared, agent: str, resource: str = "words") -> SqlFront:
    """Returns an agent's front end after `init --apply`."""
    front = shared.new(agent)
    front.initialise(IDENTITY | {"agent_name": agent}, {resource: f"{agent}.{resource}"})
    return front


def leave_former(shared: Shared, agent: str = "unit") -> None:
    """What version 0.1 leaves behind: its tables, with something in each that must not be lost."""
    front, old = shared.new(agent), former_tables(agent)
    old.metadata.create_all(
        front.engine, tables=[old.metadata.tables[former_name(name)] for name in OLD]
    )
    with front.engine.begin() as connection:
        connection.execute(
            insert(old.state).values(id=1, **FORMER_STATE | {"agent_name": agent, "number": 60})
        )
        connection.execute(
            insert(old.published).values(
                id=1, number=7, event_id="e", batch=0, position="0/8", time_us=1
            )
        )
        one = {"name": WORDS.resource, "topic": "unit.words", "state": "live", "code": ""}
        connection.execute(
            insert(old.resource).values(**one, details="{}", generation=3, seq=60, event_time_us=1)
        )
        batches = [
            {"batch": n, "part": 0, "first_number": n, "last_number": n, "time_us": 1}
            for n in range(1, 61)
        ]
        connection.execute(insert(old.outbox), [row | {"payload": b"x"} for row in batches])
        connection.execute(
            insert(old.holes).values(name=WORDS.resource, digest="d", row_key='["a"]')
        )
    front.engine.dispose()


def taken_over(front: SqlFront) -> None:
    """Everything that `leave_former` left is the agent's."""
    stored = front.open("nonce")
    assert (stored.epoch, stored.number, stored.resources["words"].generation) == (1, 60, 3)
    assert {name: set(keys) for name, keys in stored.holes.items()} == {"words": {("a",)}}
    reader = Reader(front.engine, "unit")
    assert reader.published().number == 7
    assert reader.backlog(0).events == 60
    assert reader.waiting(0).batches[0] == Batch(1, 1, 1, b"x")
    front.close()


# ---- side by side


def test_each_has_its_own_state(shared: Shared) -> None:
    """Both are open at once, and what one writes changes nothing of the other's.

    The same agent is kept out a second time.
    """
    tax, permits = initialised(shared, "tax", "plain"), initialised(shared, LONG)
    tax.create(PLAIN)
    permits.create(WORDS)
    assert (tax.open("one").epoch, permits.open("two").epoch) == (1, 1)
    with pytest.raises(AnotherAgent):
        shared.new("tax").open("three")
    write(permits, WORDS, {("a", "1"): put(("a", "1"))})
    permits.begin()
    permits.store(Batch(1, 1, 1, b"one"), 5)
    permits.commit(progress("0/30", number=1, batch=1))
    ours, theirs = Reader(permits.engine, LONG), Reader(tax.engine, "tax")
    assert (ours.identity().number, theirs.identity().number) == (1, 0)
    assert (ours.backlog(0).events, theirs.backlog(0).events) == (1, 0)
    assert ours.mark_published(Published(1, "id", 1, "0/30", 5))
    assert (ours.published().number, theirs.published().number) == (1, 0)
    assert fetch(permits, WORDS, ("a", "1")) == {("a", "1"): ("a", "1")}
    tax.close()
    permits.close()
    assert shared.new("tax").open("four").epoch == 2


def test_two_schemas_are_two_front_ends(database: str, postgres_url: str) -> None:
    """Agents of one name in two schemas of a PostgreSQL database are two agents."""
    fronts = []
    for schema in ("one", "two"):
        sql(database, f"CREATE SCHEMA {schema}")
        name = sql(database, "SELECT current_database()")[0][0]
        role = sql(database, "SELECT current_user")[0][0]
        sql(database, f'ALTER ROLE "{role}" IN DATABASE "{name}" SET search_path = {schema}')
        front = PostgresFront(postgres_url, None, 1.0, "unit")
        front.initialise(IDENTITY, {"words": "unit.words"})
        assert front.open("nonce").epoch == 1
        with pytest.raises(AnotherAgent):
            PostgresFront(postgres_url, None, 1.0, "unit").open("other")
        fronts.append(front)
    for front in fronts:
        front.close()


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)


@settings(max_examples=30)
@given(NAMES, NAMES)
def test_names_fit_and_tell_agents_apart(one: str, other: str) -> None:
    """PostgreSQL cuts a name after 63 bytes; none may become another agent's by it."""
    for suffix in SUFFIXES:
        assert len(table_name(one, suffix)) <= 63
    mine, theirs = AgentTables(one).metadata.tables, AgentTables(other).metadata.tables
    assert (one == other) == bool(mine.keys() & theirs.keys())
    assert not mine.keys() & former_tables(one).metadata.tables.keys()


def test_names_that_differ_at_their_end_only() -> None:
    """Both are cut."""
    assert table_name(LONG, "state") != table_name(LONG[:-1] + "b", "state")


def test_a_table_belongs_to_one_agent(shared: Shared) -> None:
    """Names are compared as the database compares them.

    The table is free when its agent has released it.
    """
    tax, permits = initialised(shared, "tax"), initialised(shared, LONG)
    tax.claim(WORDS)
    tax.claim(WORDS)
    tax.refuse_taken(WORDS)
    other = WORDS._replace(resource="other")
    with pytest.raises(FrontTableTaken, match="agent tax"):
        permits.claim(other)
    loud = other._replace(table="WORDS")
    if shared.kind == "sqlite":
        with pytest.raises(FrontTableTaken):
            permits.refuse_taken(loud)
    else:
        permits.claim(loud)
    tax.release(WORDS.resource)
    permits.claim(other)
    with pytest.raises(FrontTableTaken, match="a" * 20):
        tax.claim(WORDS)


def test_a_table_in_another_schema_is_found(database: str, postgres_url: str) -> None:
    """Each agent has its own schema, and one writes into the other's."""
    fronts = []
    name, role = sql(database, "SELECT current_database(), current_user")[0]
    for number, schema in enumerate(("one", "two")):
        sql(database, f"CREATE SCHEMA {schema}")
        sql(database, f'ALTER ROLE "{role}" IN DATABASE "{name}" SET search_path = {schema}')
        front = PostgresFront(postgres_url, None, 1.0, f"agent{number}")
        front.initialise(IDENTITY | {"agent_name": f"agent{number}"}, {"words": "unit.words"})
        fronts.append(front)
    fronts[1].claim(WORDS)
    with pytest.raises(FrontTableTaken, match="agent1"):
        fronts[0].claim(WORDS._replace(schema="two"))
    sql(database, f'ALTER ROLE "{role}" IN DATABASE "{name}" SET search_path = one')
    fronts[0].claim(WORDS)


# ---- what version 0.1 left


def test_former_tables_are_read_and_then_renamed(shared: Shared) -> None:
    """A command beside reads them as they are; the first writer gives them the agent's name."""
    leave_former(shared)
    front = shared.new("unit")
    reader = Reader(front.engine, "unit")
    assert (reader.identity().number, reader.published().number) == (60, 7)
    assert (front.stored_state() or {})["number"] == 60
    taken_over(front)
    with front.engine.connect() as connection:
        names = set(inspect(connection).get_table_names())
        old = [name for name in (former_name(suffix) for suffix in OLD) if name in names]
        for name in old:  # where the rights do not suffice to rename them they stay, empty
            assert connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() == 0
    assert shared.kind == "mariadb" or not old
    assert set(AgentTables("unit").metadata.tables) <= names
    taken_again = shared.new("unit")
    assert taken_again.open("again").epoch == 2
    taken_again.close()


@pytest.mark.parametrize("shared", ["mariadb"], indirect=True)
@pytest.mark.parametrize("steps", [0, 3, len(MOVED)])
def test_an_ended_move_goes_on(shared: Shared, steps: int) -> None:
    """Killed between two tables: nothing is lost and nothing is twice."""
    leave_former(shared)
    front = shared.new("unit")
    with front.engine.connect() as connection:
        migration.move_rows(connection, "unit", MOVED[:steps])
    taken_over(front)


@pytest.mark.parametrize("steps", [1, len(MOVED) - 1, len(MOVED)])
def test_an_ended_renaming_goes_on(
    mariadb_server: MariaDbAddress, mariadb_url: str, steps: int
) -> None:
    """MariaDB renames several tables one after the other."""
    shared = Shared(
        "mariadb", mariadb_url, lambda agent: MariaDbFront(mariadb_url, None, 5.0, agent)
    )
    leave_former(shared)
    front = shared.new("unit")
    administrator = mariadb_server.url.set(database=front.engine.url.database).render_as_string(
        hide_password=False
    )
    for before, after in migration.pairs("unit", MOVED)[:steps]:
        execute(administrator, f"RENAME TABLE {before} TO {after}")
    taken_over(front)


def hold_former(shared: Shared, front: SqlFront) -> Callable[[], None]:
    """Takes the lock as version 0.1 does; returns what gives it back."""
    if shared.kind == "sqlite":
        descriptor = os.open(f"{front.engine.url.database}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return lambda: os.close(descriptor)
    connection = front.engine.connect()
    if shared.kind == "postgres":
        connection.execute(text(f"SELECT pg_advisory_lock({0x53594E43}, 0)"))
    else:
        database = connection.execute(text("SELECT database()")).scalar_one()
        name = f"sync_agent.{hashlib.blake2b(database.encode(), digest_size=16).hexdigest()}"
        assert connection.execute(text("SELECT get_lock(:name, 0)"), {"name": name}).scalar() == 1
    return connection.close


def test_a_process_of_version_01_keeps_its_successor_out(shared: Shared) -> None:
    """It knows the former lock alone. Another agent does not mind it."""
    leave_former(shared)
    give_back = hold_former(shared, shared.new("unit"))
    with pytest.raises(AnotherAgent):
        shared.new("unit").open("nonce")
    beside = initialised(shared, "beside")
    assert beside.open("nonce").epoch == 1
    beside.close()
    give_back()
    taken_over(shared.new("unit"))


def test_former_tables_of_another_agent_are_left_alone(shared: Shared) -> None:
    """They neither serve nor stand in the way."""
    leave_former(shared)
    beside = initialised(shared, "beside")
    assert (beside.stored_state() or {})["agent_name"] == "beside"
    assert beside.open("nonce").number == 0
    beside.close()
    taken_over(shared.new("unit"))


# ---- SQLite's one write lock


def test_two_writers_of_one_file_take_turns(tmp_path: Path) -> None:
    """A writer that begins again at once after each commit does not starve the other.

    The other one is served after at most a few commits of the first.
    """
    url = f"sqlite:///{tmp_path}/front.db"
    shared = Shared("sqlite", url, lambda agent: SqliteFront(url, 10.0, agent))
    fronts = [initialised(shared, name) for name in ("one", "two")]
    for front in fronts:
        front.open("nonce")
    over, counts, failures = threading.Event(), [0, 0], list[Exception]()

    def work(number: int) -> None:
        front = fronts[number]
        try:
            while not over.is_set():
                front.begin()
                threading.Event().wait(0.02)  # the transaction of a busy agent
                front.commit(progress("0/20"))
                counts[number] += 1
                if min(counts) >= 20:
                    over.set()
        except Exception as error:  # noqa: BLE001 - it is told below
            failures.append(error)
            over.set()

    threads = [threading.Thread(target=work, args=[number]) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert min(counts) >= 20
    assert max(counts) <= 3 * min(counts) + 5
    for front in fronts:
        front.close()
