"""Finds the dialect for a URL: the only place that knows them all.

Each is loaded where it is used.
"""

from sqlalchemy import URL

from agent.connectors.dialects.base import Dialect


def dialect_of(url: URL) -> Dialect | None:
    """Returns the dialect of a database; None for one that the agent does not read."""
    match url.get_backend_name():
        case "sqlite":
            from agent.connectors.dialects.sqlite import SQLite

            return SQLite()
        case "mariadb":
            from agent.connectors.dialects.mariadb import MariaDB

            return MariaDB()
        case "mysql":
            from agent.connectors.dialects.mysql import MySQL

            return MySQL()
        case "postgresql":
            from agent.connectors.dialects.postgres import PostgreSQL

            return PostgreSQL()
    return None
