"""Runs many writers on hot keys.

A journal holds what each of their transactions was meant to do and how it ended.
"""

import threading
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from tests.checker.journal import Intent, Journal, Outcome, read_journal
from tests.checker.plan import ENABLED, Plan, Planner, relation
from tests.checker.transfers import book, legs
from tests.checker.unit import LEDGER, TABLES, UnitTable

SIGN = 'INSERT INTO {} ("txn_no", "op_count", "digest") VALUES (%s, %s, %s)'
# Writers meet on purpose: who waits too long for another gives up, which is as good an end as any.
SESSION = "-c lock_timeout=2s -c deadlock_timeout=100ms"
BETWEEN_CONNECTS = 0.2  # seconds
STOPPED_WITHIN = 30.0


class Workload:
    """Writers as threads, each with a session of its own; they outlive every loss of the source.

    A transaction ends "ok" (COMMIT was answered), "failed" (rolled back on purpose or by the
    source, before COMMIT was sent) or "unknown" (COMMIT was sent and what became of it not seen).
    Deadlocks, lock timeouts and taken keys are failures, all other errors of the source are errors
    of the generator: `stop` raises them.

    Numbers go on after those of the journal and the ledger. The source must have LEDGER, ACCOUNTS
    and `tables`; `source` is a superuser's conninfo.
    """

    planner: type[Planner] = Planner  # draws what a writer does
    breath = 0.0  # seconds that a writer rests after a transaction

    def __init__(
        self,
        source: str,
        seed: int,
        journal: Path,
        writers: int = 8,
        tables: Sequence[UnitTable] = TABLES,
        kinds: Collection[str] = ENABLED,
        big: int = 2_000,  # rows of a big transaction
        open_seconds: float = 1.0,  # of a long one
    ) -> None:
        self._source = source
        self._path = journal
        self._planners = [
            self.planner(seed, writer, tables, kinds, big) for writer in range(writers)
        ]
        self._open_seconds = open_seconds
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._work, args=(writer,), name=f"writer {writer}", daemon=True
            )
            for writer in range(writers)
        ]
        self._lock = threading.Lock()
        self._errors: list[Exception] = []
        self._journal: Journal | None = None
        self._first = 1
        self.outcomes: Counter[Outcome] = Counter()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def transactions(self) -> int:
        """How many have ended, in whatever way."""
        return self.outcomes.total()

    def start(self) -> None:
        """Writes from now on."""
        self._journal = Journal(self._path)
        self._first = 1 + max([self._signed(), *read_journal(self._path)])
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends after the transactions begun.

        Raises what no workload should meet, and TimeoutError when a writer hangs in a source that
        does not answer.
        """
        self._ended.set()
        for thread in self._threads:
            thread.join(STOPPED_WITHIN)
        hanging = [thread.name for thread in self._threads if thread.is_alive()]
        if hanging:
            raise TimeoutError(f"{', '.join(hanging)} did not end")
        if self._journal is not None:
            self._journal.close()
        if self._errors:
            raise self._errors[0]

    def _signed(self) -> int:
        """Returns the last number of the source's ledger."""
        with psycopg.connect(self._source) as connection:
            row = connection.execute(
                f'SELECT max("txn_no") FROM {relation(LEDGER).as_string()}'.encode()
            ).fetchone()
        return row[0] if row and row[0] is not None else 0

    def _work(self, writer: int) -> None:
        connection: Any = None  # of the source's driver
        txn = self._first + writer
        try:
            while not self._ended.is_set():
                if connection is None or connection.closed:
                    connection = self._connect(writer)
                    continue
                self._transaction(connection, writer, txn)
                txn += len(self._planners)
                self._ended.wait(self.breath)
        except Exception as error:  # noqa: BLE001 - `stop` raises it
            self._errors.append(error)
            self._ended.set()
        finally:
            if connection is None or connection.closed:
                connection = self._connect(writer)
            if connection is not None:
                connection.close()

    def _connect(self, writer: int) -> Any:
        """Returns a session, once what the writer's last one has left prepared is committed.

        The end of that transaction is unknown, but it must not hold locks for ever.
        """
        try:
            connection = psycopg.connect(self._source, options=SESSION, connect_timeout=5)
            for xid in connection.tpc_recover():
                if (
                    xid.gtrid.startswith(_prepared(self._path, writer, ""))
                    and xid.database == connection.info.dbname
                ):
                    connection.tpc_commit(xid)
            return connection
        except psycopg.OperationalError:
            self._ended.wait(BETWEEN_CONNECTS)
            return None

    def _transaction(self, connection: Any, writer: int, txn: int) -> None:
        """Runs one transaction with its two lines in the journal."""
        assert self._journal is not None
        plan = self._planners[writer].plan()
        intent = Intent(txn, writer, plan.ops, plan.digest)
        self._journal.intent(intent)
        outcome = self._perform(connection, plan, intent)
        self._journal.outcome(txn, outcome)
        with self._lock:
            self.outcomes[outcome] += 1

    def _perform(self, connection: Any, plan: Plan, intent: Intent) -> Outcome:
        committing = False
        try:
            if plan.kind == "prepared":
                connection.tpc_begin(_prepared(self._path, intent.writer, str(intent.txn)))
            debit, credit = legs(intent.txn)
            for statement, values in (book(debit), *plan.statements, book(credit)):
                connection.execute(statement, values)
            connection.execute(
                SIGN.format(relation(LEDGER).as_string()).encode(),
                [intent.txn, intent.ops, intent.digest],
            )
            if plan.kind == "long":
                self._ended.wait(self._open_seconds)
            if plan.kind == "rollback":
                connection.rollback()
                return "failed"
            committing = True
            if plan.kind == "prepared":
                connection.tpc_prepare()
                connection.tpc_commit()
            else:
                connection.commit()
        except (psycopg.OperationalError, psycopg.errors.UniqueViolation):
            with suppress(psycopg.Error):
                (connection.tpc_rollback if plan.kind == "prepared" else connection.rollback)()
            return "unknown" if committing else "failed"
        return "ok"


def _prepared(journal: Path, writer: int, txn: str) -> str:
    """Returns the name of a writer's prepared transaction.

    No other workload on the server has it.
    """
    return f"{sha256(str(journal).encode()).hexdigest()[:16]}/{writer}/{txn}"
