"""What each kind of change leaves in the front-end table and in the topic."""

import orjson
import pytest

from agent.connectors.changes import Truncate
from agent.front.base import Request
from agent.values.rows import UNCHANGED, Row
from tests.pipeline.model import FILTERED, FULL, PLAIN, Bench, heartbeat, transaction


def test_insert_update_delete() -> None:
    """One event each, with key, operation and rows; values of columns not listed appear nowhere."""
    bench = Bench().run(
        [
            transaction(1, (PLAIN, "I", None, ("1", "new", "B", "canary"))),
            transaction(2, (PLAIN, "U", None, ("1", "paid", "B", "canary"))),
            transaction(3, (PLAIN, "D", ("1", None, None, None), None)),
        ]
    )
    assert bench.told("plain") == [("c", 1), ("u", 1), ("d", 1)]
    created, updated, deleted = (orjson.loads(e.value) for e in bench.events("plain"))
    assert (created["before"], created["after"]) == (None, {"id": 1, "state": "new", "big": "B"})
    assert (updated["before"], updated["after"]["state"]) == (None, "paid")
    assert (deleted["before"], deleted["after"]) == ({"id": 1}, None)
    assert [e.tombstone for e in bench.events("plain")] == [False, False, True]
    assert bench.table("plain") == {}
    assert b"canary" not in b"".join(batch.payload for batch in bench.durable.outbox)


def test_full_identity_gives_the_whole_row_before() -> None:
    """Under FULL the old row is complete, and completes unchanged values."""
    bench = Bench().run(
        [
            transaction(1, (FULL, "I", None, ("1", "a", "B", "x"))),
            transaction(2, (FULL, "U", ("1", "a", "B", "x"), ("1", "b", UNCHANGED, "x"))),
            transaction(3, (FULL, "D", ("1", "b", "B", "x"), None)),
        ]
    )
    _, updated, deleted = (orjson.loads(e.value) for e in bench.events("full"))
    assert (updated["before"]["state"], updated["after"]) == (
        "a",
        {"id": 1, "state": "b", "big": "B"},
    )
    assert deleted["before"] == {"id": 1, "state": "b", "big": "B"}


@pytest.mark.parametrize("apart", [True, False])
def test_unchanged_values_come_from_the_front_end(apart: bool) -> None:
    """A value the log did not send is the one the front end has, and never NULL.

    It is so within one set of changes, too.
    """
    insert = (PLAIN, "I", None, ("1", "a", "large", "x"))
    update = (PLAIN, "U", None, ("1", "b", UNCHANGED, "x"))
    move = (PLAIN, "U", ("1", None, None, None), ("2", "c", UNCHANGED, "x"))
    bench = Bench()
    for log in (
        [[transaction(1, insert)], [transaction(2, update, move)]]
        if apart
        else [[transaction(1, insert, update, move)]]
    ):
        bench.run(log)
    assert bench.table("plain") == {"2": ("c", "large")}
    assert [orjson.loads(e.value)["after"] for e in bench.events("plain")][1] == {
        "id": 1,
        "state": "b",
        "big": "large",
    }


def test_complete_gives_the_whole_row_before() -> None:
    """With `before = "complete"` every u and d has what the front end held.

    It is so in one set of changes or many, across a change of key, and at a TRUNCATE.

    A row the front end does not have yet comes as a create.
    """
    bench = Bench(before="complete").run(
        [
            transaction(
                1,
                (PLAIN, "I", None, ("1", "a", "B", "x")),
                (PLAIN, "U", None, ("1", "b", UNCHANGED, "x")),
            )
        ]
    )
    bench.run(
        [
            transaction(
                2,
                (PLAIN, "U", None, ("1", "c", UNCHANGED, "x")),
                (PLAIN, "U", ("1", None, None, None), ("2", "d", "C", "x")),
            )
        ]
    )
    bench.run(
        [
            transaction(
                3,
                (PLAIN, "D", ("2", None, None, None), None),
                (PLAIN, "U", None, ("9", "a", "B", "x")),
            )
        ]
    )
    bench.run(
        [
            transaction(
                4, (FULL, "I", None, ("1", "a", "B", "x")), (FULL, "D", ("1", "z", "B", "x"), None)
            ),
            transaction(5, Truncate((PLAIN,), 5500)),
        ]
    )

    def row(key: int, state: str, big: str = "B") -> dict[str, object]:
        return {"id": key, "state": state, "big": big}

    told = [
        (value["op"], value["before"], value["after"])
        for value in (orjson.loads(event.value) for event in bench.events("plain"))
    ]
    assert told == [
        ("c", None, row(1, "a")),
        ("u", row(1, "a"), row(1, "b")),
        ("u", row(1, "b"), row(1, "c")),
        ("d", row(1, "c"), None),
        ("c", None, row(2, "d", "C")),
        ("d", row(2, "d", "C"), None),
        ("c", None, row(9, "a")),
        ("d", row(9, "a"), None),
    ]
    assert bench.events("plain")[6].header is None
    # The log's own
    assert [orjson.loads(event.value)["before"] for event in bench.events("full")] == [
        None,
        row(1, "z"),
    ]


