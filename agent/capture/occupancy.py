"""Which rows stand under each key while a source transaction runs, where rows may share a key for a moment (a deferrable primary key).

`UPDATE … SET id = id + 1` is logged as 1→2, 2→3, 3→4: after its first change two rows stand at 2. PostgreSQL demands REPLICA IDENTITY
FULL of such a table, so every change names the row it concerns by all its old values, and the rows at a key can be told apart.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from agent.capture.rows import Rows
from agent.front.base import Front
from agent.resource import FrontRow, Resource
from agent.values.rows import Key, Row

Place = tuple[Key, Row]  # a whole row and its key


class Occupants:
    """The rows at one key: the one from before the transaction, until it has left, and those that have arrived. Rows alike are one as good as the other."""

    __slots__ = ("arrived", "before", "gone", "unknown")

    def __init__(
        self,
        before: FrontRow | None = None,
        arrived: Collection[Row] = (),
        gone: bool = False,
        unknown: bool = False,
    ) -> None:
        self.before = before  # what the front end held
        self.unknown = unknown  # there was a row that the front end has refused
        self.arrived = list(arrived)
        self.gone = gone

    @property
    def untouched(self) -> bool:
        """Nothing has come or gone: what stood there stands there."""
        return not self.arrived and not self.gone

    def leads(self, row: Row) -> bool:
        """Whether the row is the one that counts at its key."""
        return self.arrived[-1] == row if self.arrived else not self.gone

    def change(self, leaving: Row | None, arriving: Row | None) -> None:
        """One change: a row comes, goes, or (both) changes where it is."""
        if leaving is None:
            self.arrived += [] if arriving is None else [arriving]
        elif leaving in self.arrived:
            place = self.arrived.index(leaving)
            self.arrived[place : place + 1] = [] if arriving is None else [arriving]
        else:  # the one from before: below those that have come over it
            self.gone = True
            self.arrived[:0] = [] if arriving is None else [arriving]

    @property
    def lost(self) -> bool:
        """What stands there is a row that nobody here knows."""
        return self.unknown and not self.gone and not self.arrived

    def told(self, resource: Resource) -> FrontRow | None:
        """What front end and subscribers are to hold under the key."""
        if not self.arrived:
            return None if self.gone else self.before
        return shared(resource, self.arrived[-1])

    def settled(self, certain: bool) -> bool:
        """Whether what the front end holds now says as much; `certain`: a key it had no row for was free."""
        if self.gone:
            return len(self.arrived) <= 1
        if self.unknown:
            return False
        return not self.arrived or (len(self.arrived) == 1 and self.before is None and certain)

    def dumps(self) -> str:
        """For the front end's own table."""
        return json.dumps([self.before, self.arrived, self.gone, self.unknown])

    @classmethod
    def loads(cls, text: str) -> "Occupants":
        """What `dumps` wrote."""
        before, arrived, *flags = json.loads(text)
        row = None if before is None else tuple(before)
        return cls(row, [tuple(other) for other in arrived], *flags)


class Turn(NamedTuple):
    """What a change makes of one key."""

    key: Key
    row: FrontRow | None
    published: bool  # a row was, under this key
    same: bool  # and it is the one the change is about
    lost: bool = False  # the row is one that must be read again


class Occupancy:
    """The keys touched by the source transaction under way. In memory only those of one set: the rest waits in the front end's transaction."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._keys: dict[str, dict[Key, Occupants]] = {}
        self._resources: dict[str, Resource] = {}
        self._kept: set[str] = set()  # resources of which something is in the front end

    def load(self, resource: Resource, keys: Collection[Key]) -> None:
        """A set begins, perhaps within a transaction: takes up what it kept of these keys."""
        if resource.name in self._kept:
            self._at(resource).update(
                {
                    key: Occupants.loads(text)
                    for key, text in self._front.shared_keys(resource.name, keys).items()
                }
            )

    def turns(
        self,
        rows: Rows,
        resource: Resource,
        old: Place | None,
        new: Place | None,
        holes: Collection[Key],
    ) -> Iterator[Turn]:
        """Counts a change in, and says what becomes of its keys, the old one first. `holes`: keys whose rows must be read again."""
        occupied = self._at(resource)
        for key in dict.fromkeys(place[0] for place in (old, new) if place is not None):
            told = rows.current(resource, key)
            here = occupied.get(key)
            leaving = old[1] if old is not None and old[0] == key else None
            arriving = new[1] if new is not None and new[0] == key else None
            if here is None:
                refused = key in holes or (told is None and rows.published(resource, key))
                if refused and leaving is not None:
                    told = shared(resource, leaving)
                here = Occupants(
                    None if refused and leaving is None else told,
                    unknown=refused and leaving is None,
                )
                occupied[key] = here
            # A subscriber may have it
            stood = rows.published(resource, key) or (
                leaving is not None and here.untouched and not resource.filtered
            )
            same = leaving is not None and here.leads(leaving)
            here.change(leaving, arriving)
            if here.lost:
                yield Turn(key, None, stood, same, lost=True)
                continue
            row = here.told(resource)
            if row is None and not stood:
                continue
            if row != told or row is None or (arriving is not None and here.leads(arriving)):
                yield Turn(key, row, stood, same)

    def save(self, copying: Collection[str]) -> None:
        """A set ends within the transaction: what the front end's rows do not say is kept there beside them."""
        for name, occupied in self._keys.items():
            certain = name not in copying and not self._resources[name].filtered
            texts = {
                key: "" if here.settled(certain) else here.dumps() for key, here in occupied.items()
            }
            if name in self._kept or any(texts.values()):
                self._front.keep_shared_keys(name, texts)
                self._kept.add(name)
        self._keys.clear()

    def over(self) -> None:
        """The transaction is complete: no key has more than one row."""
        self._keys.clear()
        for name in self._kept:
            self._front.forget_shared_keys(name)
        self._kept.clear()

    def emptied(self, resource: Resource) -> None:
        """TRUNCATE."""
        self._keys.pop(resource.name, None)
        if resource.name in self._kept:
            self._kept.discard(resource.name)
            self._front.forget_shared_keys(resource.name)

    def _at(self, resource: Resource) -> dict[Key, Occupants]:
        self._resources[resource.name] = resource
        return self._keys.setdefault(resource.name, {})


def shared(resource: Resource, row: Row) -> FrontRow | None:
    """The shared part of a whole row; None if the filter keeps it back."""
    return resource.shared(row) if resource.passes(row, shared_before=False) else None  # type: ignore[return-value]


def net(occupied: Mapping[Key, Occupants]) -> Iterator[tuple[Key, Row | None]]:
    """What a complete transaction has left under its keys: a row, or (None) nothing; keys with what was there before are left out."""
    for key, here in occupied.items():
        if not here.untouched:
            yield key, here.arrived[-1] if here.arrived else None
