"""The whole agent over the binary log of MariaDB and MySQL: equal in the end, whatever dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.kafka import KafkaAddress
from tests.source.databases import Place
from tests.source.logging_mysql import KINDS, logging_server
from tests.source.unit_without_log import Unit, check_equal_whatever_dies

SOURCE = 'type = "mysql"'


@pytest.fixture(params=KINDS)
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

    In the end another table takes the name of the shared one, as tools do that change tables
    online. No row of the log says what it holds.
    """

    def swapped() -> None:
        place.execute(
            "CREATE TABLE permit_new LIKE permit",
            "INSERT INTO permit_new SELECT * FROM permit WHERE MOD(id, 3) > 0",
            "UPDATE permit_new SET amount = amount + 1000 WHERE MOD(id, 3) = 1",
            "RENAME TABLE permit TO permit_old, permit_new TO permit",
        )
        unit.write(5)

    check_equal_whatever_dies(unit, swapped)
