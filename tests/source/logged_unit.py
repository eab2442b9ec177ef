"""A database of the MySQL family with a shared table `orders`, and sources that read its log."""

from collections.abc import Sequence
from typing import TypeVar

from agent.config import ResourceSettings
from agent.config.database import ZeroDates
from agent.connectors.changes import Heartbeat, Message
from agent.connectors.database.session import Database
from agent.connectors.mysql.source import MySqlSource
from agent.connectors.position import position_text
from agent.connectors.resume import CommitMark, Resume
from tests.source.logging_mysql import Logging
from tests.source.reading import silent_never
from tests.waiting import eventually

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, note varchar(50))"
STATEMENTS = {
    "I": "INSERT INTO orders (id, note) VALUES ({0}, 'order {0}')",
    "U": "UPDATE orders SET note = 'changed' WHERE id = {0}",
    "D": "DELETE FROM orders WHERE id = {0}",
    "T": "TRUNCATE orders",
}


E = TypeVar("E", bound=Exception)


class Unit:
    """A fresh database with the table `orders` and one that nobody shares, and sources on it."""

    def __init__(self, server: Logging) -> None:
        self.server = server
        self._opened: list[MySqlSource] = []
        self.run("DROP DATABASE unit", "CREATE DATABASE unit CHARACTER SET utf8mb4")
        self.run(ORDERS, "CREATE TABLE other (id int)")
        self.begin_here()

    def begin_here(self) -> None:
        """Lets sources that read from the beginning begin behind what was done so far."""
        with self.server.session() as run:
            self._executed = self.server.position(run)

    def run(self, *statements: str) -> None:
        """Runs statements of the application in one session; each is committed."""
        with self.server.session() as run:
            if not statements[0].startswith("DROP DATABASE"):
                run("USE unit")
            for statement in statements:
                run(statement)

    def commit(self, *steps: str) -> None:
        """Commits one transaction, as tests.source.reading.Business does."""
        made = [STATEMENTS[step[0]].format(step[1:]) for step in steps]
        self.run("BEGIN", *made, "COMMIT")

    @property
    def resource(self) -> ResourceSettings:
        """Returns the settings of the shared table."""
        return self._sharing("id", "note")

    def _sharing(self, *columns: str) -> ResourceSettings:
        given = {"name": "orders", "table": "orders", "columns": list(columns)}
        return ResourceSettings.model_validate(given)

    def source(
        self,
        server_id: int = 4711,
        port: int | None = None,
        zero_dates: ZeroDates = "suspend",
        columns: Sequence[str] = ("id", "note"),
        heartbeat: float = 0.3,
    ) -> MySqlSource:
        """Makes a source, closed when the test ends."""
        driver = "mariadb" if self.server.is_mariadb else "mysql"
        url = self.server.server.url.set(drivername=f"{driver}+pymysql", database="unit")
        url = url.set(port=port or url.port)
        address = url.render_as_string(hide_password=False)
        database = Database(address, None, 20.0, zero_dates=zero_dates)
        places = {("", "orders"): self._sharing(*columns)}
        source = MySqlSource(
            database, places, "unit", server_id=server_id, agent="agent", heartbeat=heartbeat
        )
        self._opened.append(source)
        return source

    def opened(self) -> MySqlSource:
        """Makes a source that reads from the beginning."""
        source = self.source()
        source.open(self.initial(), silent_never)
        return source

    def initial(self) -> Resume:
        """Returns what `init` would have stored."""
        identity = {"executed": self._executed}
        return Resume(position_text(1 << 20), CommitMark("", 0, 0), identity)

    def close(self) -> None:
        """Closes every source."""
        for source in self._opened:
            source.close()


def beaten(unit: Unit, source: MySqlSource) -> list[Message]:
    """Reads up to a new heartbeat behind all that was written."""
    with unit.server.session() as run:
        executed = unit.server.position(run)
    found: list[Message] = []

    def passed() -> bool:
        source.housekeeping()
        found.extend(source.read(0.05))
        beats = [message for message in found if isinstance(message, Heartbeat)]
        return bool(beats) and executed in beats[-1].token

    eventually(passed, what="a heartbeat is behind all that was written")
    return found


def raised(source: MySqlSource, kind: type[E]) -> E:
    """Reads until that is raised, and returns it."""
    found: list[E] = []

    def comes() -> bool:
        try:
            list(source.read(0.05))
        except kind as error:
            found.append(error)
        return bool(found)

    eventually(comes, what=f"{kind.__name__} is raised")
    return found[0]
