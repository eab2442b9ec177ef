"""Sessions at a front end in MariaDB or MySQL: strict, in UTC, comparing texts bytewise, patient within bounds."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from agent.errors import FrontUnfit
from agent.front.mariadb_columns import quoted

# The collations that keep any two texts apart
COLLATIONS = {
    "mariadb": "utf8mb4_nopad_bin",
    "mysql": "utf8mb4_0900_bin",
}
LEAST_PACKET = 4 << 20  # bytes; a part of the outbox, one MiB, takes two in a statement
_PATIENCE = 8  # seconds of silence, beyond waiting for a lock, after which the line counts as dead
_IDLE = (
    600  # seconds after which the server ends a session whose host is gone, and with it the lock
)
_SQL_MODE = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"


def mariadb_engine(
    url: str | URL, password: Callable[[], str] | None, lock_wait: float, pooled: bool = False
) -> Engine:
    """An engine whose sessions refuse what they cannot store exactly, wait for locks within bounds and notice a dead peer.

    `password` is asked at each connection. `pooled`: connections are kept between transactions, for a reader that asks often; its
    owner disposes of the engine. Raises FrontUnfit where the driver is not installed.
    """
    address = make_url(url)
    wait = max(1, math.ceil(lock_wait))
    session: dict[str, object] = {
        "sql_mode": _SQL_MODE,
        "collation_connection": COLLATIONS[address.get_backend_name()],
        "character_set_client": "utf8mb4",
        "character_set_results": "utf8mb4",
        "time_zone": "+00:00",
        "default_storage_engine": "InnoDB",
        "innodb_lock_wait_timeout": wait,
        "lock_wait_timeout": wait,
        "wait_timeout": _IDLE,
    }
    reach = {
        "charset": "utf8mb4",
        "connect_timeout": 5,
        "read_timeout": wait + _PATIENCE,
        "write_timeout": wait + _PATIENCE,
    }
    try:
        engine = create_engine(
            address,
            connect_args=reach,
            poolclass=QueuePool if pooled else NullPool,
            isolation_level="READ COMMITTED",  # nobody is kept out of a gap between rows
        )
    except ModuleNotFoundError:
        raise FrontUnfit(
            reason="its driver is not installed: pip install 'unit-sync-agent[mariadb]'"
        ) from None

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object, _record: object, _arguments: object, named: dict[str, Any]
    ) -> None:
        if password is not None:
            named["password"] = password()

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        _set(connection, address.get_backend_name(), session)

    return engine


def _set(connection: Any, kind: str, session: Mapping[str, object]) -> None:
    """Gives a session its settings, and looks whether it has them: a proxy may ignore them. Raises FrontUnfit."""
    with connection.cursor() as cursor:
        listed = ", ".join(
            f"{name} = {value if isinstance(value, int) else quoted(str(value))}"
            for name, value in session.items()
        )
        cursor.execute(f"SET SESSION {listed}")
        cursor.execute(
            f"SELECT version(), @@max_allowed_packet, {', '.join('@@' + name for name in session)}"
        )
        version, packet, *found = cursor.fetchone()
    if ("mariadb" in version.lower()) != (kind == "mariadb"):
        raise FrontUnfit(
            reason=f"the server is version {version}: write mariadb+pymysql:// for MariaDB, mysql+pymysql:// for MySQL"
        )
    if packet < LEAST_PACKET:
        raise FrontUnfit(
            reason=f"max_allowed_packet is {packet}; it must be at least {LEAST_PACKET}"
        )
    for (name, wanted), value in zip(session.items(), found, strict=True):
        if set(str(value).upper().split(",")) != set(str(wanted).upper().split(",")):
            raise FrontUnfit(
                reason=f"its session has {name} = {value} though {wanted} was asked for"
            )
