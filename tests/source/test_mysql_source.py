"""A database of the MySQL family, read by its log: what is its own, and what is named.

What it has in common with other logs stands in tests/source/test_log_contract.py.
"""

import time
from collections.abc import Iterator

import orjson
import pytest

from agent.config.database import ZeroDates
from agent.connectors.changes import Begin, Change, Commit, Message, Truncate
from agent.errors import (
    DuplicateAgent,
    LogLost,
    SourceForked,
    SourceUnreachable,
    TableUnlogged,
    ValueUnreadable,
)
from agent.service import metrics
from tests.services.proxy import TcpProxy
from tests.source.logged_unit import STATEMENTS, Unit, beaten, raised
from tests.source.logging_mysql import KINDS, Logging, logging_server
from tests.source.reading import (
    asking,
    awaited,
    page_of,
    read_commits,
    read_until,
    rows_of,
    silent_never,
    stored_after,
    transactions,
)
from tests.waiting import eventually


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Logging]:
    with logging_server(request.param) as found:
        yield found


@pytest.fixture
def unit(server: Logging) -> Iterator[Unit]:
    made = Unit(server)
    yield made
    made.close()


def commits(messages: list[Message]) -> int:
    return sum(isinstance(message, Commit) for message in messages)


def test_what_nobody_shares_and_what_is_undone_is_passed_over(unit: Unit) -> None:
    source = unit.opened()
    for number in (1, 2):
        unit.commit(f"I{number}")
        unit.run("INSERT INTO other VALUES (1)", "BEGIN", STATEMENTS["I"].format(9), "ROLLBACK")
    first, second = read_commits(source, 2)
    assert first.rows == [("I", None, ("1", "order 1"))]
    assert second.rows == [("I", None, ("2", "order 2"))]


def test_compressed_transactions_come_like_others(unit: Unit) -> None:
    """MySQL compresses whole transactions of a session that asks for it, MariaDB single events."""
    source = unit.opened()
    rows = [STATEMENTS["I"].format(n) for n in range(1, 60)]
    with unit.server.compressing() as switch:
        begin = ["BEGIN"] if switch is None else [switch, "BEGIN"]
        unit.run(*begin, *rows, "UPDATE orders SET note = REPEAT('x', 50)", "COMMIT")
        unit.commit("D1")
    first, second = read_commits(source, 2)
    assert len(first.rows) == 2 * 59
    assert first.rows[-1] == ("U", ("59", "order 59"), ("59", "x" * 50))
    assert second.rows == [("D", ("1", "x" * 50), None)]


def test_a_quiet_table_beside_a_busy_one(unit: Unit) -> None:
    """Heartbeats move the place in the log, so that a restart need not read it all again."""
    source = unit.opened()
    unit.run(*["INSERT INTO other VALUES (1)"] * 50)
    found = beaten(unit, source)
    assert not [message for message in found if isinstance(message, Change)]
    assert source.lag_bytes() == 0
    stored = stored_after(unit.initial(), found)
    unit.commit("I1")
    source.open(stored, silent_never)
    (one,) = read_commits(source, 1)
    assert one.rows == [("I", None, ("1", "order 1"))]


def test_events_say_where_in_the_log_they_come_from(unit: Unit) -> None:
    """With the fields of Debezium's connectors."""
    source = unit.opened()
    unit.commit("I1", "I2")
    written = []
    for message in read_until(source, lambda so_far: commits(so_far) > 0):
        if isinstance(message, Begin):
            begin = message
        if isinstance(message, Change):
            origin = source.origin(source.tables()["", "orders"])
            written.append(orjson.loads(origin.source(begin, 0, message.position)))
    with unit.server.session() as run:
        executed = unit.server.position(run)
    first, second = written
    assert (first["row"], second["row"]) == (0, 1)
    assert first | {"row": 1} == second
    assert (first["db"], first["table"], first["snapshot"]) == ("unit", "orders", "false")
    assert first["server_id"] == 7
    assert first["file"].startswith("bin.0")
    assert first["pos"] > 4
    last = executed.rpartition("-")[2].rpartition(":")[2]
    assert first["gtid"].replace("-", ":").endswith(f":{last}")
    fields = [field["field"] for field in origin.schema["fields"]]
    assert sorted(first) == sorted(fields)
    assert orjson.loads(origin.read(begin, 0)).keys() == first.keys()


