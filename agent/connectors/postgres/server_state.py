"""What the agent asks of the server itself, and its one writing: who it is, slot, log, snapshot."""

import logging
import time
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.pq import ExecStatus
from psycopg.rows import namedtuple_row

from agent.connectors.position import position_number
from agent.connectors.postgres.history import Server, branch
from agent.connectors.postgres.snapshot import Snapshot, snapshot_of

log = logging.getLogger(__name__)

_READS = "select from pg_catalog.pg_replication_slots where slot_name = %s and active_pid = %s"
_END_READER = f"select pg_terminate_backend(active_pid) {_READS.removeprefix('select ')}"
_END_SECONDS, _END_LOOK = 5.0, 0.1  # seconds for its end, and between two looks

_SLOT = """
    select confirmed_flush_lsn::text as confirmed, active_pid,
           coalesce(wal_status, '') as wal_status,
           coalesce(to_jsonb(s) ->> 'invalidation_reason', '') as conflict,
           (select host(a.client_addr) from pg_catalog.pg_stat_activity a
            where a.pid = s.active_pid) as reader,
           database <> current_database() as elsewhere, database
    from pg_catalog.pg_replication_slots s where slot_name = %s"""


def server(
    replication: psycopg.Connection[Any], connection: psycopg.Connection[Any], slot: str
) -> Server:
    """Asks what checks A and B need to know, on a replication connection and an ordinary one."""
    system = replication.pgconn.exec_(b"IDENTIFY_SYSTEM")
    if system.status != ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError("IDENTIFY_SYSTEM was not answered")
    system_id, timeline, flushed = ((system.get_value(0, i) or b"").decode() for i in range(3))

    with connection.cursor(row_factory=namedtuple_row) as cursor:
        recovery: Any = cursor.execute("select pg_is_in_recovery() as yes").fetchone()
        found: Any = cursor.execute(_SLOT, (slot,)).fetchone()

    bare = Server(
        system_id=system_id,
        timeline=int(timeline),
        flushed=position_number(flushed),
        in_recovery=recovery.yes,
        slot_exists=False,
        confirmed=0,
        active_pid=None,
        wal_status="",
        conflict="",
    )
    if found is None:
        return bare
    if found.elsewhere is not False:  # NULL of a physical slot
        return bare._replace(elsewhere=found.database or "?")
    return bare._replace(
        slot_exists=True,
        confirmed=position_number(found.confirmed) if found.confirmed else 0,
        active_pid=found.active_pid,
        wal_status=found.wal_status,
        conflict=found.conflict,
        reader=found.reader or "",
    )


def end_reader(connection: psycopg.Connection[Any], slot: str, pid: str) -> None:
    """Ends the process of the server that reads a slot, if it is this one; waits for its end.

    A role may end its own sessions. Where the slot stays in use, the checks say so.
    """
    if not pid:
        return
    with suppress(psycopg.errors.InsufficientPrivilege):
        ended = connection.execute(_END_READER, (slot, int(pid))).rowcount
        if ended:
            log.warning("reader_ended slot=%s pid=%s", slot, pid)
        deadline = time.monotonic() + _END_SECONDS
        while ended and time.monotonic() < deadline:
            if not connection.execute(_READS, (slot, int(pid))).fetchall():
                return
            time.sleep(_END_LOOK)


def branched_at(replication: psycopg.Connection[Any], server: Server, timeline: int) -> int | None:
    """Asks where the server's history left an older timeline: up to there both are the same.

    None where that one is not part of it, or its history file is gone.
    """
    told = replication.pgconn.exec_(f"TIMELINE_HISTORY {server.timeline}".encode())
    if told.status != ExecStatus.TUPLES_OK:
        return None
    return branch((told.get_value(0, 1) or b"").decode(errors="replace"), timeline)


def new_xid(connection: psycopg.Connection[Any]) -> int:
    """Asks for the xid of a transaction that begins now."""
    return int(_value(connection, "select pg_current_xact_id()::text"))


def written_bytes_past(connection: psycopg.Connection[Any], position: str) -> int:
    """Asks for the bytes of log written past a position."""
    query = "select pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)::int8"
    return int(_value(connection, query, position))


def bytes_and_snapshot(
    connection: psycopg.Connection[Any],
    position: str,
) -> tuple[int, Snapshot]:
    """Asks for the bytes of log written past a position, and what a new snapshot sees.

    One question for both: it is asked again and again.
    """
    query = (
        "select pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)::int8,"
        " pg_current_snapshot()::text"
    )
    row = connection.execute(query, (position,)).fetchone()
    assert row is not None, "a query without FROM has one row"
    written, snapshot = row
    return int(written), snapshot_of(str(snapshot))


def sender_timeout(connection: psycopg.Connection[Any]) -> float:
    """Asks for wal_sender_timeout in seconds; an hour stands for none."""
    query = "select setting::float8 / 1000 from pg_settings where name = 'wal_sender_timeout'"
    row = connection.execute(query).fetchone()
    return float(row[0]) if row is not None and row[0] else 3600.0


def heartbeat(connection: psycopg.Connection[Any], prefix: str, content: str) -> None:
    """Writes a sign of life into the log.

    It is not transactional, so it touches nothing and waits for nobody.
    """
    connection.execute("select pg_logical_emit_message(false, %s, %s::text)", (prefix, content))


def _value(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    """Returns the one value of a query that always has one row."""
    row = connection.execute(query.encode(), parameters or None).fetchone()
    assert row is not None, "a query without FROM has one row"
    return row[0]
