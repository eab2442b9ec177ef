"""The state of each shared table, owned by one object: everybody else asks it.

              a hole is noted, or somebody asks for a repair
          ┌──────────────────────────────────────────────────┐
          │                                                  ▼
        live ◀──────────── the last phase ends ────────── copying: how far it is (`Copy`)
          │                                                  │   ▲
          └────────────▶ suspended ◀─────────────────────────┘   │
                             │                                   │
                             └── resume, republish ──────────────┘
                                 (in force once all is opened again)

Beside its state a table has three sets of keys:

- holes: rows that lack values, to be read again. A table with holes is not live.
- withheld: rows too large for Kafka, and whether the topic may hold an older one.
- refused: rows that the front-end table refuses.

Most changes ride in the open front-end transaction: the rows that they speak of become durable with
them.
"""

from collections.abc import Collection, Mapping
from typing import TypeVar

from agent.errors import Suspend
from agent.front.base import FOLLOWED, HOLES, Copy, Refused, ResourceStore, Stored
from agent.values.rows import Key

Entry = TypeVar("Entry")


class TableState:
    """One table from one opening of the front end to the next."""

    def __init__(
        self,
        front: ResourceStore,
        name: str,
        stored: Stored,
    ) -> None:
        self.name = name
        self._front = front

        state = stored.resources[name].state
        self.suspended = state == "suspended"
        # How far it is; None unless the table is copying
        self.copy: Copy | None = None
        if state == "copying":
            self.copy = stored.copies.get(name, Copy())

        self.holes: set[Key] = set(stored.holes.get(name, ()))
        self.withheld: dict[Key, bool] = dict(stored.withheld.get(name, {}))
        self.refused: dict[Key, Refused] = dict(stored.refused.get(name, {}))

        # What the open front-end transaction has changed. Holes: made (True) or filled;
        # the others: their new entry, None if there is none any more
        self._changed_holes: dict[Key, bool] = {}
        self._changed_withheld: dict[Key, bool | None] = {}
        self._changed_refused: dict[Key, Refused | None] = {}

    @property
    def copying(self) -> bool:
        """Whether the table is on its way to be equal to the source."""
        return self.copy is not None

    @property
    def word(self) -> str:
        """The state as it is stored: copying, live or suspended."""
        if self.suspended:
            return "suspended"
        return "copying" if self.copying else "live"

    # ---- from state to state

    def move(self, copy: Copy) -> None:
        """Makes the table copying, or moves it on; rides in the open transaction."""
        self.copy = copy
        self._front.set_state(self.name, "copying", copy)

    def complete(self) -> None:
        """Makes the table live; rides in the open transaction."""
        self.copy = None
        self._front.set_state(self.name, "live", None)

    def start_copy(self, copy: Copy) -> None:
        """Makes the table copying from where `copy` says (a transaction of its own)."""
        self.copy = copy
        self.suspended = False
        self._front.start_copy(self.name, copy)

    def begin_generation(self, copy: Copy) -> None:
        """Begins a new generation of the topic and a copy (a transaction of its own).

        What was opened is outdated then.
        """
        self.copy = copy
        self.suspended = False
        self._front.begin_generation(self.name, copy)

    def suspend(self, error: Suspend) -> None:
        """Stores that the table stands still and why (a transaction of its own)."""
        self.copy = None
        self.suspended = True
        self._front.suspend(error)

    # ---- keys

    def note_hole(self, key: Key) -> None:
        """Notes that the row of this key must be read again: a live table is no longer live."""
        self.holes.add(key)
        self._changed_holes[key] = True
        if self.copy is None:
            self.move(FOLLOWED._replace(phase=HOLES, whole=False))

    def fill_hole(self, key: Key) -> None:
        """Notes that the row of this key is known again, if it was not."""
        if key in self.holes:
            self.holes.discard(key)
            self._changed_holes[key] = False

    def withhold(self, key: Key, *, published: bool) -> None:
        """Notes a row too large for Kafka; `published`: the topic may hold an older one."""
        self.withheld[key] = self._changed_withheld[key] = published

    def release(self, key: Key) -> None:
        """Notes that the topic has what it should have of this key."""
        del self.withheld[key]
        self._changed_withheld[key] = None

    def refuse(self, key: Key, refused: Refused) -> None:
        """Notes a row that the front-end table refuses."""
        self.refused[key] = self._changed_refused[key] = refused

    def heal(self, key: Key) -> None:
        """Notes that the front-end table has taken the row of this key."""
        del self.refused[key]
        self._changed_refused[key] = None

    def save(self) -> bool:
        """Gives the front end the keys that have changed; rides in the open transaction.

        Returns whether rows are withheld or refused that were not before, or no longer.
        """
        changed = bool(self._changed_withheld or self._changed_refused)

        if self._changed_holes:
            made: list[Key] = []
            filled: list[Key] = []
            for key, is_hole in self._changed_holes.items():
                if is_hole:
                    made.append(key)
                else:
                    filled.append(key)
            self._front.note_holes(self.name, made, filled)
            self._changed_holes = {}

        if self._changed_refused:
            refused, healed = _split(self._changed_refused)
            self._front.refuse(self.name, refused, healed)
            self._changed_refused = {}

        if self._changed_withheld:
            withheld, released = _split(self._changed_withheld)
            self._front.withhold(self.name, withheld, released)
            self._changed_withheld = {}

        return changed


class TableStates(dict[str, TableState]):
    """The states of all tables that the front end has stored, by resource."""

    def __init__(self, front: ResourceStore, stored: Stored) -> None:
        super().__init__()
        for name in stored.resources:
            self[name] = TableState(front, name, stored)
        # Since the caller last set it so: withheld or refused rows are others
        self.keys_changed = False

    @property
    def copying(self) -> Collection[str]:
        """The tables that are copying."""
        return {name for name, table in self.items() if table.copying}

    def save(self) -> None:
        """Gives the front end the keys that have changed; rides in the open transaction."""
        for table in self.values():
            if table.save():
                self.keys_changed = True


def _split(changed: Mapping[Key, Entry | None]) -> tuple[dict[Key, Entry], list[Key]]:
    """Returns the entries that are there, and the keys of those that are there no more."""
    there = {}
    removed = []
    for key, entry in changed.items():
        if entry is None:
            removed.append(key)
        else:
            there[key] = entry
    return there, removed
