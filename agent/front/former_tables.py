"""An agent's tables as version 0.1 named them, without the agent's name: found for readers, and moved to their own names by a writer."""

from collections.abc import Collection

from sqlalchemy import Connection, Table, delete, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from agent.front.schema import SUFFIXES, AgentTables, former_name, table_name

_BATCHES = 20  # of the outbox, moved in one transaction where tables cannot be renamed


def former_suffixes(connection: Connection, agent: str) -> frozenset[str]:
    """Which of this agent's tables have their former names; none where those are another agent's, or may not be read."""
    try:
        return _own_former_suffixes(connection, agent)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        connection.rollback()
        return frozenset()


def _own_former_suffixes(connection: Connection, agent: str) -> frozenset[str]:
    found = inspect(connection)
    own, old = AgentTables(agent).state, AgentTables(agent, SUFFIXES).state
    if found.has_table(own.name) and connection.execute(select(own.c.id)).first() is not None:
        return frozenset()
    if not found.has_table(old.name):
        return frozenset()
    if connection.execute(select(old.c.agent_name)).scalar() != agent:
        return frozenset()
    names = set(found.get_table_names())
    return frozenset(suffix for suffix in SUFFIXES if former_name(suffix) in names)


def in_order(suffixes: Collection[str]) -> list[str]:
    """The state comes last: as long as it has its former name, the next attempt goes on with what is left."""
    return sorted(suffixes, key=lambda suffix: (suffix == "state", suffix))


def renames(agent: str, suffixes: Collection[str]) -> list[tuple[str, str]]:
    """Former and own name of each table, in the order in which they are renamed."""
    return [(former_name(suffix), table_name(agent, suffix)) for suffix in in_order(suffixes)]


def move_rows(connection: Connection, agent: str, suffixes: Collection[str]) -> None:
    """Moves the rows where the agent may not rename its tables; can be killed and repeated. The former tables stay, empty."""
    own, old = AgentTables(agent), AgentTables(agent, SUFFIXES)
    own.metadata.create_all(connection)
    connection.commit()
    tables = {suffix: _pair(own, old, suffix) for suffix in in_order(suffixes)}
    for suffix, (target, source) in tables.items():
        if suffix == "outbox":
            _move_outbox(connection, target, source)
        columns = [column.name for column in source.columns]
        connection.execute(insert(target).from_select(columns, select(source)))
        connection.execute(delete(source))
        connection.commit()


def _pair(own: AgentTables, old: AgentTables, suffix: str) -> tuple[Table, Table]:
    return (
        own.metadata.tables[table_name(own.agent, suffix)],
        old.metadata.tables[former_name(suffix)],
    )


def _move_outbox(connection: Connection, target: Table, source: Table) -> None:
    """Moves all but the last batches, some at a time: one statement for gigabytes would outlast the session's patience."""
    columns = [column.name for column in source.columns]
    oldest = select(source.c.batch).distinct().order_by(source.c.batch).limit(_BATCHES)
    while batches := connection.execute(oldest).scalars().all():
        some = source.c.batch.in_(batches)
        connection.execute(insert(target).from_select(columns, select(source).where(some)))
        connection.execute(delete(source).where(some))
        connection.commit()
