"""Judges O2: at every moment the front end is the source at the commit whose position it stored.

Position, ledger and accounts are read in one snapshot, again and again, while the faults come. The
ledger must hold the transactions the source had committed up to that position and no others, and
the accounts what just these have moved.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence

from tests.checker.acks import lsn
from tests.checker.front import ERRORS, in_snapshot
from tests.checker.sampler import Sampler
from tests.checker.table import Front
from tests.checker.transfers import Balances
from tests.checker.unit import ACCOUNTS, LEDGER

INTERVAL = 0.03  # seconds between snapshots
LIVE = (
    "SELECT name FROM sync_agent_resource "
    f"WHERE state = 'live' AND name IN ('{LEDGER.resource}', '{ACCOUNTS.resource}')"
)
POSITION = "SELECT position FROM sync_agent_state"
STATEMENTS = (
    LIVE,
    f'SELECT "txn_no" FROM "{LEDGER.name}"',
    f'SELECT "账号", "余额" FROM "{ACCOUNTS.name}"',
)


class PrefixReader(Sampler):
    """Reads the front end like somebody who works with its tables; `report` after `settle`."""

    oracle, place = "O2", "front end"

    def __init__(
        self,
        front: Front,
        interval: float = INTERVAL,
        stored: str = POSITION,
        number: Callable[[str], int] = lsn,
    ) -> None:
        """`stored`: the query for the position. `number`: turns it into one of the log."""
        super().__init__(interval)
        self._front = front
        self._statements = (stored, *STATEMENTS)
        self._number = number
        self._balances = Balances()
        self._seen: dict[
            str, tuple[int, int]
        ] = {}  # by position: how many transactions, and which, as a hash

    def sample(self) -> None:
        """Takes one snapshot; while one of the tables is not live nothing is promised of it."""
        try:
            position, live, ledger, accounts = in_snapshot(self._front, *self._statements)
        except ERRORS:
            self.skipped += 1
            return
        if len(live) < 2:
            self.skipped += 1
            return
        self.samples += 1
        signed = frozenset(int(txn) for (txn,) in ledger)
        expected = self._balances.after(signed)
        found = {int(account): int(balance) for account, balance in accounts}
        if found != expected:
            wrong = sorted(
                account
                for account in expected.keys() | found.keys()
                if expected.get(account) != found.get(account)
            )
            total = sum(found.values())
            self.violation(
                f"at {position[0][0]} {len(wrong)} accounts do not hold what the "
                f"{len(signed)} transactions of the ledger moved; in all {total}"
            )
        seen = len(signed), hash(signed)
        if self._seen.setdefault(position[0][0], seen) != seen:
            self.violation(f"the ledger changed, and the stored position {position[0][0]} did not")

    def settle(self, order: Sequence[tuple[int, int]]) -> None:
        """Compares every snapshot with the order in which the source committed.

        `order` has the position of each commit's end, and its transaction.
        """
        ends, txns = [end for end, _ in order], [txn for _, txn in order]
        for position, seen in self._seen.items():
            committed = bisect_right(ends, self._number(position))
            if seen != (committed, hash(frozenset(txns[:committed]))):
                self.violation(
                    f"at {position} the ledger holds {seen[0]} transactions, "
                    f"and not just the {committed} that the source had committed"
                )
