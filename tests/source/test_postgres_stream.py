"""Tests what PostgreSQL's stream carries, and what the catalogue tells beside it.

That is large rows, identities, names, and savepoints.
"""

import time
from itertools import pairwise

import pytest

from agent.connectors.changes import Begin, Change, Commit, Heartbeat, Message, Truncate
from agent.connectors.postgres.pgoutput import HEARTBEAT_PREFIX
from agent.errors import PublicationWrong
from agent.values.column_types import INT4, NUMERIC, TEXT
from agent.values.rows import UNCHANGED
from tests.source.conftest import PostgresBusiness
from tests.source.reading import Delivered, read_commits, read_until, silent_never, transactions
from tests.waiting import eventually

QUOTED = '"订单 ""Q"""'
# These are 12,800 characters that hardly compress, and so a value that is stored out of line
# (TOAST).
LARGE = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n)"


def delivered(business: PostgresBusiness, *statements: str) -> Delivered:
    """Returns what the source makes of one transaction."""
    source = business.source()
    source.open(business.initial(), silent_never)
    business.transaction(*statements)
    (one,) = read_commits(source, 1)
    source.close()
    return one


# ---- values and identities ----


def test_unchanged_large_values_are_marked(postgres_business: PostgresBusiness) -> None:
    """An update that does not touch a large value does not carry it.

    That is neither NULL nor the value's text.
    """
    postgres_business.transaction(
        "CREATE TABLE doc (id int PRIMARY KEY, n int, body text)",
        f"INSERT INTO doc VALUES (1, 1, {LARGE}), (2, 2, NULL)",
    )
    postgres_business.publish("doc")
    one = delivered(
        postgres_business,
        "UPDATE doc SET n = 9",
        f"UPDATE doc SET body = {LARGE} || 'x' WHERE id = 1",
        "UPDATE doc SET body = '' WHERE id = 1",
    )
    news = [new for _, _, new in one.rows if new]
    assert news[0] == ("1", "9", UNCHANGED)
    assert news[1] == ("2", "9", None)
    assert isinstance(news[2][2], str)
    assert len(news[2][2]) == 12_801
    assert news[3] == ("1", "9", "")


def test_full_identity_carries_the_large_value_in_the_old_row(
    postgres_business: PostgresBusiness,
) -> None:
    """There the old row is whole, so nothing is missing."""
    postgres_business.transaction(
        "CREATE TABLE doc (id int PRIMARY KEY, n int, body text)",
        "ALTER TABLE doc REPLICA IDENTITY FULL",
        f"INSERT INTO doc VALUES (1, 1, {LARGE})",
    )
    postgres_business.publish("doc")
    one = delivered(postgres_business, "UPDATE doc SET n = 9", "DELETE FROM doc")
    (_, old, new), (_, deleted, _) = one.rows
    assert old is not None
    assert deleted is not None
    assert new == ("1", "9", UNCHANGED)
    assert (old[:2], deleted[:2]) == (("1", "1"), ("1", "9"))
    assert [len(row[2]) for row in (old, deleted) if isinstance(row[2], str)] == [12_800, 12_800]
    assert all(isinstance(change, Change) and change.old_complete for change in one.changes)


@pytest.mark.parametrize(
    ("identity", "letter", "key", "update", "key_change", "delete"),
    [
        ("DEFAULT", "d", ("id",), None, ("1", None, None), ("5", None, None)),
        ("USING INDEX pair_code", "i", ("code",), None, None, (None, "A", None)),
        ("FULL", "f", ("id",), ("1", "A", "x"), ("1", "A", "y"), ("5", "A", "y")),
    ],
)
def test_identities(
    postgres_business: PostgresBusiness,
    identity: str,
    letter: str,
    key: tuple[str, ...],
    update: object,
    key_change: object,
    delete: object,
) -> None:
    """The replica identity decides what the old row of a change holds.

    It is the old row of an update, of a change of the primary key and of a delete. The catalogue
    gives the table the same key.
    """
    postgres_business.transaction(
        "CREATE TABLE pair (id int PRIMARY KEY, code text NOT NULL, note text)",
        "CREATE UNIQUE INDEX pair_code ON pair (code)",
        f"ALTER TABLE pair REPLICA IDENTITY {identity}",
        "INSERT INTO pair VALUES (1, 'A', 'x')",
    )
    postgres_business.publish("pair")
    one = delivered(
        postgres_business,
        "UPDATE pair SET note = 'y'",
        "UPDATE pair SET id = 5",
        "DELETE FROM pair",
    )
    assert [(op, old) for op, old, _ in one.rows] == [
        ("U", update),
        ("U", key_change),
        ("D", delete),
    ]
    change = one.changes[0]
    assert isinstance(change, Change)
    assert change.relation.identity == letter
    assert {column.name for column in change.relation.columns if column.identity} == (
        {"id", "code", "note"} if letter == "f" else set(key)
    )
    source = postgres_business.source(postgres_business.settings(("pair",)))
    source.open(postgres_business.initial(), silent_never)
    assert source.tables()["public", "pair"].key == key


