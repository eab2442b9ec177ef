"""Runs the statements that make and remove a trigger log."""

from collections.abc import Sequence

from sqlalchemy import Connection

from agent.connectors.database.session import Database
from agent.connectors.setup import Tell
from agent.connectors.trigger.databases.base import TriggerLog
from agent.messages import mark, translate

_PERCENT = ("format", "pyformat")  # drivers to which a percent sign means a parameter


def execute(
    database: Database,
    statements: Sequence[str],
    tell: Tell,
) -> None:
    """Runs statements, each as a transaction of its own, and shows them.

    Raises the errors of the connection.
    """
    connection = database.connect()
    try:
        for statement in statements:
            with database.guarded(), database.dialect.writing(connection):
                run(connection, statement)
            tell(translate(mark("Business database: {statement}"), statement=statement))
    finally:
        connection.close()


def run(connection: Connection, statement: str) -> None:
    """Runs one statement as it is written."""
    if connection.dialect.paramstyle in _PERCENT:
        statement = statement.replace("%", "%%")
    connection.exec_driver_sql(statement)


def account(database: Database, log: TriggerLog) -> str:
    """Returns the account of a connection, as a GRANT names it. Raises the connection's errors."""
    connection = database.connect()
    try:
        with database.guarded():
            return log.account(connection)
    finally:
        connection.close()
