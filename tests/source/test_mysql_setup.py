"""What `init`, `check` and the like do at MariaDB and MySQL whose binary log is read."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest

from agent.config import Settings
from agent.connectors.database.session import database_of
from agent.connectors.mysql import found_tables, log_findings
from agent.connectors.mysql.dump import Dump
from agent.connectors.mysql.server import server_of
from agent.connectors.opening import check_identity, open_source, setup_of
from agent.connectors.resume import CommitMark, Resume
from agent.connectors.setup import Setup, Start
from agent.errors import FrontReplaced, InitRefused
from agent.findings import Finding, errors
from tests.services.mariadb import MariaDbServer
from tests.services.mysql import MySqlServer
from tests.source.logging_mysql import LOGGING, Run
from tests.source.reading import asking, page_of, read_commits, rows_of, silent_never
from tests.source.test_documented import block
from tests.waiting import eventually

ORDERS = "CREATE TABLE business.orders (id INT PRIMARY KEY, note VARCHAR(40))"


class Business:
    """A server, the agent's account on it as the page says, and statements of its owner."""

    def __init__(self, server: MariaDbServer | MySqlServer) -> None:
        self.server = server
        self.backend = str(server.url.get_backend_name())
        with self.owner() as run:
            run("CREATE DATABASE business")
            run(ORDERS)
            for statement in block("mysql", f"sql {self.backend}").split(";\n"):
                if statement:
                    run(statement.replace("business.permit", "business.orders"))

    @contextmanager
    def owner(self, user: str | None = None) -> Iterator[Run]:
        """A session; each statement is committed."""
        url = self.server.url
        user, password = (url.username, "") if user is None else (user, "...")
        connection = pymysql.connect(
            host=url.host, port=url.port, user=user, password=password, autocommit=True
        )
        with connection:
            yield Run(connection)

    def run(self, *statements: str) -> None:
        """Runs statements of the owner."""
        with self.owner() as run:
            for statement in statements:
                run(statement)

    def settings(self, *tables: str, user: str = "sync_agent", **source: Any) -> Settings:
        """Returns a configuration that shares these tables."""
        url = self.server.url
        address = f"{self.backend}+pymysql://{user}:...@{url.host}:{url.port}/business"
        resources = []
        for number, table in enumerate(tables or ("orders",)):
            name = f"r{number}"
            shared = {"name": name, "table": table, "target": name, "columns": ["id", "note"]}
            resources.append(shared)
        return Settings.model_validate(
            {
                "name": "unit",
                "source": {"type": "mysql", "url": address, **source},
                "kafka": {"bootstrap_servers": ["nowhere:1"], "prefix": "p"},
                "resource": resources,
            }
        )


def mended(findings: Sequence[Finding]) -> list[str]:
    """Returns the statements of what `check` tells to do."""
    lines = "\n".join([finding.fix for finding in findings]).splitlines()
    return [line.removesuffix(";") for line in lines if re.match("(SET|SHOW|GRANT|ALTER) ", line)]


def codes(setup: Setup) -> dict[str, str]:
    """Returns what `check` finds: level by code."""
    return {finding.code: finding.level for finding in setup.check(None).findings}


def check_followed(business: Business) -> None:
    """With the rights of the page the agent reads a change in the log, and a page."""
    setup = setup_of(business.settings())
    with setup.prepare(print, None, None), setup.start(print, None) as start:
        pass
    # What happens between `init` and the first start is in the log, too
    business.run("INSERT INTO business.orders VALUES (1000, 'followed')")
    source = open_source(business.settings())
    try:
        source.open(stored(start), silent_never)
        [delivered] = read_commits(source, 1)
        assert delivered.rows == [("I", None, ("1000", "followed"))]
        page, _ = page_of(source, asking(source, limit=10))
        assert ("1000", "followed") in rows_of(page)
    finally:
        source.close()