def test_signs_beside_a_year_are_those_of_this_server(unit: Unit) -> None:
    """The log itself says which server has written it."""
    unit.run("DROP TABLE orders", "CREATE TABLE orders (id int PRIMARY KEY, y year, note int)")
    unit.begin_here()
    source = unit.opened()
    unit.run("INSERT INTO orders VALUES (1, 2024, -2)")
    (one,) = read_commits(source, 1)
    assert one.rows == [("I", None, ("1", "-2"))]


def test_a_page_shows_all_that_was_delivered(unit: Unit) -> None:
    """Its high position comes when all that it shows was delivered, too."""
    source = unit.opened()
    unit.commit("I1", "I2")
    read_commits(source, 1)
    unit.commit("I3")
    ask = asking(source, limit=10)
    source.ask(ask)
    page, messages = awaited(source, ask)
    assert sorted(rows_of(page)) == [(str(n), f"order {n}") for n in (1, 2, 3)]
    (third,) = [one for one in transactions(messages) if one.rows]
    assert third.rows == [("I", None, ("3", "order 3"))]


def test_pages_follow_the_order_of_the_key(unit: Unit) -> None:
    unit.commit("I3", "I1", "I2")
    source = unit.opened()
    page, _ = page_of(source, asking(source, limit=2))
    assert rows_of(page) == [("1", "order 1"), ("2", "order 2")]
    assert page.more
    page, _ = page_of(source, asking(source, limit=2, after=("2",)))
    assert rows_of(page) == [("3", "order 3")]


@pytest.mark.parametrize(
    "statement", ["TRUNCATE orders", "truncate table `orders`", "/* all */ TRUNCATE unit.orders"]
)
def test_truncate_empties_the_table(unit: Unit, statement: str) -> None:
    source = unit.opened()
    unit.commit("I1")
    unit.run(statement, "TRUNCATE TABLE other")
    unit.commit("I2")
    got = read_commits(source, 3)
    (truncate,) = got[1].changes
    assert isinstance(truncate, Truncate)
    assert [relation.table for relation in truncate.relations] == ["orders"]


@pytest.mark.parametrize(
    ("statement", "concerns"),
    [
        ("ALTER TABLE orders ADD further int", True),
        ("RENAME TABLE orders TO former, other TO orders", True),
        ("CREATE INDEX i ON orders (note)", True),
        ("DROP TABLE orders", True),
        ("ALTER TABLE other ADD further int", False),
        ("CREATE TABLE orders2 (id int)", False),
    ],
)
def test_a_definition_of_a_shared_table_has_the_catalogue_read_again(
    unit: Unit, statement: str, concerns: bool
) -> None:
    source = unit.opened()
    before = source.fingerprints()
    unit.run(statement)
    if concerns:
        found: list[Message] = []

        def seen() -> bool:
            found.extend(source.read(0.05))
            return source.outdated()

        eventually(seen, what="it is seen")
        stored = stored_after(unit.initial(), found)
        source.open(stored, silent_never)
        list(source.read(0.5))
        assert not source.outdated()
        # Rows may be others: the table has to be copied, also by a process that has not seen why
        assert source.fingerprints() != before
    else:
        unit.commit("I1")
        read_commits(source, 1)
        assert not source.outdated()
        assert source.fingerprints() == before


def test_a_table_that_lost_its_transactions_is_named(unit: Unit) -> None:
    source = unit.opened()
    resource = unit.resource
    source.check_captured(resource)
    unit.run("ALTER TABLE orders ENGINE = MyISAM")
    with pytest.raises(TableUnlogged, match="MyISAM"):
        source.check_captured(resource)


UNLOGGED: dict[str, tuple[str, ...]] = {
    "row image": ("SET SESSION binlog_row_image = MINIMAL", STATEMENTS["U"].format(1)),
    "statement": ("SET SESSION binlog_format = STATEMENT", STATEMENTS["U"].format(1)),
    "prepared": ("XA START 'x'", STATEMENTS["U"].format(1), "XA END 'x'", "XA PREPARE 'x'"),
}


