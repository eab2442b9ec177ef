"""The services of the tests do what the other tests rely on."""

import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not re-exported for mypy
from sqlalchemy import URL

from tests.services import firebird, mariadb
from tests.services.kafka import KafkaAddress, KafkaBroker
from tests.services.mysql import MySqlServer
from tests.services.mysql_files import Version
from tests.services.noida import NoidaBroker
from tests.services.postgres import PostgresAddress, PostgresServer
from tests.services.processes import HOST, free_port, run
from tests.services.proxy import TcpProxy
from tests.waiting import PATIENCE, Hopeless, eventually, never


def test_both_postgres_versions_decode_logically(any_postgres: PostgresAddress) -> None:
    with psycopg.connect(any_postgres.dsn()) as connection:
        assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_a_fresh_database_may_leave_a_slot_behind(any_database: str) -> None:
    with psycopg.connect(any_database, autocommit=True) as connection:
        slot = f"slot_{uuid.uuid4().hex[:12]}"
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])


def test_a_server_of_our_own_is_stopped_killed_and_restored(tmp_path: Path) -> None:
    with PostgresServer.start(18, {"work_mem": "5MB"}) as server:
        execute(server, "CREATE TABLE kept (id int)")
        assert server.stop() < 30
        server.copy_data_directory(tmp_path / "copy")
        server.start_again()
        execute(server, "DROP TABLE kept")
        server.kill9()
        server.start_again()
        server.stop("immediate")
        server.restore(tmp_path / "copy")
        server.start_again()
        execute(server, "SELECT FROM kept")
        server.reload({"work_mem": "7MB"})
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
        directory = server.data_directory
    assert not directory.exists()