RIGHT = {"SOURCE_OK": "ok", "SERVER_OK": "ok", "LOG_RETENTION": "ok", "TABLE_OK": "ok"}
WRONG = {
    "LOG_FORMAT": "error",
    "LOG_ROW_IMAGE": "error",
    "LOG_METADATA": "error",
    "LOG_RETENTION": "warning",
    "LOG_UNSYNCED": "warning",
    "SOURCE_OK": "ok",
    "TABLE_OK": "ok",
}


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Business]:
    """A server that logs as the page says."""
    with MariaDbServer.start(*LOGGING, "--sync-binlog=1") as server:
        yield Business(server)


def test_what_check_shows_mends_the_server(mariadb: Business) -> None:
    """Each statement as it is shown, with the rights of the page; then nothing is wrong."""
    mariadb.run(
        "SET GLOBAL binlog_format = 'MIXED'",
        "SET GLOBAL binlog_row_image = 'MINIMAL'",
        "SET GLOBAL binlog_row_metadata = 'MINIMAL'",
        "SET GLOBAL binlog_expire_logs_seconds = 3600",
        "SET GLOBAL sync_binlog = 0",
    )
    setup = setup_of(mariadb.settings())
    assert codes(setup) == WRONG
    mariadb.run(*mended(setup.check(None).findings))
    assert codes(setup) == RIGHT
    check_followed(mariadb)


def test_mysql_is_given_names_of_transactions() -> None:
    """Each step as it is shown, while it runs."""
    log = ("--log-bin=bin", "--server-id=7", "--binlog-format=MIXED")
    others = ("--binlog-row-image=MINIMAL", "--binlog-expire-logs-seconds=3600")
    careless = ("--binlog-row-value-options=PARTIAL_JSON", "--sync-binlog=0")
    with MySqlServer.start(8, *log, *others, *careless) as server:
        business = Business(server)
        setup = setup_of(business.settings())
        assert codes(setup) == WRONG | {"GTID_OFF": "error", "LOG_VALUE_OPTIONS": "error"}
        found = setup.check(None).findings
        business.run(*mended(found))
        assert codes(setup) == RIGHT
        check_followed(business)


# What the log does not show of a table, by the table
UNFIT = {
    "memory (id INT PRIMARY KEY, note VARCHAR(9)) ENGINE = MyISAM": "TABLE_ENGINE",
    "versions (id INT PRIMARY KEY, note INT) WITH SYSTEM VERSIONING": "TABLE_VERSIONED",
    "zipped (id INT PRIMARY KEY, note TEXT COMPRESSED)": "COLUMN_COMPRESSED",
    "choices (id INT, note ENUM('a'), PRIMARY KEY (id, note))": "KEY_MISSING",
    "big5s (id INT PRIMARY KEY, note VARCHAR(9) CHARACTER SET big5)": "CHARSET_UNREADABLE",
    "keyless (id INT, note INT)": "KEY_MISSING",
    "shorter (id INT PRIMARY KEY)": "COLUMN_MISSING",
    "children (id INT PRIMARY KEY, note INT, FOREIGN KEY (note) REFERENCES orders (id) "
    "ON DELETE SET NULL)": "CASCADE_UNLOGGED",
    "two (other INT PRIMARY KEY, id INT, note INT)": "KEY_UNLISTED",
}


