"""What a demonstration is made of: the kind of front end, the Kafka client, and the broker."""

from contextlib import ExitStack
from typing import NamedTuple

import psycopg

from tests.agent_process import Installation, url
from tests.services.mariadb import MariaDbServer
from tests.services.postgres import PostgresServer

FRONTS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB"}
CLIENTS = ("kafka-python", "librdkafka")
DATABASE = "exchange"


class Parts(NamedTuple):
    """Holds the choice: one of FRONTS, one of CLIENTS, and a broker.

    The broker is there already; None stands for an embedded one.
    """

    front: str = "sqlite"
    client: str = "kafka-python"
    kafka: str | None = None

    @property
    def front_end(self) -> str:
        """The front end as its makers write it."""
        return FRONTS[self.front]

    def front_database(self, everything: ExitStack, source: PostgresServer) -> str | None:
        """Returns the address of a fresh front-end database, which ends with the stack.

        None stands for a SQLite file, which the agent makes.
        """
        if self.front == "mariadb":
            return everything.enter_context(
                everything.enter_context(MariaDbServer.start()).fresh_database()
            )
        if self.front == "sqlite":
            return None
        with psycopg.connect(source.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        return source.dsn(DATABASE)

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
