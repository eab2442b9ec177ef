"""Connections to a business database through SQLAlchemy, and the driver's errors as ours."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent.config import DatabaseSettings
from agent.config.database import ZeroDates
from agent.connectors.dialects.base import Dialect
from agent.connectors.dialects.opening import dialect_of
from agent.errors import (
    AgentError,
    LoginRefused,
    ReadRefused,
    SourceUnfit,
    SourceUnreachable,
    TableChanged,
    ValueUnreadable,
)
from agent.messages import phrase

# Names what holds the password of --as in the environment
ADMINISTRATOR_PASSWORD = "SYNC_AGENT_ADMIN_PASSWORD"  # noqa: S105 - the name of a variable


class Database:
    """A business database. Connections are opened here, and closed by whoever opens them."""

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None,
        statement_seconds: float,
        encoding: str = "",
        zero_dates: ZeroDates = "suspend",
    ) -> None:
        """`statement_seconds`: no statement takes longer. Raises SourceUnfit.

        `encoding`: of texts in columns that are declared otherwise; '': there are none.
        `zero_dates`: what becomes of days that are none.
        """
        self._url = make_url(url)
        dialect = dialect_of(self._url)
        if dialect is None:
            kind = self._url.get_backend_name()
            raise SourceUnfit(reason=phrase("{kind} is no database it knows", kind=kind))
        if encoding and not dialect.recodes:
            reason = phrase("{kind} has no texts in another encoding", kind=dialect.name)
            raise SourceUnfit(reason=reason)
        if zero_dates != "suspend" and not dialect.has_zero_dates:
            raise SourceUnfit(reason=phrase("{kind} has no zero dates", kind=dialect.name))
        dialect.encoding = encoding
        dialect.zero_dates = zero_dates
        self.dialect: Dialect = dialect
        self._password = password
        self._seconds = statement_seconds
        self._made: Engine | None = None

    @property
    def name(self) -> str:
        """The name of the database on its server, or of its file."""
        return _name_of(self._url).rpartition("/")[2]

    @property
    def user(self) -> str:
        """The user as whom the agent logs in; '' where there is none."""
        return self._url.username or ""

    @property
    def address(self) -> str:
        """The database as users know it."""
        return address_of(self._url)

    def connect(self) -> Connection:
        """Opens an autocommit connection. Raises what `guarded` does."""
        if self._made is None:
            self._made = self.dialect.engine(self._url, self._password, self._seconds)
        with self.guarded():
            return self._made.connect()

    @contextmanager
    def guarded(self, resource: str = "", table: str = "") -> Iterator[None]:
        """Turns errors of the driver and of SQLAlchemy into ours, without values of rows.

        Where `resource` and `table` name what is read, an error may concern that table alone.
        Raises SourceUnreachable, LoginRefused, SourceUnfit; ReadRefused, TableChanged,
        ValueUnreadable.
        """
        try:
            yield
        except (SQLAlchemyError, UnicodeError) as error:
            cause = getattr(error, "orig", None) or error
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            raise self._ours(cause, resource, table, lost=lost) from None
        except self.driver_error as error:
            raise self._ours(error, resource, table, lost=False) from None

    @property
    def driver_error(self) -> type[Exception]:
        """The driver's own errors: some pass SQLAlchemy by while a connection is opened."""
        if self._made is None:
            return SQLAlchemyError
        found: Any = self._made.dialect.dbapi
        error: type[Exception] = found.Error
        return error

    def _ours(
        self,
        error: BaseException,
        resource: str,
        table: str,
        *,
        lost: bool,
    ) -> AgentError:
        trouble = "unreachable" if lost else self.dialect.trouble(error)
        code = self.dialect.code(error)
        if trouble == "login":
            return LoginRefused(
                peer=phrase("the business database"),
                user=self.user,
                reason=code,
            )
        if trouble in ("unreachable", "busy"):
            return SourceUnreachable(address=self.address, reason=code)
        if resource and trouble == "denied":
            return ReadRefused(resource=resource, table=table, reason=code)
        if resource and trouble == "missing":
            change = phrase("it cannot be read any more ({code})", code=code)
            return TableChanged(resource=resource, table=table, change=change)
        if resource and trouble == "value":
            reason = phrase("{code} when its rows are read", code=code)
            return ValueUnreadable(resource=resource, table=table, reason=reason)
        return SourceUnfit(reason=code)


def database_of(settings: DatabaseSettings) -> Database:
    """Makes the way to the business database; nothing is connected yet. Raises SourceUnfit."""
    password = settings.password
    read = None if password is None else lambda: password.read("source.password")
    return _database(settings.url, read, settings)


def administered(settings: DatabaseSettings, admin_url: str | None) -> Database:
    """Makes the way to the business database as an administrator, else as the agent.

    The administrator's password is the one in the environment. Raises SourceUnfit.
    """
    if admin_url is None:
        return database_of(settings)
    password = os.environ.get(ADMINISTRATOR_PASSWORD)
    read = None if password is None else lambda: password
    return _database(admin_url, read, settings)


def _database(url: str, read: Callable[[], str] | None, settings: DatabaseSettings) -> Database:
    return Database(url, read, settings.statement_seconds, settings.encoding, settings.zero_dates)


def address_of(url: URL) -> str:
    """Names a database by server and database, or by its file; never by user or password."""
    if not url.host:
        return url.database or ""
    port = f":{url.port}" if url.port else ""
    return f"{url.host}{port}/{_name_of(url)}"


def _name_of(url: URL) -> str:
    """Returns the name of a database; where a server has services, that of the service."""
    return url.database or str(url.query.get("service_name", ""))
