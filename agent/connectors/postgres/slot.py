"""Makes the replication slot for `init --apply`, within a time."""

import select
import time
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from agent.config import PostgresSettings
from agent.connectors.postgres.session import address, guarded
from agent.errors import SourceUnreachable

_CREATE = "CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput NOEXPORT_SNAPSHOT"
_DROP = "DROP_REPLICATION_SLOT {slot}"
# Transactions with an xid: slot creation waits for each that runs when it starts, prepared ones
# included.
_WAITED_FOR = """
    select a.pid::text as who, a.application_name, a.xact_start, a.state, age(a.backend_xid) as age
    from pg_catalog.pg_stat_activity a where a.backend_xid is not null and a.pid <> pg_backend_pid()
    union all
    select p.gid, '(prepared)', p.prepared, 'prepared', age(p.transaction)
    from pg_catalog.pg_prepared_xacts p
    order by age desc limit 10"""
_WAITED_FOR_UP_TO = f"""
    select * from ({_WAITED_FOR}) w
    where age >= pg_snapshot_xmax(pg_current_snapshot())::text::int8 - %s"""
_TICK = 0.25
_CANCEL_SECONDS = 10.0  # for the server to answer a cancel
_CANCEL_AGAIN = 1.0  # until it is asked again


class WaitedFor(NamedTuple):
    """A transaction that slot creation waits for. Times and names only."""

    who: str  # process id, or the name of a prepared transaction
    application: str
    since: str
    state: str


class SlotTimeout(Exception):
    """The slot was not made in time, and is not there.

    `waits` names the transactions it waited for.
    """

    def __init__(self, waits: list[WaitedFor]) -> None:
        self.waits = waits
        super().__init__()


class SlotRefused(Exception):
    """The server refuses to make the slot; only its SQLSTATE is kept."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate
        super().__init__(sqlstate)


def create(
    replication: psycopg.Connection[Any],
    side: psycopg.Connection[Any],
    settings: PostgresSettings,
    slot: str,
    timeout: float,
) -> str:
    """Makes the slot, and returns its consistent point.

    The stream begins with the first commit after it. Raises SlotTimeout, SlotRefused,
    SourceUnreachable; then there is no slot.
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
        return (result.get_value(0, 1) or b"").decode()
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
    """Asks the server to stop making the slot.

    It is asked again and again: a cancel that comes before the server has read its command cancels
    nothing. A server that does not answer is left, and the slot with it is not made: it is
    ephemeral until it is complete.
    """
    deadline = time.monotonic() + _CANCEL_SECONDS
    while time.monotonic() < deadline:
        with suppress(psycopg.Error):
            replication.cancel_safe(timeout=_CANCEL_SECONDS)
        if _wait(replication.pgconn, _CANCEL_AGAIN):
            return
    replication.close()
    raise psycopg.OperationalError("CREATE_REPLICATION_SLOT: no answer to a cancel")


def drop(replication: psycopg.Connection[Any], settings: PostgresSettings, slot: str) -> None:
    """Drops a slot that was made by this very command."""
    with guarded(settings):
        result = replication.pgconn.exec_(
            sql.SQL(_DROP).format(slot=sql.Identifier(slot)).as_bytes(replication)
        )
    if result.status != ExecStatus.COMMAND_OK:
        sqlstate = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
        raise SourceUnreachable(
            address=address(settings), reason=f"DROP_REPLICATION_SLOT: SQLSTATE {sqlstate}"
        )


def waited_for(connection: psycopg.Connection[Any], barrier: int | None = None) -> list[WaitedFor]:
    """Names the running transactions that hold an xid (up to `barrier`).

    Those of other roles show their process id only, without pg_monitor.
    """
    if barrier is None:
        rows = connection.execute(_WAITED_FOR).fetchall()
    else:
        rows = connection.execute(_WAITED_FOR_UP_TO.encode(), (barrier,)).fetchall()

    waits = []
    for who, application, since, state, _ in rows:
        begun = since.isoformat(timespec="seconds") if since else "?"
        waits.append(WaitedFor(who, application or "?", begun, state or "?"))
    return waits
