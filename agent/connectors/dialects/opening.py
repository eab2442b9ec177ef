"""Finds the dialect for a URL: the only place that knows them all.

Each is loaded where it is used.
"""

from importlib import import_module
from typing import NamedTuple

from sqlalchemy import URL

from agent.connectors.dialects.base import Dialect


class _Place(NamedTuple):
    module: str
    name: str


# By what stands before :// in a URL, else by its first part
_DIALECTS = {
    "sqlite": _Place("sqlite", "SQLite"),
    "mariadb": _Place("mariadb", "MariaDB"),
    "mysql": _Place("mysql", "MySQL"),
    "postgresql": _Place("postgres", "PostgreSQL"),
    "postgresql+psycopg2": _Place("postgres_psycopg2", "PostgresByPsycopg2"),
    "kingbase": _Place("kingbase", "KingbaseES"),
    "opengauss": _Place("opengauss", "OpenGauss"),
    "oracle": _Place("oracle", "Oracle"),
    "mssql": _Place("mssql", "SQLServer"),
    "firebird": _Place("firebird", "Firebird"),
    "dm": _Place("dm", "DM8"),
}


def dialect_of(url: URL) -> Dialect | None:
    """Returns the dialect of a database; None for one that the agent does not read."""
    place = _DIALECTS.get(url.drivername) or _DIALECTS.get(url.get_backend_name())
    if place is None:
        return None
    module = import_module(f"agent.connectors.dialects.{place.module}")
    made: Dialect = getattr(module, place.name)()
    return made
