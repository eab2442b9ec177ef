"""Finds the order in which MariaDB or MySQL committed a workload's transactions.

The server itself says what stands in its log, with the text of each statement. So the judge needs
no reader of the log.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.checker.commits import CommitOrder
from tests.checker.unit import LEDGER
from tests.faults.binary_log.unit import run, session

# Names of transactions: `BEGIN GTID 0-7-12 cid=3` and `SET @@SESSION.GTID_NEXT= 'uuid:12'`
_NUMBER = re.compile(r"GTID \d+-\d+-(\d+)|GTID_NEXT= '[0-9a-f-]{36}:(\d+)'")
_SIGNED = re.compile(r"VALUES \((\d+), \d+, '")
_TEXTS = ("Annotate_rows", "Rows_query")
_NAMED = re.compile(r"(\d+)\"?$")  # a token's last transaction, of `0-7-12` or `uuid:1-12`


class LoggedOrder(CommitOrder):
    """Knows every transaction that signs the ledger since `first`, a file of the log."""

    def __init__(self, url: str, name: str, first: str) -> None:
        super().__init__(url, name)
        self._first = first

    def read(self) -> list[tuple[int, int]]:
        """Returns the server's number and the ledger's number of each transaction, in order."""
        order = []
        number, text = 0, ""
        for kind, told in self._events():
            if (found := _NUMBER.search(told)) is not None and kind.lower() == "gtid":
                number = int(found[1] or found[2])
            elif kind in _TEXTS:
                text = told
            elif kind == "Table_map" and f"({self.slot}.{LEDGER.name})" in told:
                signed = _SIGNED.search(text)
                assert signed is not None, "the ledger is written by the workload alone"
                order.append((number, int(signed[1])))
        return order

    def _events(self) -> Iterator[tuple[str, str]]:
        """Yields the kind of each event, and what the server tells of it."""
        with closing(session(self._source)) as connection:
            names = [str(row[0]) for row in run(connection, "SHOW BINARY LOGS")]
            for name in names[names.index(self._first) :]:
                for row in run(connection, f"SHOW BINLOG EVENTS IN '{name}'"):
                    yield str(row[2]), _text(row[5])


@contextmanager
def watched(url: str, database: str) -> Iterator[LoggedOrder]:
    """Yields who knows what is committed in a database from now on."""
    with closing(session(url)) as connection:
        files = run(connection, "SHOW BINARY LOGS")
    yield LoggedOrder(url, database, str(files[-1][0]))


def number_of(token: str) -> int:
    """Returns the server's number of the last transaction in a token of the agent."""
    found = re.search(r'"gtid":"([^"]*)"', token)
    named = _NAMED.search(found[1]) if found is not None else None
    return int(named[1]) if named is not None else 0


def last_number(url: str) -> int:
    """Returns the server's number of the last transaction that it has committed."""
    with closing(session(url)) as connection:
        is_mariadb = "MariaDB" in str(run(connection, "SELECT version()")[0][0])
        variable = "gtid_binlog_pos" if is_mariadb else "gtid_executed"
        told = str(run(connection, f"SELECT @@global.{variable}")[0][0])
    named = _NAMED.search(told)
    return int(named[1]) if named is not None else 0


def _text(told: Any) -> str:
    return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
