"""Connections to the source: parameters, time-outs, and the driver's errors as ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from agent.config import PostgresSettings
from agent.connectors.postgres.bounded_connection import bounded
from agent.connectors.postgres.session_settings import MEANING, Unfit, settle
from agent.connectors.postgres.sqlstates import is_passing, refuses_login
from agent.errors import AgentError, LoginRefused, SourceUnfit, SourceUnreachable
from agent.messages import mark, phrase
from agent.tls import Refusal, Trust, asked
from agent.values.canonical import SESSION

# Seconds without an answer after which the line counts as dead; statements of ours end after 20
_PATIENCE = 25.0
_SECOND = 5.0  # seconds for a second connection that only proves the first
_NO_PARAMETER = "unsupported startup parameter"  # of PgBouncer
_SSL_REQUEST = (
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # the protocol's question whether the server speaks TLS
)
_UNVERIFIED = ("certificate verify failed", "does not match host name")


def address(settings: PostgresSettings) -> str:
    """The server as users know it."""
    return f"{settings.host}:{settings.port}/{settings.database}"


def conninfo(settings: PostgresSettings, replication: bool = False, encoding: str = "UTF8") -> str:
    """Libpq parameters with the password read now. Raises SecretMissing."""
    parameters: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.database,
        "user": settings.user,
        "sslmode": settings.sslmode,
        "sslrootcert": settings.sslrootcert,
        "password": settings.password.read("source.password") if settings.password else None,
        "application_name": "unit-sync-agent",
        "keepalives_idle": 5,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
        "client_encoding": encoding,
    }
    if replication:
        parameters["replication"] = "database"
    return make_conninfo(**{name: value for name, value in parameters.items() if value is not None})


def session(bounds: bool = True) -> dict[str, str]:
    """Returns the session settings: text forms of values, search path, bounds of time.

    Unqualified names mean PostgreSQL's own.

    Without bounds: a role's own must not end what bounds itself, slot creation and the stream.
    """
    statement, lock = ("20s", "5s") if bounds else ("0", "0")
    return {
        **SESSION,
        **MEANING,
        "search_path": "pg_catalog",
        "row_security": "off",
        "statement_timeout": statement,
        "lock_timeout": lock,
    }


def connect(
    settings: PostgresSettings, replication: bool = False, encoding: str = "UTF8"
) -> psycopg.Connection[Any]:
    """Opens an autocommit connection.

    Raises SourceUnreachable, SourceUnfit, LoginRefused, SecretMissing.
    """
    with guarded(settings):
        return opened(settings, replication, encoding)


def opened(
    settings: PostgresSettings, replication: bool = False, encoding: str = "UTF8"
) -> psycopg.Connection[Any]:
    """The same with the driver's own errors. Raises psycopg.Error, SourceUnfit, SecretMissing."""
    where = conninfo(settings, replication, encoding)
    try:
        connection = bounded(_PATIENCE, where, autocommit=True)
    except psycopg.OperationalError as error:
        lines = str(error).strip().splitlines()
        if not lines or _NO_PARAMETER not in lines[-1]:
            raise
        text = mark(
            "a connection pooler stands before it: give host and port of the server itself ({said})"
        )
        raise SourceUnfit(reason=phrase(text, said=lines[-1])) from None
    wanted = session(bounds=not replication) | {"client_encoding": encoding}
    settled(connection, wanted, where)
    return connection


def settled(connection: psycopg.Connection[Any], wanted: Mapping[str, str], where: str) -> None:
    """Gives a session of the business database its settings, else closes it.

    Raises psycopg.Error, SourceUnfit.
    """
    try:
        settle(connection, wanted, lambda: bounded(_SECOND, where, autocommit=True))
    except Unfit as unfit:
        connection.close()
        raise SourceUnfit(reason=unfit.reason) from None
    except BaseException:
        connection.close()
        raise


@contextmanager
def guarded(settings: PostgresSettings) -> Iterator[None]:
    """Turns the driver's errors into ours.

    Only SQLSTATE and the client's own messages pass, which hold no values.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _ours(error, settings) from None


def _ours(error: psycopg.Error, settings: PostgresSettings) -> AgentError:
    if error.sqlstate:
        reason = f"SQLSTATE {error.sqlstate} {type(error).__name__}"
        if not is_passing(error.sqlstate):
            return SourceUnfit(reason=reason)
        return SourceUnreachable(address=address(settings), reason=reason)
    message = str(error).strip()
    if refuses_login(message):
        return LoginRefused(
            peer=phrase("the business database"),
            user=settings.user,
            reason=message.splitlines()[-1],
        )
    reason = message.splitlines()[0] if message else type(error).__name__
    if found := unverified(settings, message):
        reason = phrase("TLS: certificate verify failed: {detail}", detail=found.reason)
    return SourceUnreachable(address=address(settings), reason=reason)


def unverified(settings: PostgresSettings, message: str) -> Refusal | None:
    """Returns what is wrong with the server's certificate; None where libpq accepted it.

    `message` is libpq's, which does not say why.
    """
    if not any(sign in message for sign in _UNVERIFIED):
        return None
    system = settings.sslrootcert in (None, "system")
    trust = Trust(None if system else settings.sslrootcert, names=settings.sslmode == "verify-full")
    return asked(settings.host, settings.port, trust, _SSL_REQUEST)
