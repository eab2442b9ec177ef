"""Sessions at a front end in MariaDB or MySQL: strict, in UTC, with bounded waits.

They compare texts bytewise.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from agent.errors import FrontUnfit
from agent.front.mariadb.values import quoted
from agent.messages import phrase

# The collations that keep any two texts apart
COLLATIONS = {
    "mariadb": "utf8mb4_nopad_bin",
    "mysql": "utf8mb4_0900_bin",
}

# Bytes; a part of the outbox, one MiB, takes two in a statement
LEAST_PACKET = 4 << 20

# Seconds of silence, beyond waiting for a lock, after which the line counts as dead
_PATIENCE = 8

# Seconds after which the server ends a session whose host is gone, and with it the lock
_IDLE = 600

_SQL_MODE = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"

# Rows: no limit
_ALL = (1 << 64) - 1

# Variables that change what a statement means or whether it is taken. Left as they are, because no
# statement of ours hangs on them: group_concat_max_len, div_precision_increment, old_mode,
# binlog_row_image, sql_require_primary_key (every table of ours has one).
_MEANING: dict[str, object] = {
    "autocommit": 0,
    "completion_type": "NO_CHAIN",
    "tx_read_only": 0,
    "transaction_read_only": 0,
    "foreign_key_checks": 1,
    "check_constraint_checks": 1,
    "unique_checks": 1,
    "sql_safe_updates": 0,
    "sql_select_limit": _ALL,
    "max_join_size": _ALL,
    "sql_big_selects": 1,
    "sql_auto_is_null": 0,
    "max_statement_time": 0,
    "max_execution_time": 0,
    "max_sort_length": 8192,  # bytes of a key by which rows are put in order
    "innodb_snapshot_isolation": 0,
    "system_versioning_asof": "DEFAULT",
    "idle_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
}
# Under a limit not even the variables are all shown
_FIRST = f"sql_select_limit = {_ALL}, sql_big_selects = 1"
# MariaDB knows the first, MySQL 8 the second
_ISOLATION = ("tx_isolation", "transaction_isolation")
_BINLOG = ("log_bin", "binlog_format")
_DENIED, _PRIVILEGE = 1045, 1227


def mariadb_engine(
    url: str | URL,
    password: Callable[[], str] | None,
    lock_wait: float,
    pooled: bool = False,
) -> Engine:
    """Makes an engine whose sessions refuse what they cannot store exactly.

    They wait for locks within bounds, and notice a dead peer. `password` is asked at each
    connection. `pooled`: connections are kept between transactions, for a reader that asks often;
    its owner disposes of the engine. Raises FrontUnfit where the driver is not installed.
    """
    address = make_url(url)
    kind = address.get_backend_name()
    wait = max(1, math.ceil(lock_wait))
    session: dict[str, object] = {
        "sql_mode": _SQL_MODE,
        "collation_connection": COLLATIONS[kind],
        "character_set_client": "utf8mb4",
        "character_set_results": "utf8mb4",
        "time_zone": "+00:00",
        "default_storage_engine": "InnoDB",
        "innodb_lock_wait_timeout": wait,
        "lock_wait_timeout": wait,
        "wait_timeout": _IDLE,
    }
    session |= _MEANING
    engine = _engine(address, wait, pooled)

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object,
        _record: object,
        _arguments: object,
        named: dict[str, Any],
    ) -> Any:
        # Only the engine finds out whether the driver is installed
        from agent.connectors.dialects.bounded_pymysql import bounded  # noqa: PLC0415

        given = named if password is None else named | {"password": password()}
        return bounded(**given)

    # It comes first: SQLAlchemy asks a new session how names are quoted, which sql_mode decides.
    @event.listens_for(engine, "connect", insert=True)
    def connected(connection: Any, _record: object) -> None:
        _settle(connection, kind, session)

    return engine


def _engine(address: URL, wait: int, pooled: bool) -> Engine:
    reach = {
        "charset": "utf8mb4",
        "read_timeout": wait + _PATIENCE,
        "write_timeout": wait + _PATIENCE,
    }
    pool = QueuePool if pooled else NullPool
    try:
        return create_engine(address, connect_args=reach, poolclass=pool)
    except ModuleNotFoundError:
        reason = phrase(
            "its driver is not installed: install the agent with the extra mariadb "
            "(docs/OPERATIONS.md, Install)"
        )
        raise FrontUnfit(reason=reason) from None


def _settle(connection: Any, kind: str, session: Mapping[str, object]) -> None:
    """Gives a session its settings, and looks whether it has them: a proxy may ignore them.

    Raises FrontUnfit. Variables that this server does not have are left out. Isolation is READ
    COMMITTED, which keeps nobody out of a gap between rows. The exception is a server that writes
    statements to its binary log, where the user may not change that: InnoDB refuses it there.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT version(), @@max_allowed_packet")
        version, packet = cursor.fetchone()
        _check_server(kind, version, packet)

        cursor.execute(f"SET SESSION {_FIRST}")
        names = [*session, *_ISOLATION, *_BINLOG]
        before = _shown(cursor, names)
        wanted = dict(session)
        wanted |= dict.fromkeys(_ISOLATION, _isolation(cursor, before))
        for name in wanted.keys() - before.keys():
            del wanted[name]

        changed = {}
        for name, value in wanted.items():
            if not _same(before[name], value):
                changed[name] = value
        _assign(cursor, changed)

        found = _shown(cursor, names)
        for name, value in wanted.items():
            if not _same(found[name], value):
                reason = phrase(
                    "its session has {name} = {value} though {wanted} was asked for",
                    name=name,
                    value=found[name],
                    wanted=value,
                )
                raise FrontUnfit(reason=reason)


