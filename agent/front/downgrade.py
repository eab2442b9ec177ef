"""Takes an agent's own tables back to the form in which version 0.1.0 kept them.

`agent.front.migration` is the way there. Everything is copied into tables of that form, and taken
out of those of this version, in one transaction: so each version finds either all or nothing,
whenever a kill comes. MariaDB commits at once what comes before a DDL statement: here these come
before and after all the rows, and only make empty tables, or drop emptied ones.
"""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select

from agent.errors import InitRefused
from agent.front.first_version import FURTHER, source_values
from agent.front.layout import former_tables, state_row
from agent.front.migration import Mover
from agent.front.schema import SUFFIXES, AgentTables
from agent.messages import mark, phrase

# Tables that begin empty: no table is copying, and nobody waits for an answer any more
_LEFT_OUT = ("copy", "request")


def step_back(connection: Connection, own: AgentTables, mover: Mover) -> None:
    """Gives the tables the form of 0.1.0, under the agent's lock. Commits.

    No table may be copying, and no row refused: 0.1.0 cannot read what is noted of them.
    Raises InitRefused where tables of 0.1.0 belong to another agent.
    """
    old = former_tables(own.agent)
    suffixes = [suffix for suffix in SUFFIXES if suffix not in FURTHER]
    targets = [old.table(suffix) for suffix in suffixes]
    old.metadata.create_all(connection, tables=targets)
    _check_owner(connection, old)

    for target in targets:
        connection.execute(delete(target))
    for suffix in suffixes:
        if suffix not in ("state", *_LEFT_OUT):
            _copy_rows(connection, own.table(suffix), old.table(suffix))
    _write_state(connection, own, old)

    for suffix in SUFFIXES:
        connection.execute(delete(own.table(suffix)))
    for suffix in SUFFIXES:
        mover.drop_emptied(connection, own.table(suffix).name)
    connection.commit()


def _check_owner(connection: Connection, old: AgentTables) -> None:
    """Raises InitRefused where the tables of 0.1.0 hold the state of another agent."""
    owners = connection.execute(select(old.state.c.agent_name)).scalars().all()
    for owner in owners:
        if owner != old.agent:
            text = mark("the tables of version 0.1.0 in the front end belong to agent {agent}")
            raise InitRefused(reason=phrase(text, agent=owner))


def _copy_rows(connection: Connection, source: Table, target: Table) -> None:
    columns = source.columns.keys()
    copied = insert(target).from_select(columns, select(source))
    connection.execute(copied)


def _write_state(connection: Connection, own: AgentTables, old: AgentTables) -> None:
    """Writes the state with three columns in place of the source's identity."""
    row = state_row(connection, own)
    assert row is not None, "found by its row"
    values: dict[str, Any] = dict(row)
    for later in ("version", "token"):
        values.pop(later)
    identity: Mapping[str, Any] = json.loads(values.pop("identity"))
    connection.execute(insert(old.state).values(**values, **source_values(identity)))