def test_tables_that_cannot_be_followed_are_named(mariadb: Business) -> None:
    """All at once, each with its reason; partitions are no obstacle."""
    tables = {table.partition(" ")[0]: code for table, code in UNFIT.items()}
    created = [f"CREATE TABLE business.{table}" for table in UNFIT]
    created[7] = created[7].replace("orders", "business.orders")
    mariadb.run(
        *created,
        "CREATE TABLE business.parts (id INT PRIMARY KEY, note INT) "
        "PARTITION BY HASH (id) PARTITIONS 3",
        "CREATE TABLE business.notes (id INT PRIMARY KEY, note ENUM('COMPRESSED'), parent INT, "
        "FOREIGN KEY (parent) REFERENCES business.orders (id) ON DELETE RESTRICT)",
        "CREATE VIEW business.seen AS SELECT * FROM business.orders",
        "SET GLOBAL mysql56_temporal_format = OFF",
        "CREATE TABLE business.dates (id INT PRIMARY KEY, note DATETIME)",
        "SET GLOBAL mysql56_temporal_format = ON",
        "FLUSH TABLES",
        "CREATE TABLE business.hidden (id INT PRIMARY KEY, note INT)",
        "GRANT SELECT ON business.* TO sync_agent@'%'",
        "CREATE USER columns IDENTIFIED BY '...'",
        "GRANT SELECT (id, note) ON business.orders TO columns",
    )
    tables |= {"parts": "TABLE_OK", "notes": "TABLE_OK", "seen": "TABLE_KIND"}
    tables |= {"dates": "COLUMN_OLD_FORMAT", "nowhere": "TABLE_MISSING"}
    setup = setup_of(mariadb.settings(*tables))
    checked = setup.check(None)
    assert checked.tables is None
    found = {}
    for finding in checked.findings:
        resource = re.match(r"r(\d+): ", finding.message)
        if resource is not None:
            found[list(tables)[int(resource[1])]] = finding.code
    assert found == tables
    (unreadable,) = [one for one in checked.findings if one.code == "COLUMN_UNREADABLE"]
    assert "ENUM" in unreadable.message
    with pytest.raises(InitRefused) as refused, setup.prepare(print, None, None):
        pass
    assert all(code in str(refused.value) for code in set(tables.values()) - {"TABLE_OK"})

    # Also where somebody changes a table so after `init`
    database = database_of(mariadb.settings().mysql)
    unlogged = set()
    with database.connect() as connection:
        server = server_of(connection)
        for table in tables:
            if found_tables.unlogged(connection, server, ("", table), "business") is not None:
                unlogged.add(tables[table])
    assert unlogged == {"TABLE_ENGINE", "TABLE_VERSIONED", "TABLE_KIND", "CASCADE_UNLOGGED"}

    # Without rights nothing but the missing rights is found, and each GRANT helps
    lacking = setup_of(mariadb.settings(user="columns"))
    wrong = errors(lacking.check(None).findings)
    assert [finding.code for finding in wrong] == ["RIGHT_MISSING"] * 3
    mariadb.run(*mended(wrong))
    assert codes(lacking) == codes(setup_of(mariadb.settings()))


def stored(start: Start, token: str = "") -> Resume:
    return Resume(start.position, CommitMark("", 0, 0), start.identity, token=token)


def test_a_stream_begins_and_is_taken_up_elsewhere(mariadb: Business) -> None:
    """By the names of its transactions: whether the server has them, and has their log."""
    setup = setup_of(mariadb.settings())
    told: list[str] = []
    with setup.prepare(told.append, None, None) as source:
        assert set(source.tables) == {"r0"}
        assert not source.lost
    with setup.start(told.append, None) as start:
        pass
    check_identity(mariadb.settings().source, start.identity)
    with pytest.raises(FrontReplaced):
        check_identity(mariadb.settings().source, {**start.identity, "database": "other"})

    # The same server; one with another number; one that has not what was applied
    before = stored(start)
    with pytest.raises(InitRefused, match="nothing to rebind"):
        setup.rebind(before, "failover")
    elsewhere = before._replace(identity={**start.identity, "server": "0-8"})
    rebound = setup.rebind(elsewhere, "failover")
    assert rebound.proven
    assert rebound.start.identity == start.identity
    ahead = {**start.identity, "executed": "0-7-1000000"}
    assert not setup.rebind(before._replace(identity=ahead), "failover").proven
    assert not setup.rebind(before, "upgrade").proven
    assert not setup.rebind(before, "restore").proven
    other = {**start.identity, "executed": "0-8-1"}
    assert not setup.rebind(before._replace(identity=other), "failover").proven

    # Its log is deleted behind the place, then before it
    mariadb.run("INSERT INTO business.orders VALUES (1, 'first')", "FLUSH BINARY LOGS")
    status = setup.status(()).values
    assert status["files"] == 2
    assert status["kept_seconds"] in (0, 7 * 86_400)
    assert set(status) == set(setup.unknown())

    def purged() -> bool:
        # A file that was just closed may still be needed by the server
        mariadb.run(f"PURGE BINARY LOGS TO '{status['file']}'")
        return bool(setup.status(()).values["files"] == 1)

    eventually(purged, what="the server deletes its first log")
    lost = setup.check(lambda: before).findings
    assert [finding.code for finding in errors(lost)] == ["LOG_LOST"]
    with setup.prepare(told.append, None, before) as source:
        assert source.lost
    with setup.start(told.append, before) as again:
        assert again.position == before.position
    with setup.prepare(told.append, None, stored(again)) as source:
        assert not source.lost


