"""Transactions of drivers that know no BEGIN: they are out of autocommit mode meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection


@contextmanager
def committed(connection: Connection, mode: str) -> Iterator[None]:
    """Commits what is written within the context as one transaction, or nothing of it.

    `mode` is the attribute of the driver's connection that is true in autocommit mode.
    """
    raw: Any = connection.connection.dbapi_connection
    setattr(raw, mode, False)
    try:
        yield
        raw.commit()
    except BaseException:
        raw.rollback()
        raise
    finally:
        setattr(raw, mode, True)


@contextmanager
def rolled_back(connection: Connection, mode: str) -> Iterator[None]:
    """Runs what is within the context as one transaction, and ends it without a trace."""
    raw: Any = connection.connection.dbapi_connection
    setattr(raw, mode, False)
    try:
        yield
    finally:
        raw.rollback()
        setattr(raw, mode, True)
