"""Opens the administrator's connection to the business database, for `init --apply --as URL`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from agent.config import PostgresSettings
from agent.connectors.postgres.session import session, settled
from agent.connectors.postgres.setup import facts
from agent.errors import InitRefused
from agent.messages import mark, phrase

Connection = psycopg.Connection[Any]
# As the agent's own session, without its bounds of time; and an administrator writes,
# whatever the role's default is.
_SESSION = session(bounds=False) | {"default_transaction_read_only": "off"}


@contextmanager
def administrator(source: PostgresSettings, url: str | None) -> Iterator[Connection | None]:
    """Yields an autocommit connection, or None without a URL.

    Raises InitRefused when it cannot be had or leads to another database, SourceUnfit.
    """
    if url is None:
        yield None
        return
    with _connect(url) as connection:
        database = facts.server(connection).database
        if database != source.database:
            text = mark("--as leads to database {other}, source.database is {database}")
            raise InitRefused(reason=phrase(text, other=database, database=source.database))
        yield connection


def _connect(url: str) -> Connection:
    """Raises InitRefused, SourceUnfit."""
    try:
        where = make_conninfo(
            url.replace("postgresql+psycopg://", "postgresql://", 1),
            connect_timeout=5,
            client_encoding="UTF8",
            application_name="unit-sync-agent init",
        )
        connection = psycopg.connect(where, autocommit=True)
        settled(connection, _SESSION, where)
    except psycopg.Error as error:
        lines = str(error).strip().splitlines()
        reason = lines[-1] if lines else type(error).__name__
        text = mark("--as: the connection fails: {reason}")
        raise InitRefused(reason=phrase(text, reason=reason)) from None
    return connection
