"""The log that the server keeps for the agent's slot."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg

from agent.service import metrics

# A standby writes no log of its own: its end is what has been replayed
_QUERY = """
    select coalesce(wal_status, '') as status,
           coalesce(pg_wal_lsn_diff(wal.last, restart_lsn), 0)::int8 as bytes,
           coalesce(safe_wal_size::float8, 'infinity') as safe,
           coalesce(pg_wal_lsn_diff(wal.last, confirmed_flush_lsn), 0)::int8 as unread,
           pg_size_bytes(current_setting('max_slot_wal_keep_size')) as most, active
    from pg_catalog.pg_replication_slots,
         (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                      else pg_current_wal_lsn() end as last) wal
    where slot_name = %s"""


class KeptLog(NamedTuple):
    """What a slot keeps until the agent has read it."""

    status: str  # wal_status: reserved, extended, unreserved or lost; or given_up
    bytes: int
    safe_bytes: float  # how many more may be written before it is given up; infinity: no limit
    unread_bytes: int  # of them past what the agent has confirmed
    most_bytes: int  # max_slot_wal_keep_size; negative: no limit
    active: bool  # somebody reads the slot

    def gauges(self) -> Mapping[str, float]:
        """Returns the metrics of it."""
        found: dict[str, float] = {
            metrics.LOG_RETAINED: self.bytes,
            metrics.LOG_SAFE: self.safe_bytes,
        }
        for status in metrics.LOG_STATUSES:
            found[f"{metrics.LOG_STATUS}/{status}"] = status == self.status
        return found

    def warned_of(self, configured: int | None) -> int | None:
        """Returns the bytes above which somebody should know of it; None: however many.

        Without a `configured` bound that is half of what the server lets a slot keep.
        """
        if configured is None and self.most_bytes > 0:
            return self.most_bytes // 2
        return configured

    def large(self, configured: int | None) -> bool:
        """Tells whether more is kept than that."""
        bound = self.warned_of(configured)
        return bound is not None and self.bytes > bound

    def too_large(self, most: int | None) -> bool:
        """Tells whether more is kept than `most`, for the agent has not read it; None: never.

        What a long transaction of the application holds back is not the agent's: at least half must
        be log that the agent has not read.
        """
        return most is not None and self.bytes > most and 2 * self.unread_bytes >= self.bytes


NOTHING = KeptLog("", 0, math.inf, 0, -1, active=False)
GIVEN_UP = NOTHING._replace(status="given_up")  # the agent itself has dropped the slot


def kept_log(connection: psycopg.Connection[Any], slot: str) -> KeptLog | None:
    """Asks for the log that a slot keeps; None where there is no such slot."""
    row = connection.execute(_QUERY, (slot,)).fetchone()
    return None if row is None else KeptLog(*row)
