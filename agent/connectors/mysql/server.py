"""Asks a server what it logs, who it is, and how far it has come."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection

from agent.connectors.mysql.gtids import DomainPositions, GtidSet

Executed = GtidSet | DomainPositions

# Variables that say what is logged. A server has some of them only
_VARIABLES: Final = (
    "binlog_checksum",
    "binlog_expire_logs_auto_purge",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_space_limit",
    "binlog_storage_engine",
    "enforce_gtid_consistency",
    "expire_logs_days",
    "gtid_domain_id",
    "gtid_mode",
    "innodb_native_foreign_keys",
    "log_bin",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "max_allowed_packet",
    "max_binlog_total_size",
    "server_id",
    "server_uuid",
    "sync_binlog",
    "version",
)
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_FILE_NUMBER: Final = re.compile(r"\.(\d+)$")
_CHARSETS: Final = "SELECT id, character_set_name FROM information_schema.collations"
# MariaDB has collations from Unicode 14 on, which are listed once for all of their character sets;
# that of utf8mb4 is the default from 11.6 on. So another list has their ids
_APPLICABLE: Final = (10, 10)
_CHARSETS_APPLICABLE: Final = (
    "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability"
)


class Server(NamedTuple):
    """A server as it describes itself now."""

    is_mariadb: bool
    version: tuple[int, ...]
    variables: Mapping[str, str]  # in lower case, both names and values; those that it has

    def variable(self, name: str) -> str:
        """Returns a variable; '' where the server has none of that name."""
        return self.variables.get(name, "")

    @property
    def name(self) -> str:
        """The server as users know it: its kind and version."""
        kind = "MariaDB" if self.is_mariadb else "MySQL"
        return f"{kind} {'.'.join(map(str, self.version))}"

    @property
    def checksums(self) -> bool:
        """Tells whether its events have checksums."""
        return self.variable("binlog_checksum") not in ("", "none")


class LogEnd(NamedTuple):
    """Where a server's log ends, or how far it was read."""

    file: str
    offset: int

    @property
    def order(self) -> tuple[int, int]:
        """The place as numbers that rise: files are counted by their endings."""
        found = _FILE_NUMBER.search(self.file)
        return (int(found[1]) if found else 0, self.offset)


def server_of(connection: Connection) -> Server:
    """Describes the server. Raises the driver's errors."""
    listed = ", ".join(f"'{name}'" for name in _VARIABLES)
    asked = f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({listed})"
    found = {}
    for name, value in connection.exec_driver_sql(asked).all():
        found[str(name).lower()] = str(value).lower()
    text = found.get("version", "")
    numbers = _VERSION.search(text)
    version = tuple(map(int, numbers.groups())) if numbers else ()
    return Server("mariadb" in text, version, found)


def executed(connection: Connection, server: Server) -> Executed:
    """Returns the transactions that are in the log, or were. Raises the driver's errors.

    A transaction of MySQL is among them when others see it; one of MariaDB may not be seen yet.
    """
    if server.is_mariadb:
        position = connection.exec_driver_sql("SELECT @@global.gtid_binlog_pos").scalar()
        return DomainPositions.parse(str(position or ""))
    executed_set = connection.exec_driver_sql("SELECT @@global.gtid_executed").scalar()
    return GtidSet.parse(str(executed_set or ""))


def purged(connection: Connection) -> GtidSet:
    """Returns the transactions that a MySQL server has no longer in its log."""
    found = connection.exec_driver_sql("SELECT @@global.gtid_purged").scalar()
    return GtidSet.parse(str(found or ""))


def log_end(connection: Connection, server: Server) -> LogEnd:
    """Returns where the log ends now: everything that anybody sees is before it.

    Raises the driver's errors, one of a missing right among them.
    """
    newer = not server.is_mariadb and server.version >= (8, 2)
    asked = "SHOW BINARY LOG STATUS" if newer else "SHOW MASTER STATUS"
    row = connection.exec_driver_sql(asked).first()
    if row is None:
        return LogEnd("", 0)
    return LogEnd(str(row[0]), int(row[1]))


def charsets(connection: Connection, server: Server) -> dict[int, str]:
    """Returns the character set of each collation's id."""
    newer = server.is_mariadb and server.version >= _APPLICABLE
    found = {}
    for number, name in connection.exec_driver_sql(_CHARSETS_APPLICABLE if newer else _CHARSETS):
        if number is not None:
            found[int(number)] = str(name)
    return found