@pytest.mark.parametrize("how", UNLOGGED)
def test_what_the_log_lacks_suspends_the_table_alone(unit: Unit, how: str) -> None:
    """The same for a table that nobody shares is passed over."""
    source = unit.opened()
    unit.commit("I1")
    read_commits(source, 1)
    others = [step.replace(STATEMENTS["U"].format(1), OTHER) for step in UNLOGGED[how]]
    if how == "prepared":
        others.append("XA COMMIT 'x'")
    unit.run(*others)
    unit.commit("I2")
    read_commits(source, 1)
    assert list(source.comparisons(())) == (["orders"] if how == "statement" else [])
    assert not source.comparisons(())
    unit.run(*UNLOGGED[how])
    try:
        error = raised(source, TableUnlogged)
    finally:
        if how == "prepared":
            unit.run("XA ROLLBACK 'x'")
    assert error.values["resource"] == "orders"
    source.close()
    stored = unit.initial()._replace(suspended=["orders"])
    source.open(stored, silent_never)
    list(source.read(0.3))


def test_a_doubt_outlives_a_restart(unit: Unit) -> None:
    """It ends with the place that is stored once the comparison is known to have begun."""
    source = unit.opened()
    unit.run("SET SESSION binlog_format = STATEMENT", OTHER, OTHER)
    messages = beaten(unit, source)
    assert dict(source.counts()) == {(metrics.STATEMENTS,): 2}
    assert source.counts() == {}
    doubtful = stored_after(unit.initial(), messages)

    for _ in range(2):
        # The process died before it has stored that all rows are compared
        source = unit.source()
        source.open(doubtful, silent_never)
        assert source.gauges() == {metrics.DOUBTED: 1}
        # Pages that were read before the statement prove nothing
        assert not source.comparisons(["orders"])
        assert list(source.comparisons(())) == ["orders"]
        assert source.gauges() == {metrics.DOUBTED: 0}

    source.open(stored_after(doubtful, beaten(unit, source)), silent_never)
    assert source.gauges() == {metrics.DOUBTED: 0}
    assert not source.comparisons(())


OTHER = "INSERT INTO other VALUES (1)"


def test_parts_of_documents_suspend_their_table_alone(unit: Unit) -> None:
    """MySQL can log what has changed within a document."""
    if unit.server.is_mariadb:
        with unit.server.session() as run:
            assert not run("SHOW VARIABLES LIKE 'binlog_row_value_options'")
        return
    unit.run("ALTER TABLE orders ADD j json", "ALTER TABLE other ADD j json")
    unit.run(
        *(f"INSERT INTO {name} (id, j) VALUES (1, {DOCUMENT})" for name in ("orders", "other"))
    )
    unit.begin_here()
    source = unit.opened()
    switch = "SET SESSION binlog_row_value_options = PARTIAL_JSON"
    unit.run(switch, "UPDATE other SET j = JSON_SET(j, '$.a', 2)")
    unit.commit("I2")
    read_commits(source, 1)
    unit.run(switch, "UPDATE orders SET j = JSON_SET(j, '$.a', 2)")
    assert "binlog_row_value_options" in raised(source, TableUnlogged).text("en")


DOCUMENT = f"""'{{"a": 1, "b": "{"x" * 500}"}}'"""


def test_a_value_without_text_names_its_column(unit: Unit) -> None:
    unit.run("ALTER TABLE orders MODIFY note date")
    unit.begin_here()
    source = unit.opened()
    unit.run("INSERT INTO orders VALUES (1, '0000-00-00')")
    error = raised(source, ValueUnreadable)
    assert "column note holds" in error.text("en")


DAYS = (
    "'0000-00-00', '2024-00-10 01:02:03.5', '0000-00-00 00:00:00'",
    "'2024-02-29', '2024-02-29 01:02:03', '2024-02-29 01:02:03'",
)
SPELLED = (
    ("1", "0000-00-00", "2024-00-10 01:02:03.5", "0000-00-00 00:00:00"),
    ("2", "2024-02-29", "2024-02-29 01:02:03", "2024-02-29 01:02:03+00"),
)


