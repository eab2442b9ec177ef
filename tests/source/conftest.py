"""Makes business databases with publication and slot, and sources that are closed in the end."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from runpy import run_path
from typing import Any, NamedTuple, cast

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from agent.config import ResourceSettings, Settings
from agent.connectors.base import Source
from agent.connectors.changes import (
    Begin,
    Change,
    Column,
    Commit,
    Heartbeat,
    Message,
    Relation,
    Truncate,
)
from agent.connectors.database.session import Database
from agent.connectors.memory import MemorySnapshot, MemorySource
from agent.connectors.position import position_number, position_text
from agent.connectors.postgres.source import PostgresSource
from agent.connectors.resume import CommitMark, Resume
from agent.connectors.table import SourceColumn, SourceTable
from agent.connectors.trigger.source import Place, TriggerSource
from agent.front.durable import empty_store
from agent.values.column_types import INT4, TEXT
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresServer, Version
from tests.source.databases import PolledBusiness, place_of
from tests.source.logged_unit import Unit
from tests.source.logging_mysql import KINDS as LOGGED
from tests.source.logging_mysql import Logging, logging_server
from tests.source.noting import KINDS as NOTING
from tests.source.noting import ORDERS, Noting
from tests.source.reading import Business, NumberedBusiness, PagedBusiness
from tests.waiting import eventually

TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, note text); "
    'CREATE TABLE "订单 ""Q""" (id int PRIMARY KEY, "Größe 尺寸" text); '
    "CREATE TABLE other (id int)"
)

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "csv_folder.py"

STATEMENTS = {
    "I": "INSERT INTO orders VALUES ({0}, 'order {0}')",
    "U": "UPDATE orders SET note = 'changed' WHERE id = {0}",
    "D": "DELETE FROM orders WHERE id = {0}",
    "T": "TRUNCATE orders",
}  # fmt: skip


