"""Sessions at Firebird: no statement takes longer than it may, and a stop of the agent ends it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import stop_watch
from agent.connectors.database.session import Database
from agent.errors import SourceUnreachable
from tests.services.firebird import firebird
from tests.waiting import eventually

ENDLESS = "SELECT count(*) FROM rdb$fields a, rdb$fields b, rdb$fields c, rdb$fields d"
LONG = 600.0  # seconds


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    with firebird(tmp_path) as url:
        yield url.render_as_string(hide_password=False)


def test_a_statement_ends_in_time(address: str) -> None:
    """And the session can be used afterwards."""
    database = Database(address, None, 0.2)
    with database.connect() as connection:
        with pytest.raises(SourceUnreachable, match="HY008"), database.guarded():
            connection.exec_driver_sql(ENDLESS).scalar()
        assert connection.exec_driver_sql("SELECT 1 FROM rdb$database").scalar() == 1


def test_a_stop_ends_the_statement_that_runs(address: str) -> None:
    database = Database(address, None, LONG)
    ended: list[str] = []

    def read() -> None:
        with database.connect() as connection:
            lines.append(connection.connection.dbapi_connection.line)  # type: ignore[union-attr]
            try:
                with database.guarded():
                    connection.exec_driver_sql(ENDLESS).scalar()
            except SourceUnreachable as error:
                ended.append(error.code)

    lines: list[stop_watch.Line] = []
    reading = threading.Thread(target=read)
    reading.start()

    def over() -> bool:
        for line in lines:
            line.shut()
        return bool(ended)

    eventually(over, what="the statement is given up")
    reading.join()
    assert ended == [SourceUnreachable.code]


def test_nothing_is_connected_once_a_stop_is_asked_for(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_watch, "seconds_to_connect", lambda: 0.0)
    with pytest.raises(SourceUnreachable):
        Database(address, None, LONG).connect()