def test_begin_end_and_the_place_of_each_event() -> None:
    """Events are counted as Debezium does.

    A transaction without events has neither begin nor end; ids of events are those they have
    without them.
    """
    log = [
        transaction(
            1,
            (PLAIN, "I", None, ("1", "a", "B", "x")),
            (FULL, "I", None, ("1", "a", "B", "x")),
            (PLAIN, "U", ("1", None, None, None), ("2", "a", "B", "x")),
        ),
        transaction(2, (FILTERED, "I", None, ("1", "draft", "B", "x"))),
        transaction(3, (FULL, "D", ("1", "a", "B", "x"), None)),
    ]
    bench, without = Bench(transactions=True).run(log), Bench().run(log)
    places = {
        name: [orjson.loads(event.value)["transaction"] for event in bench.events(name)]
        for name in ("plain", "full")
    }
    assert places["plain"] == [
        {"id": "1:1900", "total_order": n, "data_collection_order": m}
        for n, m in ((1, 1), (3, 2), (4, 3))
    ]
    assert places["full"] == [
        {"id": f"{xid}:{xid}900", "total_order": n, "data_collection_order": 1}
        for xid, n in ((1, 2), (3, 1))
    ]
    assert [(b.opens, orjson.loads(b.key), orjson.loads(b.value)) for b in bench.boundaries()] == [
        (
            True,
            {"id": "1:1900"},
            {
                "status": "BEGIN",
                "id": "1:1900",
                "event_count": None,
                "data_collections": None,
                "ts_ms": 1000,
            },
        ),
        (
            False,
            {"id": "1:1900"},
            {
                "status": "END",
                "id": "1:1900",
                "event_count": 4,
                "data_collections": counts(("plain", 3), ("full", 1)),
                "ts_ms": 1000,
            },
        ),
        (
            True,
            {"id": "3:3900"},
            {
                "status": "BEGIN",
                "id": "3:3900",
                "event_count": None,
                "data_collections": None,
                "ts_ms": 3000,
            },
        ),
        (
            False,
            {"id": "3:3900"},
            {
                "status": "END",
                "id": "3:3900",
                "event_count": 1,
                "data_collections": counts(("full", 1)),
                "ts_ms": 3000,
            },
        ),
    ]
    assert [event[:8] for event in bench.events("plain")] == [
        event[:8] for event in without.events("plain")
    ]


def counts(*tables: tuple[str, int]) -> list[dict[str, object]]:
    """`data_collections` of an END."""
    return [{"data_collection": f"app.{name}", "event_count": count} for name, count in tables]


def test_a_key_change_is_a_delete_and_a_create() -> None:
    """The old key gets d and tombstone with the new key in a header.

    The new key gets c with the old one.
    """
    bench = Bench().run(
        [
            transaction(
                1,
                (PLAIN, "I", None, ("1", "a", "B", "x")),
                (PLAIN, "U", ("1", None, None, None), ("2", "a", "B", "x")),
            )
        ]
    )
    assert bench.told("plain") == [("c", 1), ("d", 1), ("c", 2)]
    _, deleted, created = bench.events("plain")
    assert (deleted.tombstone, deleted.header) == (True, ("__debezium.newkey", b'{"id":2}'))
    assert (created.tombstone, created.header) == (False, ("__debezium.oldkey", b'{"id":1}'))
    assert bench.table("plain") == {"2": ("a", "B")}


