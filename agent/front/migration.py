"""Brings an agent's own tables from the version that made them to the one of this program.

Each step leads to the version that is its number. All steps run under the agent's lock, in one
transaction where the database keeps DDL in transactions. MariaDB commits it at once: so each step
can be repeated, and the version is written last. The next start then heals what a kill has left.

MariaDB's handbook grants neither ALTER nor DROP. A step of a released version must get along with
CREATE and the rights to read and write rows: it makes a new table and moves the rows.
"""

import json
from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import Connection, Table, delete, insert, select, update

from agent.front.first_version import SOURCE_SETTING
from agent.front.layout import aside, copy_now, find, former_tables, state_row
from agent.front.schema import VERSION, WITH_IDENTITY, AgentTables, former_name, table_name

# Batches of the outbox that are moved in one transaction, where tables cannot be renamed
_BATCHES = 20


class Mover(Protocol):
    """What a database does in its own way."""

    def rename(
        self,
        connection: Connection,
        agent: str,
        suffixes: Sequence[str],
    ) -> None:
        """Gives tables of 0.1.0 the agent's name, or moves their rows to tables of that name."""

    def drop_emptied(self, connection: Connection, name: str) -> None:
        """Drops a table that has no rows any more, where the agent's role may."""


def migrate(connection: Connection, agent: str, mover: Mover) -> None:
    """Runs the steps that are missing, under the agent's lock. Commits. Raises NewerVersion."""
    found = find(connection, agent)
    if found.version < VERSION:
        for number, step in STEPS:
            if number > found.version:
                step(connection, found, mover)

        state = AgentTables(agent).state
        connection.execute(update(state).values(version=VERSION))

    connection.commit()


def carry_the_name(
    connection: Connection,
    found: AgentTables,
    mover: Mover,
) -> None:
    """Gives the tables of 0.1.0 the agent's name; the state keeps its own until the last step."""
    suffixes = [suffix for suffix in found.names if suffix != "state"]
    if suffixes:
        mover.rename(connection, found.agent, sorted(suffixes))


def add_tables(connection: Connection, found: AgentTables, _: Mover) -> None:
    """Creates the tables that 0.1.0 had not: target, written, setting, refused."""
    own = AgentTables(found.agent)
    tables = own.metadata.tables.values()
    further = [table for table in tables if table is not own.state]
    own.metadata.create_all(connection, tables=further)


def name_barriers(connection: Connection, found: AgentTables, _: Mover) -> None:
    """Writes the barrier of each copy as a text of the source's own."""
    copies = AgentTables(found.agent).copies
    question = select(copies.c.name, copies.c.progress)
    rows = connection.execute(question).all()
    for name, progress in rows:
        copy = copy_now(json.loads(progress))
        text = json.dumps(copy)
        mine = copies.c.name == name
        connection.execute(update(copies).where(mine).values(progress=text))


def take_identity(connection: Connection, found: AgentTables, mover: Mover) -> None:
    """Makes the state with the source's identity and token in place of three columns."""
    own = AgentTables(found.agent)
    state = own.state
    place = found.state.name
    if place == state.name:
        place = aside(found.agent)
        connection.exec_driver_sql(f"ALTER TABLE {state.name} RENAME TO {place}")
    state.create(connection, checkfirst=True)

    # The settings have their own name by now, and are all there.
    old = AgentTables(found.agent, found.version, {"state": place})
    row = state_row(connection, old)
    assert row is not None, "found by its row"
    connection.execute(insert(state).values(**row, version=WITH_IDENTITY))

    known = own.settings
    connection.execute(delete(known).where(known.c.name == SOURCE_SETTING))

    connection.execute(delete(old.state))
    mover.drop_emptied(connection, place)


Step = Callable[[Connection, AgentTables, Mover], None]
STEPS: list[tuple[int, Step]] = [
    (2, carry_the_name),
    (3, add_tables),
    (4, name_barriers),
    (5, take_identity),
]


# ---- where tables cannot be renamed


def pairs(agent: str, suffixes: Sequence[str]) -> list[tuple[str, str]]:
    """Returns former and own name of each table."""
    found = []
    for suffix in suffixes:
        former = former_name(suffix)
        own = table_name(agent, suffix)
        found.append((former, own))
    return found


def move_rows(connection: Connection, agent: str, suffixes: Sequence[str]) -> None:
    """Moves the rows of tables of 0.1.0; can be killed and repeated. Commits after each table.

    The former tables stay, empty.
    """
    own = AgentTables(agent)
    old = former_tables(agent)
    targets = [own.table(suffix) for suffix in suffixes]
    own.metadata.create_all(connection, tables=targets)
    connection.commit()

    for suffix in suffixes:
        target = own.table(suffix)
        source = old.table(suffix)
        if suffix == "outbox":
            _move_outbox(connection, target, source)

        columns = source.columns.keys()
        rows = select(source)
        copied = insert(target).from_select(columns, rows)
        connection.execute(copied)
        connection.execute(delete(source))
        connection.commit()


def _move_outbox(connection: Connection, target: Table, source: Table) -> None:
    """Moves all but the last batches, some at a time.

    One statement for gigabytes would outlast the session's patience.
    """
    columns = source.columns.keys()
    batch = source.c.batch
    oldest = select(batch).distinct().order_by(batch).limit(_BATCHES)

    while batches := connection.execute(oldest).scalars().all():
        some = batch.in_(batches)
        rows = select(source).where(some)
        copied = insert(target).from_select(columns, rows)
        connection.execute(copied)
        connection.execute(delete(source).where(some))
        connection.commit()
