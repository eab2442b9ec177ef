"""What is no longer shared and is still in the front end: tables and columns of this agent.

The agent has written them before; it names them, and takes them away when it is told to.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, inspect, select, update

from agent.config import ResourceSettings, Topics
from agent.config.names import column_fold
from agent.front.store import SqlFront
from agent.front.table_owners import Place
from agent.resource import Target


class Leftover(NamedTuple):
    """A table that nothing is shared into any more, or columns of one that goes on."""

    # The resource that it was written for
    resource: str

    place: Place

    # Empty: the whole table
    columns: tuple[str, ...]

    # This agent made the table. False: somebody else has, or it is not known
    made: bool

    # What takes it away
    statements: tuple[str, ...]


class _Shared(NamedTuple):
    """A table that something is shared into."""

    resource: str

    # As the database compares them
    columns: frozenset[str]


def leftovers(resources: Sequence[ResourceSettings], front: SqlFront) -> list[Leftover]:
    """Returns what this agent has written and the configuration no longer shares.

    Reads only; `front` knows under which names its own tables are.
    """
    found: list[Leftover] = []
    with front.reading() as connection:
        shared = dict(_shared(resources, front, connection))
        others = front.others(connection)

        for name, details in _written(resources, front, connection):
            place = Place(details["schema"], details["table"])
            folded = front.folded(connection, place)
            if folded in others:
                # Another agent goes on with it
                continue

            left = _left(front, connection, place, details, shared.get(folded))
            if left is not None:
                found.append(left._replace(resource=name))

    return found


def _shared(
    resources: Sequence[ResourceSettings],
    front: SqlFront,
    connection: Connection,
) -> Iterator[tuple[Place, _Shared]]:
    """Yields the tables that the configuration shares into, by place."""
    fold = column_fold(front.engine.dialect.name)
    for resource in resources:
        columns = frozenset(fold(name) for _, name in resource.front_columns)
        place = front.place(connection, _target(resource))
        folded = front.folded(connection, place)
        yield folded, _Shared(resource.name, columns)


def _target(resource: ResourceSettings) -> Target:
    """Returns where the table of a resource lies; its columns are not known here."""
    schema, _, table = resource.target_name.rpartition(".")
    return Target(resource.name, schema or None, table, (), (), False, {})


def _written(
    resources: Sequence[ResourceSettings],
    front: SqlFront,
    connection: Connection,
) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns what was written for each resource.

    Of a table that was taken out of the configuration before this version it is what else is known.
    """
    known = {resource.name for resource in resources}
    found: list[tuple[str, Mapping[str, Any]]] = []

    if "written" not in front.own.missing:
        written = front.own.written.c
        rows = connection.execute(select(written.name, written.details)).all()
        for name, details in rows:
            known.add(name)
            found.append((str(name), json.loads(details)))

    stored = front.own.resource.c
    names = connection.execute(select(stored.name)).scalars().all()
    for name in names:
        if name in known:
            continue
        before = front.written_before(connection, name)
        if before is not None:
            found.append((str(name), before))

    return found


def _left(
    front: SqlFront,
    connection: Connection,
    place: Place,
    details: Mapping[str, Any],
    shared: _Shared | None,
) -> Leftover | None:
    """Returns what is left of one table; None where nothing is."""
    dialect = front.engine.dialect.name
    schema = None if dialect == "sqlite" else place.schema
    found = inspect(connection)
    if not found.has_table(place.table, schema=schema):
        return None

    table = front.place_name(place)
    made = bool(details["made"])
    if shared is None:
        statement = f"DROP TABLE {table};"
        return Leftover("", place, (), made, (statement,))

    fold = column_fold(dialect)
    there = {fold(column["name"]) for column in found.get_columns(place.table, schema)}
    left = there - shared.columns
    columns = []
    drops = []
    for name in details["columns"]:
        if fold(name) in left:
            columns.append(name)
            drops.append(f"ALTER TABLE {table} DROP COLUMN {front.quote(name)};")

    if not columns:
        return None
    return Leftover("", place, tuple(columns), made, tuple(drops))


def topic_left(
    topics: Topics,
    stored: Mapping[str, Mapping[str, object]],
    name: str,
) -> str:
    """Returns the topic of a resource that is no longer shared, from the `stored` resources.

    '' where the resource is shared, or another one goes on with the topic.
    """
    row = stored.get(name)
    if row is None or name in topics.resources.values():
        return ""

    topic = str(row["topic"])
    return "" if topic in topics.events else topic


def forget_rows(front: SqlFront, resource: str) -> None:
    """Deletes what this agent's own tables hold of a resource that is no longer shared. Commits.

    The counters of its topic stay, so that no event gets a number twice if it is shared again.
    """
    own = front.own
    held = (
        own.copies,
        own.holes,
        own.withheld,
        own.refused,
        own.topic_keys,
        own.shared_keys,
        own.fingerprints,
        own.targets,
        own.written,
    )
    requests = own.requests
    asked = delete(requests).where(requests.c.resource == resource)
    begun = (
        update(own.resource)
        .where(own.resource.c.name == resource)
        .values(state="copying", code="", details="{}")
    )
    with front.guarded(), front.engine.begin() as connection:
        own.metadata.create_all(connection)
        for table in held:
            connection.execute(delete(table).where(table.c.name == resource))
        connection.execute(asked)
        connection.execute(begun)


def drop(front: SqlFront, left: Leftover) -> None:
    """Takes it away in the front end, and from what is known as written. Commits."""
    for statement in left.statements:
        plain = statement.rstrip(";")
        with front.guarded(), front.engine.begin() as connection:
            connection.exec_driver_sql(plain, execution_options={"no_parameters": True})

    front.forget_written(left.resource, left.place, left.columns)