def test_the_filter_makes_creates_and_deletes_of_updates() -> None:
    """A row enters with c, leaves with d, and is not seen outside.

    A change of its key crosses the filter the same way.
    """

    def row(key: str, state: str) -> Row:
        return (key, state, "B", "x")

    def key(key: str) -> Row:
        return (key, None, None, None)

    bench = Bench().run(
        [
            transaction(
                1, (FILTERED, "I", None, row("1", "draft")), (FILTERED, "I", None, row("2", "open"))
            ),
            transaction(
                2, (FILTERED, "U", None, row("1", "open")), (FILTERED, "U", None, row("2", "open"))
            ),
            transaction(
                3,
                (FILTERED, "U", None, row("1", "closed")),
                (FILTERED, "U", key("2"), row("3", "open")),
            ),
            transaction(
                4,
                (FILTERED, "U", key("3"), row("4", "closed")),
                (FILTERED, "U", key("4"), row("5", "open")),
            ),
            transaction(5, (FILTERED, "D", key("1"), None), (FILTERED, "D", key("5"), None)),
        ]
    )
    assert bench.told("filtered") == [
        ("c", 2),
        ("c", 1),
        ("u", 2),
        ("d", 1),
        ("d", 2),
        ("c", 3),
        ("d", 3),
        ("c", 5),
        ("d", 5),
    ]
    assert bench.table("filtered") == {}


def test_an_update_into_the_filter_without_its_values_is_a_hole() -> None:
    """Without row and value the key is noted to be read again, and the table is no longer live.

    Everything else goes on, the table's other rows too.
    """
    bench = Bench().run(
        [
            transaction(1, (FILTERED, "I", None, ("1", "draft", "large", "x"))),
            transaction(
                2,
                (PLAIN, "I", None, ("1", "a", "B", "x")),
                (FILTERED, "U", None, ("1", "open", UNCHANGED, "x")),
            ),
            transaction(
                3,
                (PLAIN, "I", None, ("2", "a", "B", "x")),
                (FILTERED, "I", None, ("9", "open", "B", "x")),
            ),
        ]
    )
    assert bench.durable.suspended == {}
    assert bench.durable.holes["filtered"] == {("1",)}
    assert {
        name for name, state in bench.durable.stored.resources.items() if state.state != "live"
    } == {"filtered"}
    assert bench.told("filtered") == [("c", 9)]
    assert bench.told("plain") == [("c", 1), ("c", 2)]
    assert [e.seq for e in bench.events("plain")] == [1, 2]


def test_an_incomplete_row_outside_the_filter_is_no_matter() -> None:
    """A row that is not shared may lack what it likes."""
    bench = Bench().run(
        [
            transaction(
                1,
                (FILTERED, "U", None, ("1", "closed", UNCHANGED, "x")),
                (FILTERED, "D", ("7", None, None, None), None),
            )
        ]
    )
    assert (bench.told("filtered"), bench.durable.suspended) == ([], {})


