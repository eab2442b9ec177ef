"""Defines what each transaction of a workload moves between two accounts.

It is a pure function of the transaction's number, so that the ledger tells what every account must
hold.

The debit is the first change of a transaction, the credit the last before it signs. Who sees a part
of it, sees accounts that do not fit the ledger.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from random import Random
from typing import NamedTuple

from psycopg import sql

from tests.checker.plan import Statement, relation
from tests.checker.unit import ACCOUNTS

MANY = 100  # accounts: writers seldom wait for each other at one
BOOK = """
    INSERT INTO {} AS a ("账号", "余额") VALUES (%s, %s)
    ON CONFLICT ("账号") DO UPDATE SET "余额" = a."余额" + excluded."余额"
"""


class Leg(NamedTuple):
    """One account's side of a transfer."""

    account: int
    amount: int


@cache
def legs(txn: int) -> tuple[Leg, Leg]:
    """Returns debit and credit of a transaction, debit first.

    They are in the order of the accounts, so that transfers alone never make a deadlock.
    """
    random = Random(f"transfer {txn}")
    debit, credit = sorted(random.sample(range(MANY), 2))
    amount = random.randint(1, 10**6)
    return Leg(debit, -amount), Leg(credit, amount)


def book(leg: Leg) -> Statement:
    """Returns the statement that does it."""
    return sql.SQL(BOOK).format(relation(ACCOUNTS)), leg


class Balances:
    """What the accounts hold when just these transactions have been applied."""

    def __init__(self) -> None:
        self._applied: frozenset[int] = frozenset()
        self._held: Counter[int] = Counter()

    def after(self, txns: Iterable[int]) -> dict[int, int]:
        """Returns the accounts that have been touched, by number."""
        applied = frozenset(txns)
        for several, sign in ((applied - self._applied, 1), (self._applied - applied, -1)):
            for txn in several:
                for leg in legs(txn):
                    self._held[leg.account] += sign * leg.amount
        self._applied = applied
        touched = {leg.account for txn in applied for leg in legs(txn)}
        return {account: self._held[account] for account in touched}
