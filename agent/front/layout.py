"""Finds an agent's own tables as they are there, whatever version of the agent has made them."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, inspect, select
from sqlalchemy.exc import DBAPIError

from agent.errors import NewerVersion
from agent.front.first_version import FIRST, with_identity
from agent.front.schema import (
    SUFFIXES,
    VERSION,
    WITH_IDENTITY,
    AgentTables,
    former_name,
    table_name,
)
from agent.messages import mark, phrase


def former_tables(agent: str) -> AgentTables:
    """Returns the tables as 0.1.0 named and made them, without the agent's name."""
    names = {suffix: former_name(suffix) for suffix in SUFFIXES}
    return AgentTables(agent, FIRST, names)


def aside(agent: str) -> str:
    """Returns the name of a state table that makes room for a new one."""
    return table_name(agent, "former")


def find(connection: Connection, agent: str) -> AgentTables:
    """Returns the agent's tables under the names and with the columns that they have.

    Where there are none they are those of this version, with all of them missing.
    Raises NewerVersion.
    """
    found = inspect(connection)
    names = set(found.get_table_names())
    own = AgentTables(agent)
    state = own.state.name

    numbered = False
    if state in names:
        columns = {column["name"] for column in found.get_columns(state)}
        numbered = "version" in columns

    version = _number(connection, own.state) if numbered else None
    if version is not None:
        if version > VERSION:
            what = phrase(mark("The agent's tables in the front end"))
            raise NewerVersion(what=what, found=version, known=VERSION)
        missing = _missing(agent, {}, names)
        return AgentTables(agent, version, missing=missing)

    # A version without a row: a migration was stopped before it moved the row
    places = [aside(agent), former_name("state")]
    if not numbered:
        places.insert(0, state)
    for place in places:
        if place in names and _is_state_of(connection, agent, place):
            return _older(agent, place, names)

    missing = _missing(agent, {}, names)
    return AgentTables(agent, missing=missing)


def _number(connection: Connection, state: Table) -> int | None:
    """Returns the version that is noted; None where the state has no row."""
    return connection.execute(select(state.c.version)).scalar()


def _is_state_of(connection: Connection, agent: str, name: str) -> bool:
    """Whether an older state table belongs to this agent; False where it may not be read."""
    state = AgentTables(agent, FIRST, {"state": name}).state
    try:
        owner = connection.execute(select(state.c.agent_name)).scalar()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        connection.rollback()
        return False
    return bool(owner == agent)


def _older(agent: str, state: str, there: set[str]) -> AgentTables:
    """Returns the tables of an older version, whose state has the name `state`."""
    names = {"state": state}
    if state == former_name("state"):
        names = {}
        for suffix in SUFFIXES:
            former = former_name(suffix)
            if former in there:
                names[suffix] = former

    missing = _missing(agent, names, there)
    return AgentTables(agent, FIRST, names, missing)


def _missing(agent: str, names: Mapping[str, str], there: set[str]) -> set[str]:
    """Returns the suffixes of the tables that are not there."""
    missing = set()
    for suffix in SUFFIXES:
        name = names.get(suffix) or table_name(agent, suffix)
        if name not in there:
            missing.add(suffix)
    return missing


def state_row(connection: Connection, own: AgentTables) -> dict[str, Any] | None:
    """Returns the state row as this version has it, `identity` still as its text; None: no row."""
    row = connection.execute(select(own.state)).mappings().one_or_none()
    if row is None:
        return None
    values = {column.key: row[column] for column in own.state.columns}
    if own.version >= WITH_IDENTITY:
        return values

    rest, identity = with_identity(values, settings(connection, own))
    return {**rest, "identity": json.dumps(identity), "token": ""}


def settings(connection: Connection, own: AgentTables) -> dict[str, str]:
    """Returns what `init` has noted of the settings; nothing of an agent of 0.1.0."""
    if "setting" in own.missing:
        return {}
    noted = own.settings.c
    rows = connection.execute(select(noted.name, noted.value)).all()
    return {str(name): str(value) for name, value in rows}


def copy_now(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how far a copy is, as this version writes it.

    Before version 4 the barrier was `horizon`, the number of a transaction.
    """
    values = dict(progress)
    if "horizon" in values:
        horizon = values.pop("horizon")
        values["barrier"] = str(horizon) if horizon else ""
    return values
