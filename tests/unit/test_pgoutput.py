"""The pgoutput decoder: byte for byte, for any relation and row, and for bytes that are none."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connectors.changes import (
    Begin,
    Change,
    Column,
    Commit,
    Heartbeat,
    HighPosition,
    Message,
    Relation,
    Truncate,
)
from agent.connectors.postgres.pgoutput import HEARTBEAT_PREFIX, PAGE_PREFIX, Decoder
from agent.errors import ProtocolViolated
from agent.values.rows import UNCHANGED, Row
from tests.unit import encoder

TIME_US = 1_780_000_000_123_456
ORDERS = Relation(
    16400, "public", "orders", "d", (Column("id", 20, -1, True), Column("note", 25, -1, False))
)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
names = st.sampled_from(
    ["订单", 'say "hi"', "Mixed Case", "id", "名 称", "semi;colon", "'"]
) | texts.filter(bool)
values = st.none() | st.just(UNCHANGED) | texts
xids = st.integers(1, 2**32 - 1)
lsns = st.integers(0, 2**63)
times = st.integers(0, 2**60)


@st.composite
def relations(draw: st.DrawFn) -> Relation:
    """Returns any table as a stream may describe it."""
    columns = draw(
        st.lists(
            st.builds(
                Column, names, st.integers(0, 2**32 - 1), st.integers(-1, 2**31 - 1), st.booleans()
            ),
            max_size=6,
            unique_by=lambda c: c.name,
        )
    )
    return Relation(
        draw(st.integers(0, 2**32 - 1)),
        draw(names),
        draw(names),
        draw(st.sampled_from("dfin")),
        tuple(columns),
    )


def rows(relation: Relation) -> st.SearchStrategy[Row]:
    """Returns any row of a table."""
    return st.tuples(*[values for _ in relation.columns])


def knowing(*known: Relation) -> Decoder:
    """Returns a decoder that has been told of these tables."""
    decoder = Decoder()
    for relation in known:
        assert decoder.decode(encoder.relation(relation), 0) is None
    return decoder


def test_bytes_of_a_real_transaction_are_understood() -> None:
    """Messages as a server sends them, written out by hand."""
    decoder = Decoder()
    stream: list[tuple[bytes, Message | None]] = [
        (
            bytes.fromhex("42 0000000001529a40 000271b7bb1e9340 000002ec"),
            Begin(748, 0x1529A40, 0x271B7BB1E9340 + 946_684_800_000_000),
        ),
        (
            b"R\x00\x00\x40\x10public\0orders\0d\x00\x02\x01id\0\x00\x00\x00\x14\xff\xff\xff\xff\x00note\0\x00\x00\x00\x19\xff\xff\xff\xff",
            None,
        ),
        (
            b"I\x00\x00\x40\x10N\x00\x02t\x00\x00\x00\x017t\x00\x00\x00\x06\xe5\xbc\xa0\xe4\xb8\x89",
            Change(ORDERS, "I", None, ("7", "张三"), False, 9, 25),
        ),
        (
            b"U\x00\x00\x40\x10N\x00\x02t\x00\x00\x00\x017u",
            Change(ORDERS, "U", None, ("7", UNCHANGED), False, 9, 15),
        ),
        (
            b"U\x00\x00\x40\x10K\x00\x02t\x00\x00\x00\x017nN\x00\x02t\x00\x00\x00\x018n",
            Change(ORDERS, "U", ("7", None), ("8", None), False, 9, 25),
        ),
        (
            b"D\x00\x00\x40\x10O\x00\x02t\x00\x00\x00\x018n",
            Change(ORDERS, "D", ("8", None), None, True, 9, 15),
        ),
        (b"T\x00\x00\x00\x01\x00\x00\x00\x40\x10", Truncate((ORDERS,), 9)),
        (
            bytes.fromhex("43 00 0000000001529a40 0000000001529a70 000271b7bb1e9340"),
            Commit(748, 0x1529A70, 0x271B7BB1E9340 + 946_684_800_000_000),
        ),
    ]
    for data, expected in stream:
        assert decoder.decode(data, 9) == expected


@given(xids, lsns, times, lsns)
def test_transactions_keep_xid_positions_and_time(
    xid: int, commit_lsn: int, time_us: int, end: int
) -> None:
    """Begin and Commit come back whole; the decoder knows whether it is inside a transaction."""
    decoder = Decoder()
    inside = [decoder.inside]
    assert decoder.decode(encoder.begin(xid, commit_lsn, time_us), 0) == Begin(
        xid, commit_lsn, time_us
    )
    inside.append(decoder.inside)
    assert decoder.decode(encoder.commit(commit_lsn, end, time_us), 0) == Commit(xid, end, time_us)
    inside.append(decoder.inside)
    assert inside == [False, True, False]


@given(st.data(), relations(), lsns, st.sampled_from([b"K", b"O"]))
def test_any_row_of_any_table_comes_back(
    data: st.DataObject, relation: Relation, lsn: int, kind: bytes
) -> None:
    """Names and values of any kind; NULL, empty text and unchanged stay three things."""
    decoder = knowing(relation)
    old, new = data.draw(rows(relation)), data.draw(rows(relation))
    complete = kind == b"O"
    for message, expected in (
        (encoder.insert(relation.oid, new), ("I", None, new, False)),
        (encoder.update(relation.oid, None, new), ("U", None, new, False)),
        (encoder.update(relation.oid, old, new, kind), ("U", old, new, complete)),
        (encoder.delete(relation.oid, old, kind), ("D", old, None, complete)),
    ):
        op, before, after, whole = expected
        assert decoder.decode(message, lsn) == Change(
            relation, op, before, after, whole, lsn, len(message)
        )


@given(
    st.lists(relations(), min_size=1, max_size=4, unique_by=lambda r: r.oid),
    st.integers(0, 3),
    lsns,
)
def test_truncate_names_each_table(several: list[Relation], options: int, lsn: int) -> None:
    """One TRUNCATE of several tables is one message, in the order sent."""
    assert knowing(*several).decode(
        encoder.truncate([r.oid for r in several], options), lsn
    ) == Truncate(tuple(several), lsn)


def test_a_new_description_replaces_the_old_one() -> None:
    """After ALTER TABLE rows are read by the new description."""
    wider = ORDERS._replace(columns=(*ORDERS.columns, Column("more", 23, -1, False)))
    decoder = knowing(ORDERS, wider)
    change = decoder.decode(encoder.insert(ORDERS.oid, ("1", "x", "5")), 0)
    assert isinstance(change, Change)
    assert change.relation == wider


def test_a_description_without_schema_is_the_catalogue() -> None:
    """PostgreSQL sends an empty name for pg_catalog."""
    unnamed = ORDERS._replace(schema="")
    change = knowing(unnamed).decode(encoder.insert(ORDERS.oid, ("1", None)), 0)
    assert isinstance(change, Change)
    assert change.relation.schema == "pg_catalog"


def test_heartbeats_are_told_from_foreign_messages() -> None:
    """Our own message is a heartbeat at the message's position.

    Other prefixes, and transactional messages, carry nothing.
    """
    decoder = Decoder()
    assert decoder.decode(
        encoder.message(HEARTBEAT_PREFIX, str(TIME_US).encode(), 77), 5
    ) == Heartbeat(77, TIME_US)
    assert decoder.decode(encoder.message("debezium", b"\xff\0anything", 77), 5) is None
    assert decoder.decode(encoder.message("", b"", 77), 5) is None
    assert (
        decoder.decode(encoder.message(HEARTBEAT_PREFIX, b"1", 77, transactional=True), 5) is None
    )


@given(texts, lsns)
def test_a_high_position_comes_with_its_transaction_only(token: str, lsn: int) -> None:
    """The token that a page reader wrote comes back.

    Outside of a transaction, or under another prefix, it is none of ours.
    """
    decoder = Decoder()
    assert decoder.decode(
        encoder.message(PAGE_PREFIX, token.encode(), lsn, transactional=True), 5
    ) == HighPosition(token)
    assert decoder.decode(encoder.message(PAGE_PREFIX, token.encode(), lsn), 5) is None
    assert (
        decoder.decode(
            encoder.message(PAGE_PREFIX + "s", token.encode(), lsn, transactional=True), 5
        )
        is None
    )


@pytest.mark.parametrize(
    "data", [b"Y\0\0\0\x01public\0colour\0", b"O\0\0\0\0\0\0\0\x01elsewhere\0"]
)
def test_types_and_origins_carry_no_change(data: bytes) -> None:
    """They are known and need nothing."""
    assert Decoder().decode(data, 0) is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"Z", "message type b'Z'"),
        (b"S\0\0\0\x01\x01", "message type b'S'"),  # stream start of protocol 2
        (b"", "message type b''"),
        (encoder.insert(1, ("x",)), "relation 1 before its description"),
        (encoder.update(1, None, ("x",)), "relation 1 before its description"),
        (encoder.delete(1, ("x",)), "relation 1 before its description"),
        (encoder.truncate([16400, 1]), "relation 1 before its description"),
        (encoder.insert(16400, ("7",)), "malformed message of type b'I'"),
        (encoder.insert(16400, ("7", "x", "y")), "malformed message of type b'I'"),
        (encoder.insert(16400, ("7", "x")) + b"\0", "malformed message of type b'I'"),
        (encoder.insert(16400, ("7", "x")).replace(b"N", b"K"), "malformed message of type b'I'"),
        # Binary column
        (
            encoder.insert(16400, ("7", None)).replace(b"n", b"b"),
            "malformed message of type b'I'",
        ),
        (
            encoder.insert(16400, ("7", "é")).replace(b"\xc3", b"\xff"),
            "malformed message of type b'I'",
        ),
        (encoder.update(16400, ("7", "x"), ("7", "y"), b"X"), "malformed message of type b'U'"),
        (encoder.delete(16400, ("7", "x"), b"N"), "malformed message of type b'D'"),
        (encoder.truncate([16400]) + b"\0\0\x40\x10", "malformed message of type b'T'"),
        (b"T" + struct.pack(">IB", 2**32 - 1, 0), "malformed message of type b'T'"),
        (encoder.relation(ORDERS) + b"\0", "malformed message of type b'R'"),
        (encoder.message(HEARTBEAT_PREFIX, b"noon", 1), "malformed message of type b'M'"),
        (encoder.message(HEARTBEAT_PREFIX, b"9" * 19, 1), "malformed message of type b'M'"),
        (
            encoder.message(PAGE_PREFIX, b"\xff", 1, transactional=True),
            "malformed message of type b'M'",
        ),
        (
            encoder.message(PAGE_PREFIX, b"token", 1, transactional=True) + b"\0",
            "malformed message of type b'M'",
        ),
    ],
)
def test_what_is_unknown_halts_and_names_the_position(data: bytes, what: str) -> None:
    """Never skipped, never guessed; the error holds type and position only."""
    with pytest.raises(ProtocolViolated) as caught:
        knowing(ORDERS).decode(data, 0x1_0000_00AB)
    assert what in caught.value.text("en")
    assert "1/AB" in caught.value.text("en")


@given(st.data(), relations())
def test_a_message_cut_short_is_never_taken_for_a_whole_one(
    data: st.DataObject, relation: Relation
) -> None:
    """Each proper prefix of each message ends in ProtocolViolated and nothing else."""
    old, new = data.draw(rows(relation)), data.draw(rows(relation))
    whole = data.draw(
        st.sampled_from(
            [
                encoder.begin(7, 8, TIME_US),
                encoder.commit(8, 9, TIME_US),
                encoder.relation(relation),
                encoder.insert(relation.oid, new),
                encoder.update(relation.oid, old, new),
                encoder.delete(relation.oid, old),
                encoder.truncate([relation.oid]),
                encoder.message(HEARTBEAT_PREFIX, str(TIME_US).encode(), 1),
                encoder.message(PAGE_PREFIX, b"token", 1, transactional=True),
            ]
        )
    )
    decoder = knowing(relation)
    for length in range(len(whole)):
        with pytest.raises(ProtocolViolated):
            decoder.decode(whole[:length], 0)


@given(st.data(), st.binary(max_size=80))
def test_random_bytes_raise_nothing_else(data: st.DataObject, noise: bytes) -> None:
    """Whatever comes, the decoder ends; if with an error, it is ProtocolViolated.

    The error quotes no value.
    """
    kind = data.draw(st.sampled_from([b"", b"B", b"C", b"R", b"I", b"U", b"D", b"T", b"M"]))
    body = data.draw(
        st.sampled_from(
            [
                b"",
                b"\x00\x00\x40\x10",
                b"\x00\x00\x40\x10N\x00\x02",
                b"\x00\x00\x40\x10O\x00\x02t\x00\x00\x00\x01",
            ]
        )
    )
    try:
        knowing(ORDERS).decode(kind + body + noise, 0)
    except ProtocolViolated as error:
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
        assert set(error.values) == {"position", "what"}