def test_a_key_change_of_a_whole_table_comes_row_by_row(published: PostgresBusiness) -> None:
    """`id = id + 1`, each with its old key."""
    one = delivered(
        published,
        "INSERT INTO orders VALUES (2, 'b'), (1, 'a')",
        "UPDATE orders SET id = id + 1 WHERE id = 2",
        "UPDATE orders SET id = id + 1 WHERE id = 1",
    )
    assert one.rows[2:] == [("U", ("2", None), ("3", "b")), ("U", ("1", None), ("2", "a"))]


# ---- names, savepoints, truncate ----


def test_identifiers_of_any_spelling(published: PostgresBusiness) -> None:
    """Chinese, quotes, capitals: names come as they are."""
    (change,) = delivered(
        published, f"INSERT INTO {QUOTED} (\"Größe 尺寸\", id) VALUES ('大号 ''x''', 1)"
    ).changes
    assert isinstance(change, Change)
    assert (change.relation.schema, change.relation.table) == ("public", '订单 "Q"')
    assert [column.name for column in change.relation.columns] == ["id", "Größe 尺寸"]
    assert change.new == ("1", "大号 'x'")


def test_what_was_rolled_back_is_never_seen(published: PostgresBusiness) -> None:
    """Neither a transaction undone whole nor what was undone to a savepoint."""
    source = published.source()
    source.open(published.initial(), silent_never)
    published.transaction("INSERT INTO orders VALUES (1)", "ROLLBACK")
    undone = ("SAVEPOINT s", "INSERT INTO orders VALUES (3)", "ROLLBACK TO s")
    published.transaction(
        "INSERT INTO orders VALUES (2)",
        *undone,
        "SAVEPOINT kept",
        "INSERT INTO orders VALUES (4)",
        "RELEASE kept",
    )
    (got,) = read_commits(source, 1)
    assert [new for _, _, new in got.rows] == [("2", None), ("4", None)]


def test_truncate_of_several_tables_is_one_message(published: PostgresBusiness) -> None:
    """It names the published ones."""
    (truncate,) = delivered(published, f"TRUNCATE orders, {QUOTED}, other").changes
    assert isinstance(truncate, Truncate)
    assert {relation.table for relation in truncate.relations} == {"orders", '订单 "Q"'}


def test_commit_order_decides(published: PostgresBusiness) -> None:
    """A transaction that began first and ended last comes last, whole."""
    source = published.source()
    source.open(published.initial(), silent_never)
    with published.connect() as slow, slow.transaction():
        slow.execute("INSERT INTO orders VALUES (1)")
        published.transaction("INSERT INTO orders VALUES (2)")
        slow.execute("INSERT INTO orders VALUES (3)")
    first, second = read_commits(source, 2)
    assert ([new for _, _, new in first.rows], [new for _, _, new in second.rows]) == (
        [("2", None)],
        [("1", None), ("3", None)],
    )
    assert second.transaction < first.transaction


def test_a_table_not_published_is_never_seen(published: PostgresBusiness) -> None:
    """Also not in a mixed transaction, nor messages of others."""
    source = published.source()
    source.open(published.initial(), silent_never)
    published.transaction("INSERT INTO other VALUES (1)")
    published.transaction(
        "INSERT INTO other VALUES (2)",
        "SELECT pg_logical_emit_message(false, 'somebody', 'x')",
        f"SELECT pg_logical_emit_message(true, '{HEARTBEAT_PREFIX}', 'x')",
        "INSERT INTO orders VALUES (1)",
    )
    (got,) = [one for one in read_commits(source, 1) if one.changes]
    assert got.rows == [("I", None, ("1", None))]


def test_a_new_column_is_described_before_its_first_row(published: PostgresBusiness) -> None:
    """Rows before and after ALTER TABLE each come with their own description."""
    one = delivered(
        published,
        "INSERT INTO orders VALUES (1)",
        "ALTER TABLE orders ADD more numeric DEFAULT 5",
        "INSERT INTO orders VALUES (2)",
    )
    widths = [
        (len(change.relation.columns), change.new)
        for change in one.changes
        if isinstance(change, Change)
    ]
    assert widths == [(2, ("1", None)), (3, ("2", None, "5"))]


# ---- size ----


