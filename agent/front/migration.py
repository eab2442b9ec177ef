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

from agent.front.layout import PUBLICATION, aside, copy_now, find, former_tables, state_row
from agent.front.schema import VERSION, WITH_IDENTITY, AgentTables, former_name, table_name

_BATCHES = 20  # of the outbox, moved in one transaction where tables cannot be renamed


class Mover(Protocol):
    """What a database does in its own way."""

    def rename(self, connection: Connection, agent: str, suffixes: Sequence[str]) -> None:
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
        connection.execute(update(AgentTables(agent).state).values(version=VERSION))
    connection.commit()


def carry_the_name(connection: Connection, found: AgentTables, mover: Mover) -> None:
    """Gives the tables of 0.1.0 the agent's name; the state keeps its own until the last step."""
    suffixes = [suffix for suffix in found.names if suffix != "state"]
    if suffixes:
        mover.rename(connection, found.agent, sorted(suffixes))


def add_tables(connection: Connection, found: AgentTables, _: Mover) -> None:
    """Creates the tables that 0.1.0 had not: target, written, setting, refused."""
    own = AgentTables(found.agent)
    further = [table for table in own.metadata.tables.values() if table is not own.state]
    own.metadata.create_all(connection, tables=further)


def name_barriers(connection: Connection, found: AgentTables, _: Mover) -> None:
    """Writes the barrier of each copy as a text of the source's own."""
    copies = AgentTables(found.agent).copies
    for name, progress in connection.execute(select(copies.c.name, copies.c.progress)).all():
        text = json.dumps(copy_now(json.loads(progress)))
        connection.execute(update(copies).where(copies.c.name == name).values(progress=text))


def take_identity(connection: Connection, found: AgentTables, mover: Mover) -> None:
    """Makes the state with the source's identity and token in place of three columns."""
    own = AgentTables(found.agent)
    place = found.state.name
    if place == own.state.name:
        place = aside(found.agent)
        connection.exec_driver_sql(f"ALTER TABLE {own.state.name} RENAME TO {place}")
    own.state.create(connection, checkfirst=True)

    # The settings have their own name by now, and are all there.
    old = AgentTables(found.agent, found.version, {"state": place})
    row = state_row(connection, old)
    assert row is not None, "found by its row"
    connection.execute(insert(own.state).values(**row, version=WITH_IDENTITY))
    connection.execute(delete(own.settings).where(own.settings.c.name == PUBLICATION))
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
    return [(former_name(suffix), table_name(agent, suffix)) for suffix in suffixes]


def move_rows(connection: Connection, agent: str, suffixes: Sequence[str]) -> None:
    """Moves the rows of tables of 0.1.0; can be killed and repeated. Commits after each table.

    The former tables stay, empty.
    """
    own, old = AgentTables(agent), former_tables(agent)
    own.metadata.create_all(connection, tables=[own.table(suffix) for suffix in suffixes])
    connection.commit()
    for suffix in suffixes:
        target, source = own.table(suffix), old.table(suffix)
        if suffix == "outbox":
            _move_outbox(connection, target, source)
        columns = [column.name for column in source.columns]
        connection.execute(insert(target).from_select(columns, select(source)))
        connection.execute(delete(source))
        connection.commit()


def _move_outbox(connection: Connection, target: Table, source: Table) -> None:
    """Moves all but the last batches, some at a time.

    One statement for gigabytes would outlast the session's patience.
    """
    columns = [column.name for column in source.columns]
    oldest = select(source.c.batch).distinct().order_by(source.c.batch).limit(_BATCHES)
    while batches := connection.execute(oldest).scalars().all():
        some = source.c.batch.in_(batches)
        connection.execute(insert(target).from_select(columns, select(source).where(some)))
        connection.execute(delete(source).where(some))
        connection.commit()