class ReleasedSource(PostgresSource):
    """Is closed when the server knows it, too: a busy one keeps the slot for a moment."""

    def __init__(self, settings: Settings, reader: Callable[[], int | None]) -> None:
        super().__init__(settings)
        self._reader = reader
        self._process: int | None = None

    def open(self, resume: Resume, silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        super().open(resume, silent_since)
        self._process = self._reader()

    def close(self) -> None:
        """See Source.close."""
        super().close()
        process, self._process = self._process, None
        if process is not None:
            eventually(lambda: self._reader() != process, what="the server lets go of the slot")


class PostgresBusiness:
    """Is a fresh PostgreSQL database.

    `publish` makes the publication and then the slot, in the order in which `init` does.
    """

    whole_rows = False

    def __init__(self, conninfo: str, folder: Path) -> None:
        self.conninfo = conninfo
        self._folder = folder
        self._name = f"t{uuid.uuid4().hex[:12]}"
        self._start = "0/0"
        self._opened: list[PostgresSource] = []

    def connect(self) -> psycopg.Connection[Any]:
        """Returns a connection of the application."""
        return psycopg.connect(self.conninfo, autocommit=True)

    def commit(self, *steps: str) -> None:
        """See Business.commit."""
        self.transaction(*[STATEMENTS[step[0]].format(step[1:]) for step in steps])

    def hold(self, *numbers: int) -> None:
        """See PagedBusiness.hold."""
        self.commit(*(f"I{number}" for number in numbers))

    def beat(self, source: Source) -> None:
        """See Business.beat: the first look after `open` is one too many seconds after the last."""
        eventually(source.housekeeping, what="the source is tended")

    def analyse(self) -> None:
        """See Business.analyse."""
        self.transaction("ANALYZE")

    @contextmanager
    def hanging(self, step: str) -> Iterator[int]:
        """See Business.hanging."""
        with psycopg.connect(self.conninfo) as connection:
            connection.execute(STATEMENTS[step[0]].format(step[1:]).encode())
            row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
            assert row is not None
            yield int(row[0]) & 0xFFFFFFFF
            connection.commit()

    def transaction(self, *statements: str) -> None:
        """Runs the statements in one transaction and commits."""
        with psycopg.connect(self.conninfo) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, query: str, *parameters: object) -> Any:
        """Returns the first column of the first row, as the superuser sees it."""
        with self.connect() as connection:
            row = connection.execute(query.encode(), parameters).fetchone()
        return None if row is None else row[0]

    def publish(self, *tables: str) -> None:
        """Publishes tables (with schema, as SQL writes them) and makes the slot."""
        with self.connect() as connection:
            name = sql.Identifier(self._name)
            listed = sql.SQL(", ").join([sql.SQL(table) for table in tables])
            connection.execute(
                sql.SQL(
                    "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)"
                ).format(name, listed)
            )
        self._start = self.create_slot()

    def create_slot(self) -> str:
        """Makes the slot and returns where it begins."""
        return str(
            self.value(
                "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')",
                self._name,
            )
        )

    @property
    def slot(self) -> str:
        """Name of the slot."""
        return self._name

    def settings(self, tables: tuple[str, ...] = ("public.orders",), **source: object) -> Settings:
        """Returns a configuration for this database; `source` replaces parts of [source]."""
        given = conninfo_to_dict(self.conninfo)
        parts: dict[str, object] = {
            "host": given["host"], "port": int(given.get("port") or 5432),
            "database": given["dbname"], "user": given["user"], "slot": self._name,
            "publication": self._name, "heartbeat_seconds": 300.0,
        }  # fmt: skip
        if given.get("password"):
            password = self._folder / "password"
            password.write_text(str(given["password"]))
            parts["password"] = {"file": str(password)}
        return Settings.model_validate(
            {
                "source": {**parts, **source},
                "kafka": {"bootstrap_servers": ["127.0.0.1:1"], "prefix": "unit"},
                "resource": [
                    {"name": f"r{i}", "table": table, "columns": ["id"]}
                    for i, table in enumerate(tables)
                ],
            }
        )

    def source(self, settings: Settings | None = None) -> PostgresSource:
        """See Business.source."""
        source = ReleasedSource(settings or self.settings(), self._reader)
        self._opened.append(source)
        return source

    def _reader(self) -> int | None:
        """Returns the server's process that reads the slot."""
        with suppress(psycopg.Error):
            query = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s"
            return cast("int | None", self.value(query, self._name))
        return None

    def initial(self) -> Resume:
        """See Business.initial."""
        system = str(self.value("SELECT system_identifier FROM pg_control_system()"))
        timeline = self.value("SELECT timeline_id FROM pg_control_checkpoint()")
        return Resume(
            self._start,
            CommitMark("", 0, 0),
            {"system_id": system, "timeline": timeline, "slot": self._name},
        )

    def acknowledged(self) -> int:
        """See Business.acknowledged."""
        return position_number(
            self.value(
                "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s",
                self._name,
            )
        )

    def close(self) -> None:
        """Closes every source."""
        for source in self._opened:
            source.close()

    def drop_slot(self) -> None:
        """Lets go of the log, where the database outlives the test."""
        with suppress(psycopg.Error), self.connect() as connection:
            eventually(
                lambda: (
                    not self.value(
                        "SELECT active FROM pg_replication_slots WHERE slot_name = %s", self._name
                    )
                ),
                what="the slot is free",
            )
            connection.execute("SELECT pg_drop_replication_slot(%s)", [self._name])


@pytest.fixture
def postgres_business(any_database: str, tmp_path: Path) -> Iterator[PostgresBusiness]:
    """Yields a database in PostgreSQL 15, then 18, with nothing in it."""
    business = PostgresBusiness(any_database, tmp_path)
    yield business
    business.close()


def with_tables(business: PostgresBusiness) -> PostgresBusiness:
    """Returns the tables of TABLES, all published but `other`."""
    business.transaction(TABLES)
    business.publish("public.orders", 'public."订单 ""Q"""')
    return business


@pytest.fixture
def published(postgres_business: PostgresBusiness) -> PostgresBusiness:
    """Returns a database with published tables in PostgreSQL 15, then 18."""
    return with_tables(postgres_business)