def test_a_large_transaction_is_streamed(published: PostgresBusiness) -> None:
    """20,000 rows of a kilobyte all come, in order.

    When the first change is read the server still holds back most of the others.
    """
    published.transaction(
        "INSERT INTO orders SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n"
    )
    source = published.source()
    source.open(published.initial(), silent_never)
    seen: list[str] = []
    waiting = (
        "SELECT wait_event = 'WalSenderWriteData' FROM pg_stat_activity "
        "JOIN pg_replication_slots ON active_pid = pid WHERE slot_name = %s"
    )

    def take(message: Message) -> bool:
        seen.append(type(message).__name__)
        if len(seen) == 2:
            assert isinstance(message, Change)
            eventually(
                lambda: published.value(waiting, published.slot),
                what="the server waits for its reader",
            )
        if isinstance(message, Change):
            assert message.new is not None
            assert message.new[0] == str(len(seen) - 1)
            assert message.size > 1000
        return isinstance(message, Commit)

    def committed() -> bool:
        taken = [take(message) for message in source.read(0.2)]
        return any(taken)

    eventually(committed, 60, "the commit comes", interval=0)
    assert seen == ["Begin", *["Change"] * 20_000, "Commit"]


# ---- beside the stream ----


def test_what_a_new_snapshot_sees_and_the_lag(published: PostgresBusiness) -> None:
    """About once a second the source tells what is visible.

    The lag is what was written past the acknowledged position.
    """
    source = published.source()
    source.open(published.initial(), silent_never)
    with published.connect() as running, running.transaction():
        in_progress = running.execute("SELECT pg_current_xact_id()::text::int8").fetchone()
        # More than the server writes for itself meanwhile
        published.transaction("INSERT INTO orders SELECT n FROM generate_series(1, 20000) n")
        (got,) = read_commits(source, 1)
        snapshot = eventually(source.housekeeping, what="a snapshot is taken")
        gauges = source.gauges()
    assert gauges["agent_source_log_status/reserved"] == 1
    assert gauges["agent_source_log_safe_bytes"] > 0
    assert gauges["agent_source_log_retained_bytes"] > 20000 * 30
    assert 0 < gauges["agent_source_oldest_transaction_timestamp_seconds"] <= time.time()
    assert in_progress is not None
    assert snapshot is not None
    assert snapshot.sees(got.transaction)
    assert not snapshot.sees(in_progress[0])
    assert source.housekeeping() is None
    lag = source.lag_bytes()
    assert lag > 20000 * 30
    source.acknowledge(got.position)
    eventually(
        lambda: source.housekeeping() is not None and source.lag_bytes() < lag,
        what="the lag is smaller",
    )


def test_kept_log_is_warned_of_once_an_hour(
    published: PostgresBusiness, caplog: pytest.LogCaptureFixture
) -> None:
    """Above the bound, in the log; and pages of copies wait."""
    quiet = published.source(published.settings(warn_log_bytes=1 << 40))
    quiet.open(published.initial(), silent_never)
    assert quiet.housekeeping() is not None
    assert not quiet.log_large()
    quiet.close()
    assert "source_log_large" not in caplog.text

    source = published.source(published.settings(warn_log_bytes=1, heartbeat_seconds=0.01))
    source.open(published.initial(), silent_never)
    for _ in range(3):
        eventually(lambda: source.housekeeping() is not None, what="the server is asked")
    assert source.log_large()
    (warned,) = [text for text in caplog.messages if text.startswith("source_log_large")]
    assert " bound=1 " in warned


def test_heartbeats_are_written_when_due(published: PostgresBusiness) -> None:
    """Every `heartbeat_seconds`, not more often; no table is touched."""
    source = published.source(published.settings(heartbeat_seconds=1.5))
    source.open(published.initial(), silent_never)
    beats: list[Message] = []

    def three() -> bool:
        source.housekeeping()
        beats.extend(source.read(0.02))
        return len(beats) >= 3

    eventually(three, what="three heartbeats")
    times = [message.time_us for message in beats if isinstance(message, Heartbeat)]
    assert len(times) == 3
    assert all(later - earlier > 1_400_000 for earlier, later in pairwise(times))