def test_the_owner_is_told_what_to_grant_and_to_drop(mariadb: Business) -> None:
    """Also while the account is not there."""
    granted = block("mysql", "sql mariadb").replace("business.permit", "`business`.`orders`")
    granted = granted.replace("sync_agent@'%'", "'sync_agent'@'%'")
    planned = "\n".join(setup_of(mariadb.settings()).plan(None).lines)
    for statement in granted.splitlines():
        assert statement in planned
    absent = setup_of(mariadb.settings(user="absent"))
    plan = absent.plan(None)
    assert plan.tables is None
    assert planned.replace("sync_agent", "absent") in "\n".join(plan.lines)
    for setup, user in ((absent, "absent"), (setup_of(mariadb.settings()), "sync_agent")):
        removal = setup.removal(None)
        assert removal.statements == []
        assert f"DROP USER '{user}'@'%';" in removal.stays[0]


def test_a_number_that_another_reader_has_is_refused(mariadb: Business) -> None:
    """The server's own, and that of a replica; the agent itself has its number, too."""
    assert codes(setup_of(mariadb.settings(server_id=7)))["SERVER_ID_TAKEN"] == "error"
    mariadb.run("GRANT REPLICATION MASTER ADMIN ON *.* TO sync_agent@'%'")
    url = mariadb.server.url
    for host, expected in (("another", "error"), (socket.gethostname(), None)):
        connection = pymysql.connect(host=url.host, port=url.port, user=url.username, password="")
        with connection:
            Dump(connection, 4711).register(host)
            found = codes(setup_of(mariadb.settings(server_id=4711)))
            assert found.get("SERVER_ID_TAKEN") == expected


def test_a_replica_that_does_not_log_what_it_takes_over_is_refused(mariadb: Business) -> None:
    """Seen while it runs; by an account that may see more, also while it stands still."""
    user = "CREATE USER watcher IDENTIFIED BY '...'"
    granted = "GRANT BINLOG MONITOR, REPLICATION SLAVE, SLAVE MONITOR ON *.* TO watcher"
    mariadb.run(user, granted, "GRANT SELECT ON business.orders TO watcher")
    agent, watcher = setup_of(mariadb.settings()), setup_of(mariadb.settings(user="watcher"))
    mariadb.run("CHANGE MASTER TO master_host = '127.0.0.1', master_port = 1, master_user = 'r'")
    try:
        assert "LOG_INCOMPLETE" not in codes(agent)
        assert codes(watcher)["LOG_INCOMPLETE"] == "error"
        mariadb.run("START SLAVE SQL_THREAD")
        eventually(lambda: "LOG_INCOMPLETE" in codes(agent), what="the replica runs")
    finally:
        mariadb.run("STOP SLAVE", "RESET SLAVE ALL")
    assert "LOG_INCOMPLETE" not in codes(watcher)


@pytest.mark.parametrize(
    ("only", "never", "expected"),
    [
        ("", "", []),
        ("one,two", "", ["unit"]),
        ("one,unit", "unit", []),
        ("", "one,unit", ["one", "unit"]),
    ],
)
def test_what_a_filter_keeps_out_of_the_log_is_named(
    only: str, never: str, expected: list[str]
) -> None:
    """Filters of a server are set when it starts."""
    found = list(log_findings._filtered(("bin.000001", 4, only, never), ["one", "unit"]))
    assert {finding.code for finding in found} <= {"LOG_FILTERED"}
    assert [finding.message.partition("database ")[2].split()[0] for finding in found] == expected
