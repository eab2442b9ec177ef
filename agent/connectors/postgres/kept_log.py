"""The log that the server keeps for the agent's slot."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg

from agent.service import metrics


class KeptLog(NamedTuple):
    """What a slot keeps until the agent has read it."""

    status: str  # wal_status: reserved, extended, unreserved or lost
    bytes: int
    safe_bytes: float  # how many more may be written before it is given up; infinity: no limit

    def gauges(self) -> Mapping[str, float]:
        """Returns the metrics of it."""
        found: dict[str, float] = {
            metrics.LOG_RETAINED: self.bytes,
            metrics.LOG_SAFE: self.safe_bytes,
        }
        for status in metrics.LOG_STATUSES:
            found[f"{metrics.LOG_STATUS}/{status}"] = status == self.status
        return found


def kept_log(connection: psycopg.Connection[Any], slot: str) -> KeptLog:
    """Asks for the log that a slot keeps."""
    query = (
        "select coalesce(wal_status, ''),"
        " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8,"
        " coalesce(safe_wal_size::float8, 'infinity')"
        " from pg_replication_slots where slot_name = %s"
    )
    row = connection.execute(query, (slot,)).fetchone()
    status, retained, safe = row or ("", 0, math.inf)
    return KeptLog(str(status), int(retained), float(safe))
