"""A process that is asked to stop waits neither for answers nor for new connections."""

import os
import socket
import time
from collections.abc import Callable, Iterator

import psycopg
import pymysql
import pytest

from agent.connectors.dialects import bounded_pymysql as to_mariadb
from agent.connectors.postgres import bounded_connection as to_postgres
from agent.stop_watch import answers_until_stopped, seconds_to_connect, wait
from tests.services.processes import HOST
from tests.waiting import BUSY

GRACE = 8.0  # seconds until the supervisor kills a process that was asked to stop
LONG = 60.0  # seconds of the drivers' own patience


@pytest.fixture
def silent() -> Iterator[int]:
    """Yields the port of a server that accepts and never says a word."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def stop() -> Iterator[Callable[[], None]]:
    """Asks this process to stop; its lines are watched meanwhile."""
    read, write = os.pipe()

    def ask() -> None:
        os.write(write, b"!")

    try:
        with answers_until_stopped(read):
            yield ask
    finally:
        os.close(read)
        os.close(write)


def test_a_wait_ends_with_the_request_to_stop(stop: Callable[[], None]) -> None:
    """What has arrived is found even then."""
    read, write = os.pipe()
    stop()
    assert not wait(LONG, read)
    os.write(write, b"!")
    assert wait(LONG, read)
    began = time.monotonic()
    assert not wait(LONG)
    assert time.monotonic() - began < LONG
    os.close(read)
    os.close(write)


def postgres(port: int) -> None:
    to_postgres.bounded(LONG, host=HOST, port=port, user="nobody", sslmode="disable")


def mariadb(port: int) -> None:
    to_mariadb.bounded(host=HOST, port=port, user="nobody", read_timeout=LONG)


CONNECTS = [(postgres, psycopg.OperationalError), (mariadb, pymysql.OperationalError)]


@pytest.mark.parametrize(("connect", "error"), CONNECTS)
def test_a_server_that_does_not_greet(
    connect: Callable[[int], None], error: type[Exception], silent: int, stop: Callable[[], None]
) -> None:
    """The connection is given up in time, and afterwards none is tried any more."""
    stop()
    began = time.monotonic()
    with pytest.raises(error):
        connect(silent)
    assert time.monotonic() - began < GRACE + BUSY
    while seconds_to_connect() > 0:
        with pytest.raises(error):
            connect(silent)
    began = time.monotonic()
    with pytest.raises(error, match="to stop"):
        connect(silent)
    assert time.monotonic() - began < 1 + BUSY