def execute(server: PostgresServer, statement: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(statement.encode())


def test_a_mariadb_of_our_own_is_careless_and_leaves_nothing() -> None:
    """Its defaults are those the agent must not depend on; `close` removes its files."""
    with mariadb.MariaDbServer.start() as server, server.fresh_database() as url:
        assert mariadb.execute(
            url, "SELECT @@sql_mode, @@collation_server, @@system_time_zone"
        ) == [("", "utf8mb4_general_ci", "CST")]
        ((directory,),) = mariadb.execute(server.url, "SELECT @@datadir")
    assert not Path(directory).exists()


@pytest.mark.parametrize("version", [8, 9])
def test_a_mysql_of_our_own_survives_a_kill(version: Version) -> None:
    """What was committed is there again; `close` removes its files."""
    with MySqlServer.start(version) as server, server.fresh_database() as url:
        ((answer,),) = mariadb.execute(url, "SELECT version()")
        assert answer.startswith(f"{version}.")
        mariadb.execute(url, "CREATE TABLE kept (id int PRIMARY KEY)")
        mariadb.execute(url, "INSERT INTO kept VALUES (1)")
        server.kill9()
        server.start_again()
        assert mariadb.execute(url, "SELECT id FROM kept") == [(1,)]
        ((directory,),) = mariadb.execute(server.url, "SELECT @@datadir")
    assert not Path(directory).exists()


def test_a_firebird_database_outlives_a_process_that_is_killed(firebird_database: URL) -> None:
    """Two processes have it open at once, and one of them is killed within a transaction."""
    firebird.execute(firebird_database, "CREATE TABLE kept (id int NOT NULL PRIMARY KEY)")
    program = """
import os
import signal
import sys

from sqlalchemy import make_url

from tests.services.firebird import connected, execute

url = make_url(sys.argv[1])
execute(url, "INSERT INTO kept VALUES (1)")
with connected(url) as connection:
    connection.cursor().execute("INSERT INTO kept VALUES (2)")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with firebird.connected(firebird_database) as connection:
        address = firebird_database.render_as_string(hide_password=False)
        ended = subprocess.run([sys.executable, "-c", program, address], check=False)
        assert ended.returncode == -signal.SIGKILL
        with connection.cursor() as cursor:
            assert cursor.execute("SELECT id FROM kept").fetchall() == [(1,)]
            cursor.execute("INSERT INTO kept VALUES (2)")
        connection.commit()


def test_kafka_hides_an_aborted_transaction(kafka: KafkaAddress, topic_prefix: str) -> None:
    topic = create_topic(kafka, topic_prefix)
    producer = transactional(kafka.bootstrap, topic_prefix)
    for value, commit in (("aborted", False), ("committed", True)):
        producer.begin_transaction()
        producer.produce(topic, value.encode())
        producer.flush(20)
        if commit:
            producer.commit_transaction(PATIENCE)
        else:
            producer.abort_transaction(20)
    assert first_value(kafka.bootstrap, topic) == b"committed"


def test_kafka_asks_for_password_and_permission(
    kafka_broker: KafkaBroker, topic_prefix: str
) -> None:
    topic = create_topic(kafka_broker, topic_prefix)
    user = f"user-{topic_prefix}"
    kafka_broker.add_user(user, "right")
    with pytest.raises(KafkaException, match=r"(?i)timed out|authentication"):
        transactional(
            kafka_broker.secure_bootstrap,
            topic_prefix,
            login(kafka_broker, user, "wrong"),
            timeout=4,
        )
    with pytest.raises(KafkaException, match=r"(?i)authorization"):
        transactional(
            kafka_broker.secure_bootstrap, topic_prefix, login(kafka_broker, user, "right")
        )
    kafka_broker.allow(user, "topic", topic, ["write", "describe"])
    kafka_broker.allow(user, "transactional_id", topic_prefix, ["write", "describe"], prefixed=True)
    producer = transactional(
        kafka_broker.secure_bootstrap, topic_prefix, login(kafka_broker, user, "right")
    )
    producer.begin_transaction()
    producer.produce(topic, b"allowed")
    producer.commit_transaction(PATIENCE)
    assert first_value(kafka_broker.bootstrap, topic) == b"allowed"


def test_kafka_keeps_committed_records_over_kill_and_pause(
    kafka_broker: KafkaBroker, topic_prefix: str
) -> None:
    topic = create_topic(kafka_broker, topic_prefix)
    producer = transactional(kafka_broker.proxied_bootstrap, topic_prefix)
    producer.begin_transaction()
    producer.produce(topic, b"kept")
    producer.commit_transaction(PATIENCE)
    kafka_broker.kill9()
    kafka_broker.start_again()
    with kafka_broker.paused(), pytest.raises(KafkaException):
        kafka_broker.admin.list_topics(timeout=0.5)
    assert first_value(kafka_broker.bootstrap, topic) == b"kept"


def test_the_embedded_broker_keeps_records_over_a_stop(topic_prefix: str) -> None:
    with NoidaBroker.start() as broker:
        topic = create_topic(KafkaAddress(broker.bootstrap), topic_prefix)
        producer = transactional(broker.bootstrap, topic_prefix)
        producer.begin_transaction()
        producer.produce(topic, b"kept")
        producer.commit_transaction(PATIENCE)
        broker.stop()
        broker.start_again()
        assert first_value(broker.bootstrap, topic) == b"kept"


def create_topic(broker: KafkaAddress, name: str) -> str:
    for future in broker.admin.create_topics([NewTopic(name, num_partitions=1)]).values():
        future.result(PATIENCE)
    return name


def login(broker: KafkaBroker, user: str, password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": broker.ca_file,
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }


def transactional(
    bootstrap: str,
    transactional_id: str,
    security: dict[str, str] | None = None,
    timeout: float = 20,
) -> Producer:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "log_level": 0,
            **(security or {}),
        }
    )
    producer.init_transactions(timeout)
    return producer


def first_value(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": topic,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    try:
        message = eventually(lambda: consumer.poll(1), what=f"a record of {topic}")
        assert message is not None
        assert message.error() is None
        value = message.value()
        return value.encode() if isinstance(value, str) else value
    finally:
        consumer.close()


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Yields a server that sends back what it gets."""
    with socket.create_server((HOST, 0)) as server:
        threading.Thread(target=serve_echo, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def serve_echo(server: socket.socket) -> None:
    try:
        while True:
            threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
    except OSError:
        return


def echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            return


def connect(proxy: TcpProxy, timeout: float = PATIENCE) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout)


def round_trip(connection: socket.socket, data: bytes = b"hello") -> bool:
    connection.sendall(data)
    received = b""
    while len(received) < len(data):
        part = connection.recv(65536)
        if not part:
            return False
        received += part
    return received == data


def test_the_proxy_passes_and_throttles(echo_port: int) -> None:
    with TcpProxy(HOST, echo_port) as proxy, connect(proxy) as connection:
        assert round_trip(connection, bytes(1_000_000))
        proxy.throttle(100_000)
        began = time.monotonic()
        assert round_trip(connection, bytes(50_000))
        assert time.monotonic() - began >= 0.4
        proxy.heal()
        assert round_trip(connection, bytes(1_000_000))


def test_the_proxy_holds_what_falls_into_a_black_hole(echo_port: int) -> None:
    with TcpProxy(HOST, echo_port) as proxy, connect(proxy) as old:
        assert round_trip(old)
        proxy.black_hole()
        with connect(proxy) as new:
            for connection in (old, new):
                connection.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    round_trip(connection)
            proxy.heal()
            for connection in (old, new):
                connection.settimeout(PATIENCE)
                assert connection.recv(5) == b"hello"


def test_the_proxy_cuts_refuses_and_heals(echo_port: int) -> None:
    with TcpProxy(HOST, echo_port) as proxy:
        with connect(proxy) as connection:
            assert round_trip(connection)
            proxy.cut()
            with pytest.raises(ConnectionError):
                round_trip(connection)
        with connect(proxy) as connection:
            assert round_trip(connection)
            proxy.refuse()
            with pytest.raises(ConnectionError):
                round_trip(connection)
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
        proxy.heal()
        with connect(proxy) as connection:
            assert round_trip(connection)


def test_the_proxy_closes_one_half_of_a_connection(echo_port: int) -> None:
    """The server is told, the client is not; others pass."""
    with TcpProxy(HOST, echo_port) as proxy, connect(proxy) as old:
        assert round_trip(old)
        proxy.half_close()
        old.settimeout(0.3)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                round_trip(old)
        with connect(proxy) as new:
            assert round_trip(new)
        proxy.heal()
        with pytest.raises(TimeoutError):
            round_trip(old)


def test_the_proxy_passes_the_end_of_a_stream(echo_port: int) -> None:
    with TcpProxy(HOST, echo_port) as proxy, connect(proxy) as connection:
        connection.sendall(struct.pack("I", 7))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == struct.pack("I", 7)
        assert connection.recv(100) == b""


def test_no_port_is_given_twice_also_not_to_another_session() -> None:
    program = (
        "from tests.services.processes import free_port; print([free_port() for _ in range(60)])"
    )
    ours = [free_port() for _ in range(60)]
    theirs = json.loads(run([sys.executable, "-c", program]))
    assert len({*ours, *theirs}) == 120


def test_waiting_names_what_did_not_happen() -> None:
    values = iter([0, 0, 3])
    assert eventually(lambda: next(values), 5, interval=0.01) == 3
    with pytest.raises(AssertionError, match=r"the impossible.*ZeroDivisionError"):
        eventually(lambda: 1 // 0, 0.05, "the impossible", interval=0.01)
    with pytest.raises(Hopeless):
        eventually(give_up, 60)
    never(lambda: False, 0.02)
    with pytest.raises(AssertionError, match="the unwanted"):
        never(lambda: True, 0.02, "the unwanted")


def give_up() -> bool:
    raise Hopeless("it ended")
