"""Which partitions a table has, as far as the stream can be trusted to know them: servers before 15 remember those of old.

Before 15 a session of pgoutput decides once per table whether, and as what, its rows are published, and does not decide again when the table
is attached to or detached from a partitioned one (seen on 14.19; later servers do). Only a stream that begins after the change knows it. So the
partitions are told together with the position at which they were first seen until everything before it is acknowledged, and alone afterwards:
both times they move, source and front end are opened anew, and only the second time the table is copied, over a stream that begins after the change.
"""

from agent.connectors.base import BEFORE
from agent.connectors.position import position_number, position_text

FOLLOWS_SINCE = 150_000  # server versions whose stream follows


class Partitions:
    """What was told of each table's partitions, from one opening of the source to the next. `told`: what is stored."""

    def __init__(self, told: dict[tuple[str, str], str]) -> None:
        self._told = told

    def tell(self, table: tuple[str, str], leaves: str, written: int, acknowledged: int) -> str:
        """The part `leaves` of a table's fingerprint; `written` and `acknowledged` are positions of the log now."""
        known, _, mark = self._told.get(table, BEFORE).partition(BEFORE)
        if known != leaves:
            mark = position_text(written)
        elif not mark or acknowledged >= position_number(mark):
            mark = ""
        self._told[table] = leaves + BEFORE + mark if mark else leaves
        return self._told[table]
