"""Partitions are told twice on servers whose stream does not follow them.

That is, when they change, and when the stream can begin behind the change.
"""

from agent.connectors.base import Fingerprint
from agent.connectors.postgres.partitions import Partitions

NAME = "public", "parts"


def marked(partitions: Partitions, leaves: str, written: int, acknowledged: int) -> str:
    """What the fingerprint says of the partitions; it is unsettled while they are marked."""
    found = partitions.mark(NAME, Fingerprint({"leaves": leaves}), written, acknowledged)
    assert found.unsettled == (" before " in found.copy["leaves"])
    return found.copy["leaves"]


def test_a_change_is_told_with_its_position_until_that_is_acknowledged() -> None:
    """Also over a new opening in between, and again for each change."""
    told = Partitions({NAME: "1"})
    assert marked(told, "1", 100, 50) == "1"
    first = marked(told, "1,2", 100, 50)
    assert first == "1,2 before 0/64"
    assert marked(told, "1,2", 200, 99) == first
    assert marked(Partitions({NAME: first}), "1,2", 300, 99) == first
    assert marked(Partitions({NAME: first}), "1,2", 300, 100) == "1,2"
    assert marked(told, "1,2,3", 256, 100) == "1,2,3 before 0/100"
    assert marked(told, "", 512, 300) == " before 0/200"
    assert marked(told, "", 513, 512) == ""


def test_of_a_table_never_seen_the_first_partitions_count_as_a_change() -> None:
    """A table that has none is left alone."""
    assert marked(Partitions({}), "1", 16, 0) == "1 before 0/10"
    assert marked(Partitions({}), "", 16, 0) == ""
