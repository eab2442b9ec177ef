"""The whole agent over the binary log of MariaDB and MySQL: equal in the end, whatever dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.kafka import KafkaAddress
from tests.services.mariadb import connected
from tests.source.databases import Place
from tests.source.logging_mysql import FEW_KINDS, logging_server
from tests.source.unit_without_log import Unit, check_equal_whatever_dies
from tests.waiting import eventually

SOURCE = 'type = "mysql"'


@pytest.fixture(params=FEW_KINDS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A server of each kind in turn."""
    with logging_server(request.param) as server:
        driver = "mariadb" if server.is_mariadb else "mysql"
        url = server.server.url.set(drivername=f"{driver}+pymysql", database="unit")
        yield Place(driver, url)


@pytest.fixture
def unit(place: Place, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path) -> Unit:
    """A unit with a server of each kind in turn."""
    return Unit(place, kafka, topic_prefix, tmp_path, SOURCE)


def test_equal_in_the_end_whatever_dies(unit: Unit, place: Place) -> None:
    """Each change is in the log: no comparison is needed.

    In the end a session logs a statement in place of rows, which names a view alone; and another
    table takes the name of the shared one, as tools do that change tables online. No row of the log
    says what either has changed.
    """

    def hidden() -> None:
        place.execute("CREATE VIEW hidden AS SELECT * FROM permit")
        with connected(place.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION binlog_format = STATEMENT")
            cursor.execute("UPDATE hidden SET amount = amount + 5000 WHERE MOD(id, 2) = 0")
        eventually(lambda: unit.front == unit.business, what="the tables were compared")

    def swapped() -> None:
        place.execute(
            "CREATE TABLE permit_new LIKE permit",
            "INSERT INTO permit_new SELECT * FROM permit WHERE MOD(id, 3) > 0",
            "UPDATE permit_new SET amount = amount + 1000 WHERE MOD(id, 3) = 1",
            "RENAME TABLE permit TO permit_old, permit_new TO permit",
        )
        unit.write(5)

    def at_the_end() -> None:
        hidden()
        swapped()

    check_equal_whatever_dies(unit, at_the_end)
