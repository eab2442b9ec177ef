"""Debezium's transaction metadata. Pure.

It is the place of each event in its source transaction, and the records of its begin and end.
"""

from collections import Counter
from typing import NamedTuple

import orjson

from agent.connectors.changes import Begin
from agent.values import connect


class Boundary(NamedTuple):
    """A record of the topic of transactions."""

    key: bytes
    value: bytes


class Transactions:
    """Counts the events of one source transaction at a time.

    A transaction without an event has no records.
    """

    def __init__(self, *, schemas: bool) -> None:
        plain = connect.PLAIN
        self._key, self._value = (
            (connect.TRANSACTION_KEY, connect.TRANSACTION_VALUE) if schemas else (plain, plain)
        )
        # None: events have no place, for they are of rows that were read
        self._begin: Begin | None = None
        self._events = 0
        self._counts: Counter[str] = Counter()  # by table

    def begin(self, begin: Begin | None) -> None:
        """Begins a source transaction; None: what follows belongs to none."""
        self._begin = begin
        self._events = 0
        self._counts.clear()

    def place(self, collection: str) -> bytes:
        """Writes `transaction` of the next event, which is one of a table (`schema.table`).

        An event without a place has null.
        """
        if self._begin is None:
            return b"null"
        orders = {
            "total_order": self._events + 1,
            "data_collection_order": self._counts[collection] + 1,
        }
        return orjson.dumps({"id": self._id(self._begin)} | orders)

    def take(self, collection: str) -> Boundary | None:
        """Counts the event; returns the BEGIN that goes before the first one of a transaction."""
        if self._begin is None:
            return None
        opening = None if self._events else self._boundary("BEGIN", None, None)
        self._events += 1
        self._counts[collection] += 1
        return opening

    def end(self) -> Boundary | None:
        """Returns the transaction's END; None if it had no event."""
        if not self._events:
            return None
        counts = [
            {"data_collection": name, "event_count": count} for name, count in self._counts.items()
        ]
        return self._boundary("END", self._events, counts)

    def _boundary(
        self,
        status: str,
        count: int | None,
        collections: list[dict[str, object]] | None,
    ) -> Boundary:
        assert self._begin is not None
        identity = self._id(self._begin)
        record = {
            "status": status,
            "id": identity,
            "event_count": count,
            "data_collections": collections,
            "ts_ms": self._begin.time_us // 1000,
        }
        return Boundary(
            self._key.around(orjson.dumps({"id": identity})),
            self._value.around(orjson.dumps(record)),
        )

    @staticmethod
    def _id(begin: Begin) -> str:
        """Names a transaction: its number, and where its commit stands in the log."""
        return f"{begin.transaction}:{begin.commit_position}"
