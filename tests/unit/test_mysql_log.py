"""The binary log of MariaDB and MySQL, taken apart: numbers, names, compression, damage."""

import socket
import tracemalloc
import zlib
from contextlib import closing, suppress
from datetime import date, datetime, timedelta

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.connectors.mysql import columns, events, rows, temporals
from agent.connectors.mysql.binary_json import double_text, json_text
from agent.connectors.mysql.charsets import NoText
from agent.connectors.mysql.compression import inner_events, payload, unpacked
from agent.connectors.mysql.decimals import decimal_bytes, decimal_writer
from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.packets import LineClosed, Packets
from agent.connectors.mysql.packing import Damaged, high_bits, number, packed
from agent.connectors.mysql.table_map import NotFull, table_map
from agent.values.canonical import canonical
from agent.values.column_types import NUMERIC, Type
from tests.unit.log_encoder import event, packed_decimal

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "6b374f50-ece1-11f1-88cd-02fc00000001"

# As MySQL 9.7 has written them: three names with tags, and a set of them
TAGGED = {
    "02660000000222222222444466668888aaaaaaaaaaaa0404060a7461675f61"
    "08080a0c0c7f269c2f3e8a61061059041283120b": (f"{UUID}:tag_a", 1),
    "02760000000222222222444466668888aaaaaaaaaaaa04fff0ffffffffffffff060a7461675f61"
    "08080a100c7f8cb52f3e8a61061079041283120b": (f"{UUID}:tag_a", 9223372036854775800),
    "026c0000000222222222444466668888fd03fd03fd03fd03fd03fd030461090602620808"
    "0a140c7fd5b82f3e8a61061065041283120b": ("11111111-2222-3333-4444-ffffffffffff:b", 300),
}
EXECUTED = (
    "0104000000000001111111112222333344445555555555550001000000000000004d000000000000004e00000000"
    "000000111111112222333344445555555555550a7461675f61020000000000000001000000000000000200000000"
    "000000f8ffffffffffff7ff9ffffffffffff7f11111111222233334444ffffffffffff0262010000000000000"
    "02c010000000000002d010000000000006b374f50ece111f188cd02fc0000000100010000000000000001000000"
    "000000000300000000000000"
)
EXECUTED_TEXT = (
    f"{UUID}:77:tag_a:1:9223372036854775800,\n11111111-2222-3333-4444-ffffffffffff:b:300,\n"
    f"{OTHER}:1-2"
)


# ---- numbers


@given(st.integers(0, 2**64 - 1))
def test_packed_integers(value: int) -> None:
    for size, first in ((1, b""), (2, b"\xfc"), (3, b"\xfd"), (8, b"\xfe")):
        if value < (251 if size == 1 else 1 << 8 * size):
            data = first + value.to_bytes(size, "little")
            assert packed(data + b"rest", 0) == (value, len(data))
            with pytest.raises(Damaged):
                packed(data[:-1], 0)


@pytest.mark.parametrize("first", [251, 255])
def test_bytes_that_begin_no_integer(first: int) -> None:
    with pytest.raises(Damaged):
        packed(bytes((first,)) * 9, 0)