def _check_server(kind: str, version: str, packet: int) -> None:
    """Raises FrontUnfit for a server of the other kind, or one that takes too short statements."""
    is_mariadb = "mariadb" in version.lower()
    if is_mariadb != (kind == "mariadb"):
        reason = phrase(
            "the server is version {version}: write mariadb+pymysql:// for MariaDB, "
            "mysql+pymysql:// for MySQL",
            version=version,
        )
        raise FrontUnfit(reason=reason)

    if packet < LEAST_PACKET:
        reason = phrase(
            "max_allowed_packet is {packet}; it must be at least {least}",
            packet=packet,
            least=LEAST_PACKET,
        )
        raise FrontUnfit(reason=reason)


def _shown(cursor: Any, names: Iterable[str]) -> dict[str, str]:
    """Returns the session's variables of these names, as far as the server has them."""
    listed = ", ".join(quoted(name) for name in names)
    cursor.execute(f"SHOW SESSION VARIABLES WHERE variable_name IN ({listed})")
    return {str(name).lower(): str(value) for name, value in cursor.fetchall()}


def _isolation(cursor: Any, before: Mapping[str, str]) -> str:
    """Returns the isolation level under which rows can be written."""
    logs_statements = before.get("log_bin") == "ON" and before.get("binlog_format") == "STATEMENT"
    if not logs_statements:
        return "READ-COMMITTED"

    try:
        cursor.execute("SET SESSION binlog_format = 'ROW'")
    except cursor.connection.Error:
        # It takes a right that few have
        return "REPEATABLE-READ"
    return "READ-COMMITTED"


def _assign(cursor: Any, values: Mapping[str, object]) -> None:
    """Sets variables of the session. Raises FrontUnfit where the user may not."""
    if not values:
        return

    assignments = []
    for name, value in values.items():
        assignments.append(f"{name} = {_literal(value)}")
    try:
        cursor.execute(f"SET SESSION {', '.join(assignments)}")
    except cursor.connection.Error as error:
        if error.args and error.args[0] in (_DENIED, _PRIVILEGE):
            names = ", ".join(values)
            reason = phrase(
                "its user may not set {names} for its session: have them set globally, or GRANT "
                "SESSION_VARIABLES_ADMIN ON *.*",
                names=names,
            )
            raise FrontUnfit(reason=reason) from None
        raise


def _literal(value: object) -> str:
    text = str(value)
    if isinstance(value, int) or text == "DEFAULT":
        return text
    return quoted(text)


def _same(found: str, wanted: object) -> bool:
    return _plain(found) == _plain(str(wanted))


def _plain(value: str) -> frozenset[str]:
    """Returns a value in one spelling.

    Lists in any order, ON and OFF as 1 and 0, numbers without trailing zeros.
    """
    parts = []
    for part in value.upper().split(","):
        if part == "ON":
            parts.append("1")
        elif part == "OFF":
            parts.append("0")
        else:
            number = re.sub(r"^(\d+)\.0+$", r"\1", part)
            parts.append(number)
    return frozenset(parts)
