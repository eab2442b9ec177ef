"""What a demonstration is made of: the unit, the kind of front end, the client, the broker."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

import psycopg

from demo.businesses import BUSINESSES, LoggingBusiness
from demo.postgres import PostgresUnit
from demo.states import LoggedUnit, NotedUnit, PolledUnit, StatesUnit
from demo.unit import Unit
from tests.agent_process import Installation, url
from tests.services.mariadb import MariaDbServer
from tests.services.postgres import PostgresServer

FRONTS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB"}
LOGS = ("postgresql", "mysql")  # sources that have a database of their own
STATES: Mapping[str, type[StatesUnit]] = {"polling": PolledUnit, "trigger": NotedUnit}
SOURCES = (*LOGS, *STATES)
CLIENTS = ("kafka-python", "librdkafka")
DATABASE = "exchange"


class Parts(NamedTuple):
    """Holds the choice: one of FRONTS, one of CLIENTS, a broker, one of SOURCES and of BUSINESSES.

    The broker is there already; None stands for an embedded one. The business database is that of
    the sources in STATES.
    """

    front: str = "sqlite"
    client: str = "kafka-python"
    kafka: str | None = None
    source: str = "postgresql"
    business: str = "sqlite"

    @property
    def front_end(self) -> str:
        """The front end as its makers write it."""
        return FRONTS[self.front]

    def unit(self) -> Unit:
        """Returns the unit; nothing is started yet."""
        if self.source == "postgresql":
            return PostgresUnit()
        if self.source == "mysql":
            return LoggedUnit(LoggingBusiness())
        return STATES[self.source](BUSINESSES[self.business]())

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