class MemoryBusiness:
    """The in-memory twin's side of the contract suite."""

    whole_rows = False

    def __init__(self) -> None:
        columns = tuple(
            SourceColumn(name, oid, oid, text, True, name == "id", "")
            for name, oid, text in (("id", INT4, "integer"), ("note", TEXT, "text"))
        )
        orders = "public", "orders"
        self._source = MemorySource({orders: SourceTable(1, *orders, columns, ("id",), "d")})
        self._rows = self._source.held.setdefault(orders, {})
        self._position = 100

    def commit(self, *steps: str) -> None:
        """See Business.commit."""
        table = Relation(
            1,
            "public",
            "orders",
            "d",
            (Column("id", INT4, -1, True), Column("note", TEXT, -1, False)),
        )
        # Pages write positions too
        written = [
            message.position
            for entry in self._source.log
            for message in entry
            if isinstance(message, Commit)
        ]
        self._position = max([self._position, *written])
        start, self._position = self._position + 8, self._position + 16
        messages: list[Message] = [Begin(start, start, start)]
        for step in steps:
            number = step[1:]
            if step == "T":
                self._rows.clear()
                messages.append(Truncate((table,), start))
            else:
                new = {"I": (number, f"order {number}"), "U": (number, "changed"), "D": None}[
                    step[0]
                ]
                self._rows.pop((number,), None)
                if new is not None:
                    self._rows[number,] = {"id": new[0], "note": new[1]}
                messages.append(
                    Change(
                        table,
                        step[0],
                        (number, None) if new is None else None,
                        new,
                        False,
                        start,
                        10,
                    )
                )
        self._source.log.append([*messages, Commit(start, self._position, start)])

    def hold(self, *numbers: int) -> None:
        """See PagedBusiness.hold: no stream tells of them."""
        for number in numbers:
            row: dict[str, str | None] = {"id": str(number), "note": f"order {number}"}
            self._rows[(str(number),)] = row

    def analyse(self) -> None:
        """See Business.analyse: the twin's statistics always are."""

    @contextmanager
    def hanging(self, step: str) -> Iterator[int]:
        """See Business.hanging."""
        xid = 1 << 20
        self._source.snapshot = MemorySnapshot(xid + 1, frozenset({xid}))
        yield xid
        self.commit(step)
        self._source.snapshot = MemorySnapshot(xid + 3)

    def source(self) -> MemorySource:
        """See Business.source: the source is the database too."""
        return self._source

    def initial(self) -> Resume:
        """See Business.initial."""
        return empty_store({}, [], position_text(100)).stored.resume

    def acknowledged(self) -> int:
        """See Business.acknowledged."""
        return max(self._source.acknowledged, 100)

    def beat(self, source: Source) -> None:
        """See Business.beat."""
        self._position += 8
        self._source.log.append([Heartbeat(self._position, 1)])


class LoggedBusiness:
    """A database of the MySQL family, whose binary log is read."""

    whole_rows = True

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self.commit = unit.commit
        self.initial = unit.initial

    def hold(self, *numbers: int) -> None:
        """See PagedBusiness.hold."""
        self.commit(*(f"I{number}" for number in numbers))

    def source(self) -> Source:
        """See PagedBusiness.source: each time it is tended it writes a heartbeat."""
        return self._unit.source(heartbeat=0.0)

    def beat(self, source: Source) -> None:
        """See Business.beat."""
        source.housekeeping()

    def analyse(self) -> None:
        """See PagedBusiness.analyse."""
        self._unit.run("ANALYZE TABLE orders")


class Kind(NamedTuple):
    """A kind of source, and what it promises."""

    make: Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Any]]
    log: bool  # it delivers what happened, each transaction once; else only what is
    numbered: bool = False  # the server numbers transactions, and is told what is stored


@contextmanager
def memory_kind(_request: pytest.FixtureRequest, _folder: Path) -> Iterator[Business]:
    """Yields the in-memory twin."""
    yield MemoryBusiness()


class CsvBusiness:
    """The folder of the example in docs/writing-a-source.md."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = run_path(str(EXAMPLE))["CsvFolder"](folder, ["orders", "gone"], "unit")
        self.hold()

    def hold(self, *numbers: int) -> None:
        """See PagedBusiness.hold."""
        rows = [f"{number},order {number}" for number in numbers]
        content = "\n".join(["id,note", *rows]) + "\n"
        (self._folder / "orders.csv").write_text(content, encoding="utf-8")

    def source(self) -> Source:
        """See PagedBusiness.source."""
        made: Source = self._made
        return made

    def initial(self) -> Resume:
        """See PagedBusiness.initial."""
        return Resume(position_text(100), CommitMark("", 0, 0), {})

    def analyse(self) -> None:
        """See PagedBusiness.analyse: files are counted."""


@contextmanager
def csv_kind(_request: pytest.FixtureRequest, folder: Path) -> Iterator[PagedBusiness]:
    """Yields the example of a source without a log."""
    yield CsvBusiness(folder)


def postgres_kind(server: str) -> Kind:
    """Returns a PostgreSQL server, by the name of its fixture."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[Business]:
        with fresh_database(request.getfixturevalue(server)) as conninfo:
            made = with_tables(PostgresBusiness(conninfo, folder))
            yield made
            made.close()

    return Kind(make, log=True, numbered=True)


@pytest.fixture(scope="session")
def logging_servers() -> Iterator[Callable[[str], Logging]]:
    """Starts a server with a binary log of each kind that is asked for, once."""
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(logging_server(kind)))


