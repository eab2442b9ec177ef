"""What a demonstration is made of: the unit, the kind of front end, the client, the broker."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import psycopg

from demo.postgres import PostgresUnit
from demo.states import NotedUnit, PolledUnit
from demo.unit import Unit
from tests.agent_process import Installation, url
from tests.services.mariadb import MariaDbServer
from tests.services.postgres import PostgresServer

FRONTS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB"}
SOURCES: Mapping[str, Callable[[], Unit]] = {
    "postgresql": PostgresUnit,
    "polling": PolledUnit,
    "trigger": NotedUnit,
}
CLIENTS = ("kafka-python", "librdkafka")
DATABASE = "exchange"


class Parts(NamedTuple):
    """Holds the choice: one of FRONTS, one of CLIENTS, a broker, and one of SOURCES.

    The broker is there already; None stands for an embedded one.
    """

    front: str = "sqlite"
    client: str = "kafka-python"
    kafka: str | None = None
    source: str = "postgresql"

    @property
    def front_end(self) -> str:
        """The front end as its makers write it."""
        return FRONTS[self.front]

    def unit(self) -> Unit:
        """Returns the unit; nothing is started yet."""
        return SOURCES[self.source]()

    def front_database(self, everything: ExitStack) -> str | None:
        """Returns the address of a fresh front-end database, which ends with the stack.

        None stands for a SQLite file, which the agent makes.
        """
        if self.front == "mariadb":
            return everything.enter_context(
                everything.enter_context(MariaDbServer.start()).fresh_database()
            )
        if self.front == "sqlite":
            return None
        server = everything.enter_context(PostgresServer.start(18))
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        return server.dsn(DATABASE)

    def shell(self, place: Installation) -> str:
        """Returns how to look into the front end."""
        if place.front is None:
            return f"sqlite3 {place.front_file}"
        return (
            f"mariadb connection {place.front}"
            if self.front == "mariadb"
            else f"psql {url(place.front)}"
        )


PLAINEST = Parts()