def test_the_catalogue_tells_columns_types_and_keys(postgres_business: PostgresBusiness) -> None:
    """Domains come by their base type, keys in the index's order, generated columns marked.

    What does not exist is left out.
    """
    postgres_business.transaction(
        "CREATE DOMAIN money_type AS numeric(10,2) NOT NULL",
        "CREATE DOMAIN narrow AS money_type CHECK (value > 0)",
        'CREATE TABLE "T 表" (b text NOT NULL, gone int, a int, price narrow, '
        "twice int GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (b, a))",
        'ALTER TABLE "T 表" DROP COLUMN gone',
    )
    postgres_business.publish('"T 表"')
    source = postgres_business.source(postgres_business.settings(("public.T 表", "public.none")))
    source.open(postgres_business.initial(), silent_never)
    ((name, table),) = source.tables().items()
    assert name == ("public", "T 表")
    assert (table.key, table.identity) == (("b", "a"), "d")
    assert [
        (c.name, c.base_oid, c.base_type, c.builtin, c.not_null, c.generated) for c in table.columns
    ] == [
        ("b", TEXT, "text", True, True, ""),
        ("a", INT4, "integer", True, True, ""),
        ("price", NUMERIC, "numeric(10,2)", True, False, ""),
        ("twice", INT4, "integer", True, False, "s"),
    ]


@pytest.mark.parametrize(
    ("definition", "identity"),
    [
        ("id int", "DEFAULT"),
        ("id int PRIMARY KEY", "NOTHING"),
        ("id int PRIMARY KEY DEFERRABLE", "DEFAULT"),
        ("id int UNIQUE DEFERRABLE", "FULL"),
        ("id int UNIQUE", "DEFAULT"),
    ],
)
def test_a_table_without_a_usable_key_has_none(
    postgres_business: PostgresBusiness, definition: str, identity: str
) -> None:
    """Nothing is made up."""
    postgres_business.transaction(
        f"CREATE TABLE keyless ({definition})", f"ALTER TABLE keyless REPLICA IDENTITY {identity}"
    )
    postgres_business.publish("keyless")
    source = postgres_business.source(postgres_business.settings(("keyless",)))
    source.open(postgres_business.initial(), silent_never)
    assert source.tables()["public", "keyless"].key == ()


def test_a_deferrable_primary_key_serves_under_full(postgres_business: PostgresBusiness) -> None:
    """A deferrable key is reported, in the catalogue's fingerprint too.

    Rows may share a key until their transaction ends.
    """
    tables = ("queue_now", "queue_late")
    for table, key in zip(tables, ("PRIMARY KEY", "PRIMARY KEY DEFERRABLE"), strict=True):
        postgres_business.transaction(
            f"CREATE TABLE {table} (id int {key})", f"ALTER TABLE {table} REPLICA IDENTITY FULL"
        )
    postgres_business.publish(*tables)
    source = postgres_business.source(postgres_business.settings(tables))
    source.open(postgres_business.initial(), silent_never)
    found, marks = source.tables(), source.fingerprints()
    assert [
        (found["public", table].key, found["public", table].deferrable) for table in tables
    ] == [(("id",), False), (("id",), True)]
    assert [marks["public", table].copy["identity"] for table in tables] == ["f", "f deferrable"]


def test_what_the_publication_does_not_carry_is_told(published: PostgresBusiness) -> None:
    """A table that is missing there, filtered or cut to some columns."""
    publication = f'"{published.slot}"'
    published.transaction(
        "CREATE TABLE filtered (id int PRIMARY KEY)",
        "CREATE TABLE listed (id int PRIMARY KEY, a int)",
        f"ALTER PUBLICATION {publication} ADD TABLE filtered WHERE (id > 1)",
        f"ALTER PUBLICATION {publication} ADD TABLE listed (id)",
    )  # fmt: skip
    source = published.source()
    source.open(published.initial(), silent_never)
    assert [
        source.unpublished("public", table) for table in ("orders", "other", "filtered", "listed")
    ] == [
        "",
        "it is not in the publication",
        "it has a row filter there",
        "it has a column list there",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP PUBLICATION {}", "it does not exist"),
        (
            "ALTER PUBLICATION {} SET (publish = 'insert, update')",
            "it must publish insert, update, delete and truncate",
        ),
    ],
)
def test_a_publication_that_loses_changes_halts_at_connection(
    published: PostgresBusiness, change: str, said: str
) -> None:
    """Before the stream starts: what it would leave out could never be known."""
    published.transaction(change.format(f'"{published.slot}"'))
    with pytest.raises(PublicationWrong, match=said):
        published.source().open(published.initial(), silent_never)


def test_begin_tells_the_identity_of_a_transaction_at_every_replay(
    published: PostgresBusiness,
) -> None:
    """Commit record, xid and time come again the same: event ids are built on them."""
    published.transaction("INSERT INTO orders VALUES (1)")
    begins = []
    for _ in range(2):
        source = published.source()
        source.open(published.initial(), silent_never)
        messages = read_until(source, lambda so_far: any(isinstance(m, Commit) for m in so_far))
        transactions(messages)
        begins.append([message for message in messages if isinstance(message, Begin)])
        source.close()
    assert begins[0] == begins[1]
    assert len(begins[0]) == 1