def logged_kind(server: str) -> Kind:
    """Returns a server with a binary log, by its kind."""

    @contextmanager
    def make(request: pytest.FixtureRequest, _folder: Path) -> Iterator[Business]:
        unit = Unit(request.getfixturevalue("logging_servers")(server))
        yield LoggedBusiness(unit)
        unit.close()

    return Kind(make, log=True)


class TriggerBusiness:
    """A database in which triggers note changes; each test has its own."""

    def __init__(self, noting: Noting) -> None:
        self._noting = noting
        noting.make(ORDERS, "CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, note VARCHAR(50))")
        resource = {"name": "orders", "table": "orders", "columns": ["id", "note"]}
        place = Place(("", "orders"), ResourceSettings.model_validate(resource))
        url = noting.url.render_as_string(hide_password=False)
        database = Database(url, None, 20.0)
        self._source = TriggerSource(database, noting.log, [place], "unit", interval=0.01)

    def hold(self, *numbers: int) -> None:
        """See PagedBusiness.hold."""
        for number in numbers:
            self._noting.run(f"INSERT INTO orders VALUES ({number}, 'order {number}')")

    def source(self) -> Source:
        """See PagedBusiness.source."""
        return self._source

    def initial(self) -> Resume:
        """See PagedBusiness.initial."""
        return Resume(position_text(100), CommitMark("", 0, 0), {})

    def analyse(self) -> None:
        """See PagedBusiness.analyse: rows are counted."""

    def close(self) -> None:
        """Closes the source."""
        self._source.close()


def trigger_kind(name: str) -> Kind:
    """Returns a kind of database whose changes are noted, by its name in tests.source.noting."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[PagedBusiness]:
        noting, server = NOTING[name]
        with noting(request, folder, server) as place:
            made = TriggerBusiness(place)
            yield made
            made.close()

    return Kind(make, log=False)


def polled_kind(database: str) -> Kind:
    """Returns a database that is polled."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[PagedBusiness]:
        with place_of(database, request, folder) as place:
            made = PolledBusiness(place)
            yield made
            made.source().close()

    return Kind(make, log=False)


# Another kind of source joins the contract suites by a line here and what makes its place.
KINDS = {
    "memory": Kind(memory_kind, log=True, numbered=True),
    "csv": Kind(csv_kind, log=False),
    "polled sqlite": polled_kind("sqlite"),
    "polled mariadb": polled_kind("mariadb"),
    "polled mysql8": polled_kind("mysql8"),
    "polled mysql9": polled_kind("mysql9"),
    "polled postgresql": polled_kind("postgresql"),
    "polled psycopg2": polled_kind("psycopg2"),
    "polled firebird": polled_kind("firebird"),
    "postgres14": postgres_kind("postgres14"),
    "postgres15": postgres_kind("postgres15"),
    "postgres18": postgres_kind("postgres18"),
    **{f"log-{server}": logged_kind(server) for server in LOGGED},
    "trigger-sqlite": trigger_kind("sqlite"),
    "trigger-mariadb": trigger_kind("mariadb"),
    "trigger-mysql8": trigger_kind("mysql8"),
    "trigger-mysql9": trigger_kind("mysql9"),
    "trigger-postgres": trigger_kind("postgres18"),
    "trigger-firebird": trigger_kind("firebird"),
}


@pytest.fixture(params=list(KINDS))
def paged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PagedBusiness]:
    """Yields each kind of source in turn."""
    with KINDS[request.param].make(request, tmp_path) as made:
        yield made


@pytest.fixture(params=[name for name, kind in KINDS.items() if kind.log])
def business(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Business]:
    """Yields each kind of source that has a log in turn."""
    with KINDS[request.param].make(request, tmp_path) as made:
        yield made


@pytest.fixture(params=[name for name, kind in KINDS.items() if kind.numbered])
def numbered(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NumberedBusiness]:
    """Yields each kind whose server numbers transactions in turn."""
    with KINDS[request.param].make(request, tmp_path) as made:
        yield made


@pytest.fixture(scope="module", params=[15, 18], ids=["postgres15", "postgres18"])
def private_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Yields a server that may be stopped, restored and configured; a test leaves it running."""
    version: Version = request.param
    with PostgresServer.start(version) as server:
        yield server
        if request.session.testsfailed:
            print(server.log)  # why it is gone, should that be why they failed


@pytest.fixture
def private(private_server: PostgresServer, tmp_path: Path) -> Iterator[PostgresBusiness]:
    """Yields a published database on the private server."""
    name = f"b{uuid.uuid4().hex[:12]}"
    with psycopg.connect(private_server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    business = with_tables(PostgresBusiness(private_server.dsn(name), tmp_path))
    yield business
    business.close()
    business.drop_slot()
