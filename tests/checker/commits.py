"""Finds the order in which the source committed a workload's transactions.

The source decodes it for the judge alone, through a slot of the judge's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from tests.checker.plan import relation
from tests.checker.unit import LEDGER

INSERTED, COMMITTED = ord("I"), ord("C")
CHANGES = (
    "SELECT data FROM pg_logical_slot_peek_binary_changes"
    "(%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)"
)


class CommitOrder:
    """Knows every transaction that signs the ledger since this object was made. See `watched`.

    `source` is a superuser's conninfo.
    """

    def __init__(self, source: str, name: str) -> None:
        self._source, self.slot = source, name

    def read(self) -> list[tuple[int, int]]:
        """Returns the end of the commit and the number of each transaction, in their order.

        The end is a position of the log as a number.
        """
        order: list[tuple[int, int]] = []
        signed: list[int] = []
        with psycopg.connect(self._source, autocommit=True) as connection:
            for (message,) in connection.execute(CHANGES.encode(), [self.slot, self.slot]):
                if message[0] == INSERTED:
                    signed.append(_first_value(message))
                elif message[0] == COMMITTED:
                    order += [(int.from_bytes(message[10:18]), txn) for txn in signed]
                    signed.clear()
        return order


@contextmanager
def watched(source: str, name: str) -> Iterator[CommitOrder]:
    """Watches with a publication and a slot of that name, dropped at the end."""
    publication = sql.Identifier(name)
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(publication, relation(LEDGER))
        )
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    try:
        yield CommitOrder(source, name)
    finally:
        with psycopg.connect(source, autocommit=True) as connection:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
            connection.execute(sql.SQL("DROP PUBLICATION {}").format(publication))


def _first_value(message: bytes) -> int:
    """Returns the first column of an Insert.

    The message is 'I', oid (4), 'N', columns (2), then for each 't', length (4), text.
    """
    length = int.from_bytes(message[9:13])
    return int(message[13 : 13 + length])
