"""Recorded binary logs with damage in them: each ends in rows, or in an error that has a name."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.connectors.mysql.packing import Damaged
from tests.unit.recorded_logs import KINDS, NAMED, SUM, Kind, events_of, read, summed


@pytest.mark.parametrize("kind", KINDS)
def test_the_logs_have_rows(kind: Kind) -> None:
    assert [change.op for change in read(kind, events_of(kind))] == ["I", "I", "U", "U", "D", "I"]


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_damage_ends_in_rows_or_in_a_named_error(kind: Kind, data: st.DataObject) -> None:
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
                events[place] = events[place][: data.draw(st.integers(1, len(events[place])))]
            case "swap":
                other = data.draw(st.integers(0, len(events) - 1))
                events[place], events[other] = events[other], events[place]
            case "drop":
                del events[place]
            case "double":
                events.insert(place, events[place])
    if data.draw(st.booleans()):
        events = [summed(raw[:-SUM]) for raw in events]
    with suppress(*NAMED):
        read(kind, [*events, b""])


def test_a_wrong_checksum_is_damage() -> None:
    for kind in KINDS:
        for place, raw in enumerate(events_of(kind)):
            events = events_of(kind)
            events[place] = raw[:-1] + bytes((raw[-1] ^ 1,))
            with pytest.raises(Damaged):
                read(kind, events)
