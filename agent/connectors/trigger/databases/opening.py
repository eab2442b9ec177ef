"""Finds how a database notes changes: the only place that knows them all."""

from agent.connectors.trigger.databases.base import LOG, TriggerLog


def trigger_log_of(backend: str, log: str = LOG, schema: str = "") -> TriggerLog | None:
    """Returns the log of a kind of database, by SQLAlchemy's name of it.

    None for one in which the agent makes no triggers.
    """
    match backend:
        case "postgresql":
            from agent.connectors.trigger.databases.postgres import PostgresLog

            return PostgresLog(log, schema)
        case "mariadb" | "mysql":
            from agent.connectors.trigger.databases.mariadb import MariaDbLog

            return MariaDbLog(log, schema)
        case "sqlite":
            from agent.connectors.trigger.databases.sqlite import SQLiteLog

            return SQLiteLog(log, schema)
        case "firebird":
            from agent.connectors.trigger.databases.firebird import FirebirdLog

            return FirebirdLog(log, schema)
    return None
