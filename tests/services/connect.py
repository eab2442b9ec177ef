"""Runs a Kafka Connect worker of our own with Debezium's connectors.

It is one JVM, without REST but for a port on loopback.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from tests.services.kafka import LOGGING
from tests.services.kafka_files import LOG_PLUGINS, PLUGINS, WORKER
from tests.services.processes import HOST, ServerProcess, Workspace, free_port

Properties = Mapping[str, str]
NOTHING: Properties = {}
_OF_MARIADB = "io.debezium.connector.mariadb.MariaDbConnector"
_OF_MYSQL = "io.debezium.connector.mysql.MySqlConnector"
_OF_BINARY_LOG = (_OF_MARIADB, _OF_MYSQL)


class ConnectWorker:
    """Runs ConnectStandalone with its connectors; it is started with the object.

    `close` ends it and removes its directory.

    Converters are JsonConverter with schemas. Consumers of sinks read read_committed.
    """

    def __init__(
        self,
        bootstrap: str,
        connectors: Sequence[Properties],
        heap: str = "512m",
        worker: Properties = NOTHING,
    ) -> None:
        self._workspace = Workspace("connect")
        self._log = self._workspace.path / "connect.log"
        settings = {
            "bootstrap.servers": bootstrap,
            "listeners": f"http://{HOST}:{free_port()}",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": str(self._workspace.path / "offsets"),
            "offset.flush.interval.ms": "1000",
            "plugin.path": ",".join(map(str, _plugins(connectors))),
            "plugin.discovery": "service_load",
            "consumer.isolation.level": "read_committed",
            **worker,
        }
        files = [
            self._write("worker", settings),
            *(self._write(connector["name"], connector) for connector in connectors),
        ]
        logging = self._workspace.path / "log4j2.properties"
        logging.write_text(LOGGING)
        options = [
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={logging}",
        ]
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        self._process = ServerProcess(
            ["java", *options, "-cp", f"{WORKER.path()}/*", main, *files], self._log
        )

    @property
    def pid(self) -> int:
        """The JVM."""
        return self._process.pid

    @property
    def log(self) -> str:
        """The end of what the worker has logged."""
        return self._process.log_tail(20_000)

    def check(self) -> None:
        """Raises Hopeless when the worker has ended."""
        self._process.check()

    def stop(self) -> None:
        """Ends it in good order."""
        self._process.stop(timeout=60)

    def close(self) -> None:
        """Kills it and removes its directory."""
        self._process.kill()
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, name: str, properties: Properties) -> Path:
        path = self._workspace.path / f"{name}.properties"
        path.write_bytes(
            "".join(f"{key}={value}\n" for key, value in properties.items()).encode(
                "ascii", "backslashreplace"
            )
        )
        return path


def _plugins(connectors: Sequence[Properties]) -> Iterator[Path]:
    """Yields the folders of what the connectors are made of."""
    yield PLUGINS.path().parent
    if any(one["connector.class"] in _OF_BINARY_LOG for one in connectors):
        yield LOG_PLUGINS.path().parent


def debezium_source(
    name: str, conninfo: str, schema: str, topic: str, **further: str
) -> Properties:
    """Debezium's connector on a schema of a PostgreSQL database: changes only, all into one topic.

    The topic's first word names the slot and the publication.
    """
    dsn = conninfo_to_dict(conninfo)
    prefix = topic.partition(".")[0]
    table = topic.rpartition(".")[2]
    return {
        "name": name,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": str(dsn["host"]),
        "database.port": str(dsn["port"]),
        "database.user": str(dsn["user"]),
        "database.password": "unused",
        "database.dbname": str(dsn["dbname"]),
        "topic.prefix": prefix,
        "plugin.name": "pgoutput",
        "slot.name": prefix,
        "publication.name": prefix,
        "publication.autocreate.mode": "filtered",
        "schema.include.list": schema,
        "snapshot.mode": "no_data",
        "transforms": "name",
        "transforms.name.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.name.regex": rf".*\\.{table}",
        "transforms.name.replacement": topic,
        **further,
    }


def binary_log_source(
    name: str, url: URL, topic: str, folder: str, is_mariadb: bool, **further: str
) -> Properties:
    """Debezium's connector on a database of MariaDB or MySQL: changes only, all into one topic.

    The history of its tables stands in the folder.
    """
    prefix = topic.partition(".")[0]
    table = topic.rpartition(".")[2]
    return {
        "name": name,
        "connector.class": _OF_MARIADB if is_mariadb else _OF_MYSQL,
        "database.hostname": str(url.host),
        "database.port": str(url.port),
        "database.user": str(url.username),
        "database.password": url.password or "",
        "database.server.id": "5400",
        "topic.prefix": prefix,
        "database.include.list": str(url.database),
        "table.include.list": f"{url.database}.{table}",
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": f"{folder}/history",
        "schema.history.internal.store.only.captured.tables.ddl": "true",
        "include.schema.changes": "false",
        "snapshot.mode": "no_data",
        "transforms": "name",
        "transforms.name.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.name.regex": rf".*\\.{table}",
        "transforms.name.replacement": topic,
        **further,
    }


def jdbc_sink(name: str, topics: str, conninfo: str, **further: str) -> Properties:
    """Returns Debezium's JDBC sink into a PostgreSQL database, as docs/consumers.md has it.

    It upserts by the record's key, and deletes.
    """
    dsn = conninfo_to_dict(conninfo)
    return {
        "name": name,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": topics,
        "header.converter": "org.apache.kafka.connect.storage.StringConverter",
        "connection.url": f"jdbc:postgresql://{dsn['host']}:{dsn['port']}/{dsn['dbname']}?stringtype=unspecified",
        "connection.username": str(dsn["user"]),
        "connection.password": "unused",
        "insert.mode": "upsert",
        "delete.enabled": "true",
        "primary.key.mode": "record_key",
        "quote.identifiers": "true",
        **further,
    }
