"""Which rows are under each key while a source transaction runs, where rows may share a key.

They may for a moment, with a deferrable primary key: `UPDATE … SET id = id + 1` is logged as 1→2,
2→3, 3→4, and after its first change two rows are at 2. PostgreSQL demands REPLICA IDENTITY FULL of
such a table, so every change names its row by all its old values, and the rows at a key can be told
apart.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from agent.capture.rows import RowsOfTable
from agent.front.base import Front
from agent.resource import FrontRow, Resource
from agent.values.rows import Key, Row

KeyedRow = tuple[Key, Row]  # a whole row and its key


class RowsAtKey:
    """The rows at one key: the one from before the transaction, and those that have arrived.

    Rows alike are one as good as the other.
    """

    __slots__ = ("arrived", "before", "left", "unknown")

    def __init__(
        self,
        before: FrontRow | None = None,
        arrived: Collection[Row] = (),
        left: bool = False,
        unknown: bool = False,
    ) -> None:
        """`before`: the front-end row. `left`: it has left.

        `unknown`: there was a row that the front end has refused.
        """
        self.before = before
        self.arrived = list(arrived)
        self.left = left
        self.unknown = unknown

    @property
    def untouched(self) -> bool:
        """Whether the row from before is there, and no other one."""
        return not self.arrived and not self.left

    @property
    def lost(self) -> bool:
        """Whether the row at the key is one that nobody here knows."""
        return self.unknown and self.untouched

    def leads(self, row: Row) -> bool:
        """Tells whether the row is the one that counts at its key."""
        if self.arrived:
            return self.arrived[-1] == row
        return not self.left

    def change(self, leaving: Row | None, arriving: Row | None) -> None:
        """Applies one change: a row arrives, leaves, or (both) changes where it is."""
        arriving_rows = []
        if arriving is not None:
            arriving_rows.append(arriving)

        if leaving is None:
            self.arrived += arriving_rows
        elif leaving in self.arrived:
            place = self.arrived.index(leaving)
            self.arrived[place : place + 1] = arriving_rows
        else:  # the one from before: below those that have arrived since
            self.left = True
            self.arrived[:0] = arriving_rows

    def leading(self, resource: Resource) -> FrontRow | None:
        """Returns the row that front end and subscribers are to hold under the key."""
        if self.arrived:
            return shared(resource, self.arrived[-1])
        if self.left:
            return None
        return self.before

    def settled(self, certain: bool) -> bool:
        """Tells whether the front-end row says as much by now.

        `certain`: a key without a front-end row was free.
        """
        if self.left:
            return len(self.arrived) <= 1
        if self.unknown:
            return False
        if not self.arrived:
            return True
        added = self.before is None and len(self.arrived) == 1
        return added and certain

    def dumps(self) -> str:
        """Writes it for the front end's own table."""
        parts = [self.before, self.arrived, self.left, self.unknown]
        return json.dumps(parts)

    @classmethod
    def loads(cls, text: str) -> "RowsAtKey":
        """Reads what `dumps` wrote."""
        before, arrived, *flags = json.loads(text)
        if before is not None:
            before = tuple(before)
        rows = [tuple(row) for row in arrived]
        return cls(before, rows, *flags)


class KeyOutcome(NamedTuple):
    """What a change makes of one key."""

    key: Key
    row: FrontRow | None
    published: bool  # a row was, under this key
    same: bool  # and it is the one that the change is about
    lost: bool = False  # the row is one that must be read again


class SharedKeys:
    """The keys touched by the source transaction under way.

    In memory are only those of one set: the rest waits in the front end's transaction.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._keys: dict[str, dict[Key, RowsAtKey]] = {}
        self._resources: dict[str, Resource] = {}
        self._kept: set[str] = set()  # resources of which something is in the front end

    def load(self, resource: Resource, keys: Collection[Key]) -> None:
        """Takes up what an earlier set of the same transaction has kept of these keys."""
        if resource.name in self._kept:
            rows_at = self._at(resource)
            kept = self._front.shared_keys(resource.name, keys)
            for key, text in kept.items():
                rows_at[key] = RowsAtKey.loads(text)

    def outcomes(
        self,
        rows: RowsOfTable,
        old: KeyedRow | None,
        new: KeyedRow | None,
        holes: Collection[Key],
    ) -> Iterator[KeyOutcome]:
        """Counts a change in and yields what becomes of its keys, the old one first.

        `holes`: keys whose rows must be read again.
        """
        resource = rows.resource
        keys = [keyed[0] for keyed in (old, new) if keyed is not None]
        for key in dict.fromkeys(keys):
            leaving = row_at(key, old)
            arriving = row_at(key, new)
            current = rows.current(key)
            here = self._at(resource).get(key)
            if here is None:
                unknown = key in holes
                if current is None and rows.published(key):
                    unknown = True
                if unknown and leaving is not None:
                    current = shared(resource, leaving)
                    unknown = False
                here = RowsAtKey(None if unknown else current, unknown=unknown)
                self._at(resource)[key] = here

            published = rows.published(key)
            if leaving is not None and here.untouched and not resource.filtered:
                # A subscriber may have a row that leaves, though the front end has none
                published = True
            same = leaving is not None and here.leads(leaving)
            here.change(leaving, arriving)
            if here.lost:
                yield KeyOutcome(key, None, published, same, lost=True)
                continue

            row = here.leading(resource)
            if row is None and not published:
                continue
            arrives_on_top = arriving is not None and here.leads(arriving)
            if row != current or row is None or arrives_on_top:
                yield KeyOutcome(key, row, published, same)

    def save(self, copying: Collection[str]) -> None:
        """Ends a set within the transaction.

        What the front end's rows do not say is kept there beside them.
        """
        for name, rows_at in self._keys.items():
            filtered = self._resources[name].filtered
            certain = name not in copying and not filtered
            texts = {}
            for key, here in rows_at.items():
                texts[key] = "" if here.settled(certain) else here.dumps()
            if name in self._kept or any(texts.values()):
                self._front.keep_shared_keys(name, texts)
                self._kept.add(name)
        self._keys.clear()

    def over(self) -> None:
        """Forgets all: the transaction is complete, no key has more than one row."""
        self._keys.clear()
        for name in self._kept:
            self._front.forget_shared_keys(name)
        self._kept.clear()

    def emptied(self, resource: Resource) -> None:
        """Forgets the keys of a table that was emptied."""
        self._keys.pop(resource.name, None)
        if resource.name in self._kept:
            self._kept.discard(resource.name)
            self._front.forget_shared_keys(resource.name)

    def _at(self, resource: Resource) -> dict[Key, RowsAtKey]:
        self._resources[resource.name] = resource
        return self._keys.setdefault(resource.name, {})


def row_at(key: Key, keyed: KeyedRow | None) -> Row | None:
    """Returns the row if this is its key."""
    if keyed is None or keyed[0] != key:
        return None
    return keyed[1]


def shared(resource: Resource, row: Row) -> FrontRow | None:
    """Returns the shared part of a whole row; None if the filter keeps it back."""
    if not resource.passes(row, shared_before=False):
        return None
    return resource.shared(row)  # type: ignore[return-value]


def net(rows_at: Mapping[Key, RowsAtKey]) -> Iterator[tuple[Key, Row | None]]:
    """Yields what a complete transaction has left under its keys: a row, or (None) nothing.

    Keys that hold what they held before are left out.
    """
    for key, here in rows_at.items():
        if here.arrived:
            yield key, here.arrived[-1]
        elif here.left:
            yield key, None
