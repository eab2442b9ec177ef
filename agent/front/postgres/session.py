"""Sessions at a front end in PostgreSQL: one text form of values, and bounded waits."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from agent.connectors.postgres.bounded_connection import BoundedConnection, bounded
from agent.connectors.postgres.session_settings import MEANING, Unfit, settle
from agent.errors import FrontUnfit
from agent.values.canonical import SESSION

# Seconds without an answer, beyond waiting for a lock, after which the line counts as dead
_PATIENCE = 8.0

_REACH: dict[str, object] = {
    "application_name": "unit-sync-agent",
    "client_encoding": "UTF8",
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def postgres_engine(
    url: str | URL,
    password: Callable[[], str] | None,
    lock_wait: float,
    pooled: bool = False,
) -> Engine:
    """Makes an engine whose sessions write values in the one text form (`canonical.SESSION`).

    They wait for locks within bounds and notice a dead peer. They are refused with FrontUnfit
    where they do not have their settings, share a server process, or store another encoding than
    UTF-8.

    `password` is asked at each connection. `pooled`: connections are kept between transactions,
    for a reader that asks often; its owner disposes of the engine.
    """
    wanted = {
        **SESSION,
        **MEANING,
        "lock_timeout": f"{int(lock_wait * 1000)}ms",
        "synchronous_commit": "on",
        "client_connection_check_interval": "1s",
        # We write, whatever the role's default is, and bound each wait ourselves
        "default_transaction_read_only": "off",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    pool = QueuePool if pooled else NullPool
    engine = create_engine(make_url(url), connect_args=_REACH, poolclass=pool)

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object,
        _record: object,
        arguments: tuple[Any, ...],
        named: dict[str, Any],
    ) -> BoundedConnection:
        given = named | ({} if password is None else {"password": password()})

        def connected(patience: float) -> BoundedConnection:
            return bounded(patience, *arguments, **{**given, "autocommit": True})

        connection = connected(lock_wait + _PATIENCE)
        try:
            settle(connection, wanted, lambda: connected(_PATIENCE), encoding="UTF8")
            connection.autocommit = False
        except Unfit as unfit:
            connection.close()
            raise FrontUnfit(reason=unfit.reason) from None
        except BaseException:
            connection.close()
            raise
        return connection

    return engine