@pytest.mark.parametrize(
    ("zero_dates", "expected"),
    [("null", [("1", None, None, None), SPELLED[1]]), ("text", [*SPELLED])],
)
def test_days_that_are_none_become_what_is_configured(
    unit: Unit, zero_dates: ZeroDates, expected: list[tuple[str | None, ...]]
) -> None:
    """In the log and on a page alike."""
    unit.run(
        "DROP TABLE orders",
        "CREATE TABLE orders (id int PRIMARY KEY, d date, m datetime(3), note timestamp(2) NULL)",
    )
    unit.begin_here()
    source = unit.source(zero_dates=zero_dates, columns=("id", "d", "m", "note"))
    source.open(unit.initial(), silent_never)
    rows = [f"({number}, {days})" for number, days in enumerate(DAYS, 1)]
    unit.run(f"INSERT INTO orders VALUES {', '.join(rows)}")
    (streamed,) = read_commits(source, 1)
    assert [new for _, _, new in streamed.rows] == expected
    page, _ = page_of(source, asking(source, limit=10))
    assert rows_of(page) == expected


@pytest.mark.parametrize("zero_dates", ["null", "text"])
def test_a_key_has_no_day_that_is_none(unit: Unit, zero_dates: ZeroDates) -> None:
    """A row needs its key."""
    unit.run(
        "DROP TABLE orders", "CREATE TABLE orders (id date PRIMARY KEY, note varchar(50) NULL)"
    )
    unit.begin_here()
    source = unit.source(zero_dates=zero_dates)
    source.open(unit.initial(), silent_never)
    unit.run("INSERT INTO orders VALUES ('0000-00-00', NULL)")
    error = raised(source, ValueUnreadable)
    assert "column id holds" in error.text("en")


def test_a_log_that_is_gone_is_named(unit: Unit) -> None:
    unit.commit("I1")
    unit.run("FLUSH BINARY LOGS")
    with unit.server.session() as run:

        def purged() -> bool:
            """A former reader's connection may hold a file for a second."""
            (*_, last) = run("SHOW BINARY LOGS")
            run(f"PURGE BINARY LOGS TO '{last[0]}'")
            return len(run("SHOW BINARY LOGS")) == 1

        eventually(purged, what="the log is purged")
    source = unit.source()
    with pytest.raises(LogLost):  # noqa: PT012 - MariaDB says it when the log is asked for
        source.open(unit.initial(), silent_never)
        raise raised(source, LogLost)


def test_a_server_without_what_was_applied_is_named(unit: Unit) -> None:
    """It is a copy from before, or another one."""
    further = "0-7-99999999"
    if not unit.server.is_mariadb:
        further = "11111111-2222-3333-4444-555555555555:1-5"
    source = unit.source()
    with pytest.raises(SourceForked):
        source.open(unit.initial()._replace(identity={"executed": further}), silent_never)


def test_a_broken_line_is_opened_again(unit: Unit) -> None:
    source = unit.opened()
    unit.commit("I1")
    read_commits(source, 1)
    with unit.server.session() as run:
        for number, _, _, _, command, *_ in run("SHOW PROCESSLIST"):
            if str(command).startswith("Binlog Dump"):
                run(f"KILL {number}")
    raised(source, SourceUnreachable)
    source.open(unit.initial(), silent_never)
    (one,) = read_commits(source, 1)
    assert one.rows == [("I", None, ("1", "order 1"))]


def test_a_line_on_which_nothing_comes_is_noticed(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands, as a firewall may let it; a server without changes sends heartbeats."""
    monkeypatch.setattr("agent.connectors.mysql.source._SILENT", 4.0)
    url = unit.server.server.url
    with TcpProxy(str(url.host), url.port or 0) as proxy:
        source = unit.source(port=proxy.port)
        source.open(unit.initial(), silent_never)
        waited = time.monotonic() + 6.0
        while time.monotonic() < waited:
            list(source.read(0.2))
        proxy.black_hole()
        raised(source, SourceUnreachable)


def test_another_replica_with_the_same_id_is_named(unit: Unit) -> None:
    """Two agents with ids of their own read side by side."""
    first, second = unit.source(4712), unit.source(4713)
    for source in (first, second):
        source.open(unit.initial(), silent_never)
    unit.commit("I1")
    for source in (first, second):
        read_commits(source, 1)
    unit.source(4712).open(unit.initial(), silent_never)
    raised(first, DuplicateAgent)
