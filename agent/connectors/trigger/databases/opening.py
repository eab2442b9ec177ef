"""Finds how a database notes changes: the only place that knows them all."""

from importlib import import_module
from typing import NamedTuple

from agent.connectors.trigger.databases.base import LOG, TriggerLog


class _Place(NamedTuple):
    module: str
    name: str


_LOGS = {
    "postgresql": _Place("postgres", "PostgresLog"),
    "kingbase": _Place("postgres_kin", "PostgresKinLog"),
    "opengauss": _Place("postgres_kin", "PostgresKinLog"),
    "mariadb": _Place("mariadb", "MariaDbLog"),
    "mysql": _Place("mariadb", "MariaDbLog"),
    "sqlite": _Place("sqlite", "SQLiteLog"),
    "firebird": _Place("firebird", "FirebirdLog"),
    "oracle": _Place("oracle", "OracleLog"),
    "dm": _Place("dm", "DmLog"),
    "mssql": _Place("mssql", "MssqlLog"),
}


def trigger_log_of(backend: str, log: str = LOG, schema: str = "") -> TriggerLog | None:
    """Returns the log of a kind of database, by SQLAlchemy's name of it.

    None for one in which the agent makes no triggers.
    """
    place = _LOGS.get(backend)
    if place is None:
        return None
    module = import_module(f"agent.connectors.trigger.databases.{place.module}")
    made: TriggerLog = getattr(module, place.name)(log, schema)
    return made
