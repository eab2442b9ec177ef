"""Makes the replication slot for `init --apply`, within a time, with the snapshot that shows what was there before it."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from agent.config import SourceSettings
from agent.connectors.postgres.session import address, connect, guarded
from agent.errors import SourceUnreachable

_CREATE = "CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput EXPORT_SNAPSHOT"
_DROP = "DROP_REPLICATION_SLOT {slot}"
_SNAPSHOT = "set transaction snapshot {snapshot}"
_EMPTY = "select exists (select 1 from {table})"
# Transactions with an xid: slot creation waits for each that runs when it starts, prepared ones included.
_WAITED_FOR = """
    select a.pid::text as who, a.application_name, a.xact_start, a.state, age(a.backend_xid) as age
    from pg_catalog.pg_stat_activity a where a.backend_xid is not null and a.pid <> pg_backend_pid()
    union all
    select p.gid, '(prepared)', p.prepared, 'prepared', age(p.transaction) from pg_catalog.pg_prepared_xacts p
    order by age desc limit 10"""
_FILENODES = """
    select coalesce(array_agg(x order by x), '{}') from (
        select pg_catalog.pg_relation_filenode(c.oid)::int8 from pg_catalog.pg_class c where c.oid = any(%s)
        union all
        select pg_catalog.pg_relation_filenode(t.relid)::int8 from unnest(%s::oid[]) o(oid), pg_catalog.pg_partition_tree(o.oid::regclass) t
    ) f(x)"""
_TICK = 0.25
_CANCEL_SECONDS = 10.0  # for the server to answer a cancel


class Made(NamedTuple):
    """A slot just made. Its snapshot lives as long as the connection does nothing else."""

    position: str  # consistent point: the stream begins with the first commit after it
    snapshot: str


class WaitedFor(NamedTuple):
    """A transaction that slot creation waits for. Times and names only."""

    who: str  # process id, or the name of a prepared transaction
    application: str
    since: str
    state: str


class SlotTimeout(Exception):
    """The slot was not made in time, and is not there; `waits` names the transactions it waited for."""

    def __init__(self, waits: list[WaitedFor]) -> None:
        self.waits = waits
        super().__init__()


class SlotRefused(Exception):
    """The server refuses to make the slot; only its SQLSTATE is kept."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate
        super().__init__(sqlstate)


def create(replication: psycopg.Connection[Any], side: psycopg.Connection[Any], settings: SourceSettings, slot: str, timeout: float) -> Made:
    """Makes the slot and exports its snapshot. Raises SlotTimeout, SlotRefused, SourceUnreachable; then there is no slot.

    `replication` must do nothing else until the snapshot has been used.
    """
    pgconn = replication.pgconn
    waits: list[WaitedFor] | None = None
    with guarded(settings):
        pgconn.send_query(sql.SQL(_CREATE).format(slot=sql.Identifier(slot)).as_bytes(replication))
        try:
            if not _wait(pgconn, timeout):
                waits = waited_for(side)
                _cancel(replication)
        except BaseException:  # an interrupt by the user too: nothing must be left
            _cancel(replication)
            if _result(pgconn).status == ExecStatus.TUPLES_OK:
                drop(replication, settings, slot)
            raise
        result = _result(pgconn)
    if result.status == ExecStatus.TUPLES_OK:  # it may have come in the moment of the cancel
        return Made((result.get_value(0, 1) or b"").decode(), (result.get_value(0, 2) or b"").decode())
    if waits is not None:
        raise SlotTimeout(waits)
    raise SlotRefused((result.error_field(DiagnosticField.SQLSTATE) or b"").decode())


def _result(pgconn: PGconn) -> PGresult:
    """The answer to the one command sent."""
    result = pgconn.get_result()
    if result is None:
        raise psycopg.OperationalError("CREATE_REPLICATION_SLOT: no answer")
    while pgconn.get_result() is not None:
        pass
    return result


def _wait(pgconn: PGconn, timeout: float) -> bool:
    """Whether the answer came in time."""
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    while pgconn.is_busy():
        if time.monotonic() >= deadline:
            return False
        if poll.poll(int(_TICK * 1000)):
            pgconn.consume_input()
    return True


def _cancel(replication: psycopg.Connection[Any]) -> None:
    """Asks the server to stop; one that does not answer is left, and the slot with it is not made: it is ephemeral until it is complete."""
    with suppress(psycopg.Error):
        replication.cancel_safe(timeout=_CANCEL_SECONDS)
    if not _wait(replication.pgconn, _CANCEL_SECONDS):
        replication.close()
        raise psycopg.OperationalError("CREATE_REPLICATION_SLOT: no answer to a cancel")


def drop(replication: psycopg.Connection[Any], settings: SourceSettings, slot: str) -> None:
    """Drops a slot that was made by this very command."""
    with guarded(settings):
        result = replication.pgconn.exec_(sql.SQL(_DROP).format(slot=sql.Identifier(slot)).as_bytes(replication))
    if result.status != ExecStatus.COMMAND_OK:
        raise SourceUnreachable(
            address=address(settings), reason=f"DROP_REPLICATION_SLOT: SQLSTATE {(result.error_field(DiagnosticField.SQLSTATE) or b'').decode()}"
        )


def waited_for(connection: psycopg.Connection[Any]) -> list[WaitedFor]:
    """The running transactions that hold an xid. Those of other roles show their process id only, without pg_monitor."""
    rows = connection.execute(_WAITED_FOR).fetchall()
    return [
        WaitedFor(who, application or "?", since.isoformat(timespec="seconds") if since else "?", state or "?") for who, application, since, state, _ in rows
    ]


def filenodes(connection: psycopg.Connection[Any], oids: list[int]) -> list[int]:
    """Where the tables and all their partitions are stored now: a rewrite changes it and makes an older snapshot read nothing."""
    row = connection.execute(_FILENODES, (oids, oids)).fetchone()
    return list(row[0]) if row else []


@contextmanager
def in_snapshot(settings: SourceSettings, snapshot: str) -> Iterator[psycopg.Connection[Any]]:
    """A read-only connection that sees the database as it was when the slot was made."""
    with connect(settings) as connection, guarded(settings):
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.autocommit = False
        connection.execute(sql.SQL(_SNAPSHOT).format(snapshot=sql.Literal(snapshot)))
        yield connection


def has_rows(connection: psycopg.Connection[Any], schema: str, table: str) -> bool:
    """Whether a table holds any row."""
    row = connection.execute(sql.SQL(_EMPTY).format(table=sql.Identifier(schema, table))).fetchone()
    return bool(row and row[0])
