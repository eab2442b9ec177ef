"""Which partitions a table has, as far as the stream can be trusted to know them.

Before 15 a session of pgoutput decides once per table whether, and as what, its rows are published.
It does not decide again when the table is attached to or detached from a partitioned one (seen on
14.19; later servers do). Only a stream that begins after the change knows it.

So the partitions are told together with the position at which they were first seen until everything
before it is acknowledged, and alone afterwards. Both times they move, and source and front end are
opened again; only the second time the table is copied, over a stream that begins after the change.
"""

from agent.connectors.base import Fingerprint
from agent.connectors.position import position_number, position_text
from agent.connectors.postgres.fingerprints import LEAVES

FOLLOWS_SINCE = 150_000  # server versions whose stream follows
_BEFORE = " before "  # between partitions and the position at which they were first seen


class Partitions:
    """What was told of each table's partitions, from one opening of the source to the next."""

    def __init__(self, told: dict[tuple[str, str], str]) -> None:
        """`told` is what is stored of each table, by schema and name."""
        self._told = told

    def mark(
        self, table: tuple[str, str], now: Fingerprint, written: int, acknowledged: int
    ) -> Fingerprint:
        """Returns a table's fingerprint with its partitions marked while the stream may not know.

        `written` and `acknowledged` are positions of the log now.
        """
        leaves = now.copy[LEAVES]
        known, _, position = self._told.get(table, _BEFORE).partition(_BEFORE)
        if known != leaves:
            position = position_text(written)
        elif position and acknowledged >= position_number(position):
            position = ""

        told = leaves + _BEFORE + position if position else leaves
        self._told[table] = told
        return now._replace(copy={**now.copy, LEAVES: told}, unsettled=position != "")