@given(st.lists(st.booleans(), max_size=40))
def test_bitmaps_begin_with_the_highest_bit(expected: list[bool]) -> None:
    text = "".join("1" if bit else "0" for bit in expected)
    filled = text.ljust(-(-len(text) // 8) * 8, "0")
    data = int(filled or "0", 2).to_bytes(len(filled) // 8, "big")
    assert high_bits(data, len(expected)) == expected


@st.composite
def decimals(draw: st.DrawFn) -> tuple[int, int, int]:
    """Precision, scale, and all digits as a whole number."""
    precision = draw(st.integers(1, 65))
    scale = draw(st.integers(0, min(30, precision)))
    return precision, scale, draw(st.integers(-(10**precision) + 1, 10**precision - 1))


@given(decimals())
def test_decimals_have_all_their_digits(given: tuple[int, int, int]) -> None:
    precision, scale, digits = given
    raw = packed_decimal(precision, scale, digits)
    assert len(raw) == decimal_bytes(precision, scale)
    text = decimal_writer(precision, scale)(raw)
    assert int(text.replace(".", "")) == digits
    assert canonical(text, Type(NUMERIC, f"numeric({precision},{scale})", True))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (1e15, "1e15"),
        (123456789012345.0, "123456789012345.0"),
        (3219746786658217.5, "3219746786658217.5"),
        (1e-15, "0.000000000000001"),
        (1.5e-16, "1.5e-16"),
        (8.899999999999999e-10, "0.0000000008899999999999999"),
        (-1.7976931348623157e308, "-1.7976931348623157e308"),
    ],
)
def test_doubles_of_documents_are_written_as_mysql_writes_them(value: float, text: str) -> None:
    assert double_text(value) == text


# ---- dates and times


@given(st.dates())
def test_dates(value: date) -> None:
    raw = (value.year << 9 | value.month << 5 | value.day).to_bytes(3, "little")
    assert temporals.date_text(raw) == value.isoformat()


@given(st.datetimes(), st.integers(0, 6))
def test_datetimes_of_each_number_of_digits(value: datetime, digits: int) -> None:
    days = (value.year * 13 + value.month) << 5 | value.day
    clock = value.hour << 12 | value.minute << 6 | value.second
    kept = value.microsecond // 10 ** (6 - digits) * 10 ** (6 - digits)
    raw = ((days << 17 | clock) + (1 << 39)).to_bytes(5, "big") + fraction(kept, digits)
    written = temporals.datetime_writer(digits)(raw)
    assert datetime.fromisoformat(written) == value.replace(microsecond=kept)
    assert not written.endswith(".") and (not kept or not written.endswith("0"))


@given(st.timedeltas(timedelta(hours=-838), timedelta(hours=838)), st.integers(0, 6))
def test_times_are_of_a_day_or_have_no_text(value: timedelta, digits: int) -> None:
    micros = value // timedelta(microseconds=1)
    step = 10 ** (6 - digits)
    micros = micros // step * step
    seconds, rest = divmod(abs(micros), 1_000_000)
    clock = seconds // 3600 << 12 | seconds // 60 % 60 << 6 | seconds % 60
    further = temporals.fraction_bytes(digits)
    number_of = int.from_bytes(fraction(rest, digits), "big") if digits else 0
    total = (clock << 8 * further) + number_of
    stored = (0x800000 << 8 * further) + (-total if micros < 0 else total)
    raw = stored.to_bytes(3 + further, "big")
    write = temporals.time_writer(digits)
    if 0 <= micros <= 86_400_000_000:
        hours, minutes, rest_text = write(raw).split(":")
        read = timedelta(hours=int(hours), minutes=int(minutes), seconds=0)
        assert read + timedelta(seconds=float(rest_text)) == timedelta(microseconds=micros)
    else:
        with pytest.raises(NoText):
            write(raw)


def fraction(micros: int, digits: int) -> bytes:
    """The digits of a second, in pairs."""
    size = temporals.fraction_bytes(digits)
    unit: int = 10 ** (6 - 2 * size)
    return (micros // unit).to_bytes(size, "big")


@pytest.mark.parametrize("packed_date", [0, 2024 << 9, 2024 << 9 | 2 << 5, 2023 << 9 | 2 << 5 | 29])
def test_zero_dates_and_days_that_are_none_have_no_text(packed_date: int) -> None:
    with pytest.raises(NoText):
        temporals.date_text(packed_date.to_bytes(3, "little"))


def test_the_zero_timestamp_has_no_text() -> None:
    with pytest.raises(NoText):
        temporals.timestamp_writer(2)(bytes(5))
    assert temporals.timestamp_writer(2)(bytes((0, 0, 0, 1, 50))) == "1970-01-01 00:00:01.5+00"


# ---- names of transactions


@given(
    st.lists(
        st.tuples(st.sampled_from([UUID, f"{UUID}:a", OTHER]), st.integers(1, 30), st.booleans())
    )
)
def test_a_set_of_names_has_what_was_added(added: list[tuple[str, int, bool]]) -> None:
    """Added one by one or as an interval that overlaps others; written and read in two ways."""
    found = GtidSet()
    expected: set[tuple[str, int]] = set()
    for source, first, is_interval in added:
        if is_interval:
            uuid, _, tag = source.partition(":")
            text = ":".join(filter(None, (uuid, tag, f"{first}-{first + 5}")))
            merged = GtidSet.parse(f"{found},{text}")
            assert merged.contains(found) and merged.contains(GtidSet.parse(text))
            found = merged
            expected |= {(source, one) for one in range(first, first + 6)}
        else:
            found.add(source, first)
            expected.add((source, first))

    for source in (UUID, f"{UUID}:a", OTHER):
        for one in range(1, 40):
            assert found.has(source, one) == ((source, one) in expected)
    assert str(GtidSet.parse(str(found))) == str(found)
    assert str(GtidSet.decode(found.encoded())) == str(found)
    for source, one in expected:
        alone = GtidSet()
        alone.add(source, one)
        assert found.contains(alone)
    further = GtidSet.parse(f"{found},{OTHER}:99")
    assert further.contains(found)
    assert not found.contains(further)


def test_a_server_s_own_set_is_read_in_both_of_its_forms() -> None:
    read = GtidSet.decode(bytes.fromhex(EXECUTED))
    assert str(read) == str(GtidSet.parse(EXECUTED_TEXT))
    assert read.encoded().hex() == EXECUTED
    assert read.has(f"{UUID}:tag_a", 9223372036854775800)
    assert not read.has(UUID, 1)


@pytest.mark.parametrize("text", ["x", f"{UUID}", f"{UUID}:0", f"{UUID}:5-3", f"{UUID}:1:?", "1-2"])
def test_texts_that_are_no_set(text: str) -> None:
    with pytest.raises(Damaged):
        GtidSet.parse(text)


@pytest.mark.parametrize("body", TAGGED)
def test_a_name_with_a_tag(body: str) -> None:
    found = events.tagged_gtid(bytes.fromhex(body))
    assert (found.source, found.number) == TAGGED[body]


def test_positions_of_domains() -> None:
    """A server of another number may go on with a domain; numbers rise all the same."""
    mine = DomainPositions.parse("0-7-9,2-1-4")
    assert str(mine) == "0-7-9,2-1-4"
    assert mine.reaches(DomainPositions.parse("0-8-9"))
    assert mine.reaches(DomainPositions.parse(""))
    assert not mine.reaches(DomainPositions.parse("0-7-10"))
    assert not mine.reaches(DomainPositions.parse("3-7-1"))
    mine.add("3-9", 1)
    assert mine.reaches(DomainPositions.parse("3-7-1"))
    with pytest.raises(Damaged):
        DomainPositions.parse("0-7")


# ---- events


@given(st.binary(max_size=50), st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_is_found(body: bytes, place: int, change: int) -> None:
    data = bytearray(event(30, body))
    assert events.event_of(bytes(data), True).body == body
    data[place % len(data)] ^= change
    with pytest.raises(Damaged):
        events.event_of(bytes(data), True)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_a_compressed_transaction_has_its_events(bodies: list[bytes]) -> None:
    inner = [event(30, body, checked=False) for body in bodies]
    data = b"".join(inner)
    size = len(data).to_bytes(3, "little")
    frame = zstandard.compress(data)
    fields = b"\x02\x01\x00" + b"\x03\x04\xfd" + size + b"\x01\x04\xfd"
    body = fields + len(frame).to_bytes(3, "little") + b"\x00" + frame
    assert list(inner_events(payload(body))) == inner
    for wrong_size in (len(data) - 1, len(data) + 1, len(data) + 100):
        wrong = body.replace(size, wrong_size.to_bytes(3, "little"), 1)
        with pytest.raises(Damaged):
            list(inner_events(payload(wrong)))
    with pytest.raises(Damaged):
        list(inner_events(payload(body[:-1])))


def test_a_compressed_transaction_is_unpacked_event_by_event() -> None:
    inner = event(30, bytes(1000), checked=False)
    count = 50_000
    packing = zstandard.ZstdCompressor().compressobj()
    pieces = [packing.compress(inner * 1000) for _ in range(count // 1000)]
    frame = b"".join([*pieces, packing.flush()])
    fields = b"\x02\x01\x00" + b"\x03\x09\xfe" + (len(inner) * count).to_bytes(8, "little")
    body = fields + b"\x00" + frame

    tracemalloc.start()
    found = sum(1 for _ in inner_events(payload(body)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == count
    assert most < 1_000_000


@given(st.binary(max_size=500))
def test_mariadb_s_compressed_rows(data: bytes) -> None:
    body = b"\x82" + len(data).to_bytes(2, "big") + zlib.compress(data)
    assert unpacked(body) == data
    longer = b"\x82" + (len(data) + 1).to_bytes(2, "big") + zlib.compress(data)
    with pytest.raises(Damaged):
        unpacked(longer)
    if data:
        shorter = b"\x82" + (len(data) - 1).to_bytes(2, "big") + zlib.compress(data)
        with pytest.raises(Damaged):
            unpacked(shorter)


def test_what_says_that_it_is_huge_is_refused_before_memory_is_asked_for() -> None:
    with pytest.raises(Damaged, match="larger than any packet"):
        unpacked(b"\x84\xff\xff\xff\xff" + zlib.compress(b"x"))
    head = bytes(9) + b"\xff" * 4 + bytes(6)
    body = b"\x02\x01\x00\x03\x09\xfe" + b"\xff" * 8 + b"\x00" + zstandard.compress(head)
    with pytest.raises(Damaged, match="a length that none has"):
        list(inner_events(payload(body)))


# As MariaDB 10.11 has written them, for a table (id int PRIMARY KEY, v varchar(9), e enum('a','b'))
DESCRIPTION = bytes.fromhex(
    "120000000000010004756e69740001740003030ffe042400f701060101000201"
    "2d0407026964017601650a012d06050201610162080100"
)
ROW = bytes.fromhex("12000000000001000307f801000000017802")


def test_a_description_and_a_row() -> None:
    table = table_map(DESCRIPTION)
    readers = [columns.column_reader(one, {45: "utf8mb4"}) for one in table.columns]
    assert (table.schema, table.name, table.key) == ("unit", "t", ("id",))
    head = rows.head_of(23, ROW)
    assert head.table_id == table.id
    assert rows.rows_of(head, ROW, readers) == [(None, ("1", "x", "b"))]
    skipped: list[columns.ColumnReader | int] = [readers[0]]
    skipped += [rows.skipping(*columns.extent(one)) for one in table.columns[1:]]
    assert rows.rows_of(head, ROW, skipped) == [(None, ("1",))]


@settings(max_examples=400)
@given(st.integers(0, 100), st.integers(0, 255), st.integers(0, 100))
def test_damage_in_a_description_is_named(place: int, byte: int, cut: int) -> None:
    """No byte makes an error that nobody has foreseen."""
    data = bytearray(DESCRIPTION[: len(DESCRIPTION) - cut % len(DESCRIPTION)])
    data[place % len(data)] = byte
    try:
        table = table_map(bytes(data))
        for column in table.columns:
            columns.column_reader(column, {45: "utf8mb4"})
    except (Damaged, NotFull, columns.Unsupported, NoText):
        pass


@given(
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(lambda data: ROW[:9] + data),
        st.binary(max_size=60).map(lambda data: ROW[:10] + data),
    ),
    st.sampled_from([23, 24, 25, 30, 31, 32, 166, 171]),
)
def test_damage_in_rows_is_named(data: bytes, kind: int) -> None:
    table = table_map(DESCRIPTION)
    readers = [columns.column_reader(one, {45: "utf8mb4"}) for one in table.columns]
    try:
        head = rows.head_of(kind, data)
        for before, after in rows.rows_of(head, data, readers):
            assert len(before or after or ()) == len(readers)
    except (Damaged, rows.Partial, rows.Unreadable):
        pass


@given(st.binary(max_size=80))
def test_damage_in_a_document_is_named(data: bytes) -> None:
    with suppress(Damaged, NoText):
        json_text(data)


@pytest.mark.parametrize(("precision", "scale"), [(0, 0), (66, 0), (255, 255), (3, 4)])
def test_digits_that_no_decimal_has_are_named(precision: int, scale: int) -> None:
    with pytest.raises(Damaged):
        decimal_writer(precision, scale)
    document = bytes((0x0F, 246, 10, precision, scale)) + bytes(8)
    with pytest.raises(Damaged):
        json_text(document)


def test_a_group_of_more_digits_than_it_has_is_no_number() -> None:
    with pytest.raises(NoText):
        decimal_writer(9, 0)((0x80000000 | 10**9).to_bytes(4, "big"))


# ---- packets


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_packets_come_whole_however_they_are_cut(sent: list[bytes], step: int) -> None:
    stream = b"".join(len(one).to_bytes(3, "little") + b"\0" + one for one in sent)
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        packets = Packets(ours, stream[:step])
        found = list(packets.arrived(0.0))
        for start in range(step, len(stream), step):
            theirs.sendall(stream[start : start + step])
            found += packets.arrived(1.0 if start + step >= len(stream) else 0.0)
        assert found == sent
        theirs.close()
        with pytest.raises(LineClosed):
            list(packets.arrived(1.0))


def test_a_number_past_the_end() -> None:
    with pytest.raises(Damaged):
        number(b"ab", 1, 2)
