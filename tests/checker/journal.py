"""Keeps the journal of a workload: what each transaction was meant to do and how it ended.

It is durable before and after the transaction's COMMIT.

A line is one JSON object: {"txn": 7, "writer": 3, "ops": 2, "digest": "..."} before, {"txn": 7,
"outcome": "ok"} after. Every transaction also signs with a row in the ledger, a shared table of the
source: so an outcome nobody saw is known by looking there.
"""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from tests.checker.table import Key, SharedTable, digest
from tests.checker.verdict import Verdict

Outcome = Literal["ok", "failed", "unknown"]
LEDGER_COLUMNS = ("txn_no", "op_count", "digest")


class Intent(NamedTuple):
    """A transaction of the journal."""

    txn: int
    writer: int
    ops: int
    digest: str  # of its statements
    outcome: Outcome = "unknown"  # so it stays when the workload itself was killed

    @property
    def row(self) -> bytes:
        """Its row in the ledger."""
        return digest((self.txn, self.ops, self.digest))


class Journal:
    """Appends; a line is on the disk when its method returns. Several threads may write."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = path.open("a+b")
        self._cut_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def intent(self, intent: Intent) -> None:
        """Notes a transaction before anything of it is sent."""
        self._append(
            {"txn": intent.txn, "writer": intent.writer, "ops": intent.ops, "digest": intent.digest}
        )

    def outcome(self, txn: int, outcome: Outcome) -> None:
        """Notes that the transaction has ended, or that its end got lost."""
        self._append({"txn": txn, "outcome": outcome})

    def close(self) -> None:
        """Ends it."""
        self._file.close()

    def _append(self, entry: Mapping[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _cut_torn_line(self) -> None:
        """Cuts a torn last line.

        A writer killed in the middle of a line said nothing with it.
        """
        self._file.seek(0)
        self._file.truncate(self._file.read().rfind(b"\n") + 1)


def read_journal(path: Path) -> dict[int, Intent]:
    """Returns every transaction by its number.

    A torn last line is passed over, any other broken line is an error.
    """
    entries: dict[int, Intent] = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        entry = json.loads(line)
        if "outcome" in entry:
            entries[entry["txn"]] = entries[entry["txn"]]._replace(outcome=entry["outcome"])
        else:
            entries[entry["txn"]] = Intent(**entry)
    return entries


def settle(
    journal: Mapping[int, Intent],
    ledger: SharedTable,
    sides: Mapping[str, Mapping[Key, bytes]],
    verdict: Verdict,
) -> None:
    """Judges O7: what succeeded has signed on every side, what failed on none.

    Of what is unknown the source's ledger decides.
    """
    for intent in journal.values():
        key = (intent.txn,)
        signed = intent.outcome == "ok" or (intent.outcome == "unknown" and key in sides["source"])
        for side, rows in sides.items():
            if (key in rows) != signed:
                verdict.differs(
                    ledger,
                    key,
                    "row",
                    f"{'absent' if signed else 'present'} in {side}, "
                    f"though its outcome was {intent.outcome}",
                    "O7",
                )
            elif signed and rows[key] != intent.row:
                verdict.differs(ledger, key, "row", f"in {side} is not what was meant", "O7")
