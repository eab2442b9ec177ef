"""Tests that O2 sees a front end that is not the source at one commit, on every kind of database.

It is silent of one that is.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checker.front import at_front
from tests.checker.prefix import PrefixReader
from tests.checker.table import Front
from tests.checker.transfers import Leg, legs
from tests.checker.unit import ACCOUNTS, LEDGER
from tests.checker.verdict import Verdict
from tests.services.fixtures import fresh_database

ORDER = [(0x10, 2), (0x20, 1), (0x30, 3)]  # the source committed 2 first
TABLES = (
    "CREATE TABLE sync_agent_state (position varchar(40))",
    "CREATE TABLE sync_agent_resource (name varchar(100), state varchar(20))",
    f'CREATE TABLE "{LEDGER.name}" ("txn_no" bigint PRIMARY KEY)',
    f'CREATE TABLE "{ACCOUNTS.name}" ("账号" integer PRIMARY KEY, "余额" bigint)',
    "INSERT INTO sync_agent_state VALUES ('0/0')",
    (
        f"INSERT INTO sync_agent_resource VALUES ('{LEDGER.resource}', 'live'), "
        f"('{ACCOUNTS.resource}', 'live')"
    ),
)


class Broken:
    """Is a front end whose agent does what it is told, be it wrong, and the reader of it."""

    def __init__(self, front: Front) -> None:
        self.front = front
        for statement in TABLES:
            at_front(front, statement)
        self.reader = PrefixReader(front)

    def book(self, leg: Leg) -> None:
        """One side of a transfer."""
        if at_front(
            self.front,
            f'UPDATE "{ACCOUNTS.name}" SET "余额" = "余额" + %s WHERE "账号" = %s',
            leg.amount,
            leg.account,
        ) == [(0,)]:
            at_front(self.front, f'INSERT INTO "{ACCOUNTS.name}" VALUES (%s, %s)', *leg)

    def apply(self, txn: int, position: str) -> None:
        """A whole transaction, and the position."""
        for leg in legs(txn):
            self.book(leg)
        at_front(self.front, f'INSERT INTO "{LEDGER.name}" VALUES (%s)', txn)
        at_front(self.front, "UPDATE sync_agent_state SET position = %s", position)

    def look(self) -> list[str]:
        """Returns what one more sample says."""
        before = len(self.reader.violations)
        self.reader.sample()
        return self.reader.violations[before:]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broken]:
    """Yields each kind of front end in turn."""
    if request.param == "sqlite":
        (tmp_path / "front.db").touch()
        yield Broken(tmp_path / "front.db")
    elif request.param == "mariadb":
        yield Broken(request.getfixturevalue("mariadb_database"))
    else:
        with fresh_database(request.getfixturevalue("postgres18")) as database:
            yield Broken(database)


def test_only_a_prefix_is_right(broken: Broken) -> None:
    """Whole transactions in the source's order are right.

    Half a transaction, a position that stays behind, and a transaction left out are not.
    """
    assert broken.look() == []
    broken.apply(2, "0/10")
    broken.apply(1, "0/20")
    assert broken.look() == []
    broken.reader.settle(ORDER)
    assert (broken.reader.samples, broken.reader.violated) == (2, 0)
    debit, credit = legs(3)
    broken.book(debit)
    assert [line.split(" ", 2)[2] for line in broken.look()] == [
        f"1 accounts do not hold what the 2 transactions of the ledger moved; in all {debit.amount}"
    ]
    broken.book(credit)
    at_front(broken.front, f'INSERT INTO "{LEDGER.name}" VALUES (3)')
    assert broken.look() == ["the ledger changed, and the stored position 0/20 did not"]
    at_front(broken.front, "UPDATE sync_agent_state SET position = '0/30'")
    assert broken.look() == []
    broken.reader.settle([*ORDER[:2], (0x28, 4), ORDER[2]])
    assert (
        broken.reader.violations[-1] == "at 0/30 the ledger holds 3 transactions, "
        "and not just the 4 that the source had committed"
    )
    broken.reader.report(verdict := Verdict())
    assert verdict.oracles == {"O2": 3}


def test_nothing_is_promised_of_a_table_that_is_copied_and_nothing_seen_is_no_proof(
    broken: Broken,
) -> None:
    broken.book(legs(1)[0])
    at_front(
        broken.front,
        "UPDATE sync_agent_resource SET state = 'copying' WHERE name = %s",
        ACCOUNTS.resource,
    )
    assert broken.look() == []
    broken.reader.report(verdict := Verdict())
    assert (broken.reader.skipped, verdict.oracles) == (1, {"O2": 1})
