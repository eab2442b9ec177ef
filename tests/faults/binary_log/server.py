"""Servers of the MySQL family whose binary log an agent reads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Lock

from tests.faults.ground import PASSWORD
from tests.faults.schedule import Source
from tests.services.mariadb import MariaDbServer, OwnServer, execute
from tests.services.mysql import MySqlServer
from tests.source.logging_mysql import GTIDS, LOGGING

# The log goes on in another file every few seconds, and large rows are compressed
OF_EACH = (*LOGGING, "--max-binlog-size=65536", "--binlog-expire-logs-seconds=3600")
OF_MARIADB = ("--log-bin-compress=ON", "--log-bin-compress-min-len=256")
OF_MYSQL = (*GTIDS, "--binlog-rows-query-log-events=ON")
# Keys that differ by case or blanks alone are several, as far as the server can tell them apart
EXACT = {"mariadb": "utf8mb4_nopad_bin", "mysql8": "utf8mb4_bin", "mysql9": "utf8mb4_0900_bin"}
RIGHTS = {
    "mariadb": "REPLICATION SLAVE, BINLOG MONITOR",
    "mysql8": "REPLICATION SLAVE, REPLICATION CLIENT",
    "mysql9": "REPLICATION SLAVE, REPLICATION CLIENT",
}


def start(source: Source) -> OwnServer:
    """Starts a server of a kind."""
    if source == "mariadb":
        return MariaDbServer.start(*OF_EACH, *OF_MARIADB)
    return MySqlServer.start(8 if source == "mysql8" else 9, *OF_EACH, *OF_MYSQL)


@contextmanager
def fresh_unit(server: OwnServer, source: Source, name: str) -> Iterator[str]:
    """Makes an empty database and the agent's account, both of that name; drops them in the end.

    Yields the administrator's URL with the database.
    """
    made = f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE {EXACT[source]}"
    execute(server.url, made)
    execute(server.url, f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")
    execute(server.url, f"GRANT {RIGHTS[source]} ON *.* TO {name}@'%'")
    execute(server.url, f"GRANT SELECT ON {name}.* TO {name}@'%'")
    try:
        yield server.url.set(drivername=driver(source), database=name).render_as_string()
    finally:
        execute(server.url, f"DROP USER {name}@'%'")
        execute(server.url, f"DROP DATABASE {name}")


def driver(source: Source) -> str:
    """Returns what the URL of such a server begins with."""
    return "mariadb" if source == "mariadb" else "mysql"


class LoggingServers:
    """Servers to which nothing happens, one for each schedule that runs at the same time.

    A statement in one database that names a table would concern the same name in another one.
    """

    def __init__(self) -> None:
        self._everything = ExitStack()
        # A server ends with the thread that has started it (`dying_with_parent`), and those that
        # run schedules end before the servers do
        self._starting = self._everything.enter_context(ThreadPoolExecutor(1))
        self._taking = Lock()
        self._idle: dict[Source, list[OwnServer]] = {}

    @contextmanager
    def taken(self, source: Source) -> Iterator[OwnServer]:
        """Yields a server that nobody else uses, and starts one where there is none."""
        with self._taking:
            idle = self._idle.setdefault(source, [])
            server = idle.pop() if idle else self._started(source)
        try:
            yield server
        finally:
            idle.append(server)

    def _started(self, source: Source) -> OwnServer:
        server = self._starting.submit(start, source).result()
        return self._everything.enter_context(server)

    def close(self) -> None:
        """Ends them all."""
        self._everything.close()
