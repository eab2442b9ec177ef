"""Connections to the source: parameters, time-outs, and the driver's errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from agent.bounded import bounded
from agent.config import SourceSettings
from agent.errors import AgentError, LoginRefused, SourceUnreachable
from agent.events.values import SESSION
from agent.tls import Refusal, Trust, asked

_PATIENCE = 25.0  # seconds without an answer after which the line counts as dead; statements of ours end after 20
_SSL_REQUEST = (
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # the protocol's question whether the server speaks TLS
)
_UNVERIFIED = ("certificate verify failed", "does not match host name")
_REFUSED = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "is not permitted to log in",
    "does not exist",
)


def address(settings: SourceSettings) -> str:
    """The server as users know it."""
    return f"{settings.host}:{settings.port}/{settings.database}"


def conninfo(settings: SourceSettings, replication: bool = False) -> str:
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
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
        "options": " ".join(
            f"-c {name}={value.replace(' ', chr(92) + ' ')}"
            for name, value in _session(replication).items()
        ),
    }
    if replication:
        parameters["replication"] = "database"
    return make_conninfo(**{name: value for name, value in parameters.items() if value is not None})


def _session(replication: bool) -> dict[str, str]:
    """Session settings: the one text form of values; no statement of ours may last; a new row security policy must stop us, not filter."""
    return (
        SESSION
        if replication
        else {**SESSION, "statement_timeout": "20s", "lock_timeout": "5s", "row_security": "off"}
    )


def connect(settings: SourceSettings, replication: bool = False) -> psycopg.Connection[Any]:
    """An autocommit connection. Raises SourceUnreachable, LoginRefused, SecretMissing."""
    with guarded(settings):
        return bounded(_PATIENCE, conninfo(settings, replication), autocommit=True)


@contextmanager
def guarded(settings: SourceSettings) -> Iterator[None]:
    """Turns the driver's errors into ours; only SQLSTATE and the client's own messages pass, which hold no values."""
    try:
        yield
    except psycopg.Error as error:
        raise _ours(error, settings) from None


def _ours(error: psycopg.Error, settings: SourceSettings) -> AgentError:
    if error.sqlstate:
        return SourceUnreachable(
            address=address(settings), reason=f"SQLSTATE {error.sqlstate} {type(error).__name__}"
        )
    message = str(error).strip()
    if any(sign in message for sign in _REFUSED):
        return LoginRefused(
            peer="the business database", user=settings.user, reason=message.splitlines()[-1]
        )
    reason = message.splitlines()[0] if message else type(error).__name__
    if found := unverified(settings, message):
        reason = f"TLS: certificate verify failed: {found.reason}"
    return SourceUnreachable(address=address(settings), reason=reason)


def unverified(settings: SourceSettings, message: str) -> Refusal | None:
    """What is wrong with the server's certificate, where libpq's message says that it did not accept it; libpq does not say why."""
    if not any(sign in message for sign in _UNVERIFIED):
        return None
    system = settings.sslrootcert in (None, "system")
    trust = Trust(None if system else settings.sslrootcert, names=settings.sslmode == "verify-full")
    return asked(settings.host, settings.port, trust, _SSL_REQUEST)
