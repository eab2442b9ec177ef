"""Recorded binary logs with damage in them: each ends in rows, or in an error that has a name.

`logs` has a small log of MariaDB 10.11 and one of MySQL 9.7, as their servers have written them.
"""

import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.connectors.changes import Change, Column, Relation
from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.packing import Damaged
from agent.connectors.mysql.transactions import Broken, Incomplete, NoValue, Transactions
from agent.values.column_types import TEXT

LOGS = Path(__file__).parent / "logs"
KINDS = ("mariadb", "mysql9")
NAMED = (Damaged, Broken, Incomplete, NoValue)
NAMES = ("id", "n", "f", "d", "t", "y", "s", "e", "j", "b", "bi", "u")
RELATION = Relation(
    7, "unit", "t", "d", tuple(Column(name, TEXT, -1, name == "id") for name in NAMES)
)
CHARSETS = {45: "utf8mb4", 46: "utf8mb4", 255: "utf8mb4", 63: "binary"}
MAGIC = 4  # bytes before the first event


def events_of(kind: str) -> list[bytes]:
    """Returns the events of a log, each with its checksum."""
    data = (LOGS / f"{kind}.log").read_bytes()
    found = []
    start = MAGIC
    while start < len(data):
        size = int.from_bytes(data[start + 9 : start + 13], "little")
        found.append(data[start : start + size])
        start += size
    return found


def read(kind: str, events: list[bytes]) -> list[Change]:
    """Reads events to their end; returns the rows of the shared table."""
    gtids = DomainPositions() if kind == "mariadb" else GtidSet()
    stream = Transactions({("unit", "t"): RELATION}, CHARSETS, LogPlace(gtids), 0, checked=True)
    found = []
    for raw in events:
        found += [message for message in stream.read(raw) if isinstance(message, Change)]
    return found


def summed(raw: bytes) -> bytes:
    """Returns an event with its right checksum."""
    return raw[:-4] + zlib.crc32(raw[:-4]).to_bytes(4, "little")


@pytest.mark.parametrize("kind", KINDS)
def test_the_logs_have_rows(kind: str) -> None:
    assert [change.op for change in read(kind, events_of(kind))] == ["I", "I", "U", "U", "D", "I"]


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_damage_ends_in_rows_or_in_a_named_error(kind: str, data: st.DataObject) -> None:
    """Bits turned, events cut, swapped, left out and doubled; their checksums right or wrong."""
    events = events_of(kind)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(events) - 1))
        match data.draw(st.sampled_from(["bit", "byte", "cut", "swap", "drop", "double"])):
            case "bit" | "byte" as what:
                changed = bytearray(events[place])
                at = data.draw(st.integers(0, len(changed) - 1))
                bits = st.integers(0, 7).map(lambda bit: 1 << bit)
                changed[at] ^= data.draw(bits if what == "bit" else st.integers(1, 255))
                events[place] = bytes(changed)
            case "cut":
                events[place] = events[place][: data.draw(st.integers(0, len(events[place])))]
            case "swap":
                other = data.draw(st.integers(0, len(events) - 1))
                events[place], events[other] = events[other], events[place]
            case "drop":
                del events[place]
            case "double":
                events.insert(place, events[place])
    if data.draw(st.booleans()):
        events = [summed(raw) if raw else raw for raw in events]
    with suppress(*NAMED):
        read(kind, events)


def test_a_wrong_checksum_is_damage() -> None:
    for kind in KINDS:
        for place, raw in enumerate(events_of(kind)):
            events = events_of(kind)
            events[place] = raw[:-1] + bytes((raw[-1] ^ 1,))
            with pytest.raises(Damaged):
                read(kind, events)