def test_an_event_too_large_is_withheld_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is withheld before it gets its number.

    The front end has the row, and everything else goes on. What fits again is published as the
    topic must take it.
    """
    large = "secret" * 500
    bench = Bench(max_event_bytes=2000).run(
        [
            transaction(
                1,
                *[
                    (PLAIN, "I", None, (key, "a", large if key in "13" else "ok", "x"))
                    for key in "1234"
                ],
                (FULL, "I", None, ("1", "a", "ok", "x")),
            ),
            transaction(
                2,
                *[(PLAIN, "U", None, (key, "b", large, "x")) for key in "124"],
                (FULL, "U", ("1", "a", "ok", "x"), ("1", "b", large, "x")),
            ),
        ]
    )
    assert bench.durable.suspended == {}
    assert (bench.told("plain"), bench.told("full")) == ([("c", 2), ("c", 4)], [("c", 1)])
    assert bench.durable.withheld == {
        "plain": {("1",): False, ("2",): True, ("3",): False, ("4",): True},
        "full": {("1",): True},
    }
    assert {key: row[0] for key, row in bench.table("plain").items()} == {
        "1": "b",
        "2": "b",
        "3": "a",
        "4": "b",
    }
    bench.run(
        [
            transaction(
                3,
                *[(PLAIN, "U", None, (key, "c", "ok", "x")) for key in "12"],
                *[(PLAIN, "D", (key, None, None, None), None) for key in "34"],
            ),
            transaction(
                4,
                (FULL, "U", ("1", "b", large, "x"), ("1", "c", "ok", "x")),
                (FULL, "U", ("1", "c", "ok", "x"), ("1", "d", "o" * 700, "x")),
            ),
            transaction(5, (FULL, "U", ("1", "d", "o" * 700, "x"), ("1", "e", "o" * 700, "x"))),
        ]
    )
    assert bench.told("plain")[2:] == [("c", 1), ("u", 2), ("d", 4)]  # the topic never had 3
    assert bench.durable.withheld == {"plain": {}, "full": {}}
    befores = [orjson.loads(event.value)["before"] for event in bench.events("full")[1:]]
    # Not what the topic has; it fits; the row after it matters more
    assert befores == [
        None,
        {"id": 1, "state": "c", "big": "ok"},
        None,
    ]
    assert [event.seq for event in bench.events("plain")] == [1, 2, 3, 4, 5]
    told = [
        record.getMessage() for record in caplog.records if "row_withheld" in record.getMessage()
    ]
    assert len(told) == 5 and "secret" not in "".join(told) and '"id"' not in "".join(told)


def test_a_changed_table_suspends_alone() -> None:
    """A listed column that is gone from the stream stops that table."""
    narrow = PLAIN._replace(columns=PLAIN.columns[:2])
    bench = Bench().run(
        [
            transaction(1, (narrow, "I", None, ("1", "a"))),
            transaction(2, (FULL, "I", None, ("1", "a", "b", "x"))),
        ]
    )
    assert bench.durable.suspended == {"plain": "TABLE_CHANGED"}
    assert bench.told("full") == [("c", 1)]


def test_the_publisher_has_a_table_suspended() -> None:
    """For an error of its topic: stored as every suspension, asked once; the others go on."""
    bench = Bench()
    values = {
        "code": "TOPIC_LOST",
        "values": {"resource": "plain", "topic": "p.plain", "reason": "it was deleted"},
    }
    bench.durable.requests["s"] = Request("s", "suspend", "plain", False, values), "asked", {}
    bench.run([transaction(1, (FULL, "I", None, ("1", "a", "b", "x")))])
    assert (
        bench.durable.suspended == {"plain": "TOPIC_LOST"}
        and bench.durable.requests["s"][1] == "done"
    )
    bench.run(
        [
            transaction(
                2, (PLAIN, "I", None, ("1", "a", "b", "x")), (FULL, "I", None, ("2", "a", "b", "x"))
            )
        ]
    )
    assert (bench.told("plain"), bench.told("full")) == ([], [("c", 1), ("c", 2)])


def test_truncate_publishes_one_delete_per_row() -> None:
    """Deletes come in key order, tombstones included.

    Rows inserted before and after in the same transaction are published right.
    """
    bench = Bench().run(
        [transaction(1, *[(PLAIN, "I", None, (str(n), "a", "B", "x")) for n in (3, 1, 2)])]
    )
    bench.run(
        [
            transaction(
                2,
                (PLAIN, "I", None, ("4", "a", "B", "x")),
                Truncate((PLAIN, FULL), 2500),
                (PLAIN, "I", None, ("1", "b", "B", "x")),
            )
        ]
    )
    assert bench.told("plain")[3:] == [("c", 4), ("d", 1), ("d", 2), ("d", 3), ("d", 4), ("c", 1)]
    assert bench.table("plain") == {"1": ("b", "B")}


def test_heartbeats_move_the_position_and_pass_the_outbox() -> None:
    """A batch without events; the source is acknowledged up to it."""
    bench = Bench().run([transaction(1, (PLAIN, "I", None, ("1", "a", "B", "x"))), heartbeat(2)])
    assert bench.source.acknowledged == 2500
    assert bench.durable.outbox[-1].last_number == 1


def test_tables_nobody_shares_are_passed_over() -> None:
    """A published table without a resource leaves no trace but the position."""
    stranger = PLAIN._replace(oid=77, table="stranger")
    bench = Bench().run([transaction(1, (stranger, "I", None, ("1", "a", "B", "x")))])
    assert (bench.durable.stored.position, bench.durable.stored.number) == ("0/7CF", 0)
