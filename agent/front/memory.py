"""The front end in memory: a twin for tests and models that keeps the contract of `Front`.

Crashes are a part of it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from agent.connectors.base import Visible
from agent.connectors.resume import CommitMark
from agent.errors import AnotherAgent, FrontTableWrong, FrontUnreachable, RowRefused, Suspend
from agent.front.base import (
    Batch,
    Copy,
    Progress,
    Refused,
    Request,
    ResourceState,
    Stored,
    Written,
)
from agent.front.bisection import isolate_refused
from agent.resource import FrontRow, Target
from agent.values.lines import line_of
from agent.values.rows import Key


@dataclass
class Durable:
    """What survives a crash: the tables, the outbox and the state. Mappings are by resource."""

    stored: Stored

    # By name of the table
    tables: dict[str, dict[Key, FrontRow]] = field(default_factory=dict)
    catalogues: dict[str, Mapping[str, str]] = field(default_factory=dict)

    outbox: list[Batch] = field(default_factory=list)
    transactions: list[tuple[int, ...]] = field(default_factory=list)

    # The error codes of suspended tables
    suspended: dict[str, str] = field(default_factory=dict)

    copies: dict[str, Copy] = field(default_factory=dict)
    holes: dict[str, set[Key]] = field(default_factory=dict)
    fingerprints: dict[str, Mapping[str, str]] = field(default_factory=dict)
    occupants: dict[str, dict[Key, str]] = field(default_factory=dict)
    withheld: dict[str, dict[Key, bool]] = field(default_factory=dict)
    refused: dict[str, dict[Key, Refused]] = field(default_factory=dict)
    topic_keys: dict[str, list[str]] = field(default_factory=dict)

    # By id: request, state, report
    requests: dict[str, tuple[Request, str, Mapping[str, Any]]] = field(default_factory=dict)

    # The front that has the lock
    holder: object = None

    def copy(self) -> "Durable":
        """Returns a copy that a transaction may change."""
        return replace(
            self,
            tables=deepcopy(self.tables),
            outbox=list(self.outbox),
            transactions=list(self.transactions),
            copies=dict(self.copies),
            holes=deepcopy(self.holes),
            fingerprints=dict(self.fingerprints),
            occupants=deepcopy(self.occupants),
            withheld=deepcopy(self.withheld),
            refused=deepcopy(self.refused),
            topic_keys=deepcopy(self.topic_keys),
            requests=dict(self.requests),
        )


class MemoryFront:
    """See Front. Several fronts may share one `Durable`.

    A front that is dropped without `close` has crashed: it is still `Durable.holder`.
    """

    def __init__(self, durable: Durable) -> None:
        self.durable = durable

        # What `same_order` says
        self.ordered = False

        # The value of a key's text, where several texts have the same
        self.value: Callable[[Key], object] | None = None

        # What refuses a row (None in it: a delete); None where nothing does
        self.refuses: Callable[[Target, Key, FrontRow | None], str | None] = lambda *_: None

        # The transaction: a copy that replaces the durable content at commit
        self._open: Durable | None = None

        self._epoch = 0

    def claim(self, target: Target) -> None:
        """See Front.claim: nobody else is here."""

    def release(self, resource: str) -> None:
        """See Front.release."""

    def silent_since(self) -> float | None:
        """See Front.silent_since: memory answers at once."""
        return None

    def open(self, nonce: str) -> Stored:
        """See Front.open."""
        durable = self.durable
        if durable.holder not in (None, self):
            raise AnotherAgent(holder="another front")
        durable.holder = self
        self._epoch = durable.stored.epoch + 1
        durable.stored = durable.stored._replace(epoch=self._epoch)

        applied: list[int] = []
        for transactions in durable.transactions:
            applied += transactions
        copy = durable.copy()
        return copy.stored._replace(
            copies=copy.copies,
            holes=copy.holes,
            withheld=copy.withheld,
            refused=copy.refused,
            fingerprints=copy.fingerprints,
            transactions=applied,
        )

    def check(self, target: Target) -> None:
        """See Front.check."""
        if target.name not in self.durable.tables:
            raise FrontTableWrong(
                resource=target.resource, table=target.name, reason="it does not exist"
            )

    def catalogue(self, target: Target) -> Mapping[str, str]:
        """See Front.catalogue."""
        return self.durable.catalogues.get(target.name, {})

    def housekeeping(self) -> int:
        """See Front.housekeeping."""
        return 0

    def begin(self) -> None:
        """See Front.begin."""
        if self._open is None:
            self._open = self.durable.copy()

    @property
    def _transaction(self) -> Durable:
        if self._open is None:
            raise FrontUnreachable(reason="no transaction is open")
        return self._open

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""
        rows = self._transaction.tables[target.name]
        if self.value is None:
            return {key: rows[key] for key in keys if key in rows}
        wanted = {self.value(key) for key in keys}
        return {key: row for key, row in rows.items() if self.value(key) in wanted}

    def spellings(self, target: Target) -> bool:
        """See Front.spellings."""
        return self.value is not None

    def write(
        self, target: Target, rows: Mapping[Key, Written], batch: int, most: int = 0
    ) -> dict[Key, str]:
        """See Front.write."""

        def some(keys: Sequence[Key]) -> None:
            for key in keys:
                self._refuse_row(target, key, rows[key].row)
            for key in keys:
                self._put(target, key, rows[key].row)

        deleted = [key for key, written in rows.items() if written.row is None]
        upserted = [key for key, written in rows.items() if written.row is not None]
        before = dict(self._transaction.tables[target.name])
        try:
            refused = isolate_refused(deleted, some, most)
            refused |= isolate_refused(upserted, some, most - len(refused))
        except RowRefused:
            self._transaction.tables[target.name] = before
            raise
        return {key: str(error.values["reason"]) for key, error in refused.items()}

    def _refuse_row(self, target: Target, key: Key, row: FrontRow | None) -> None:
        """Raises RowRefused where the table refuses a row; to delete none is never refused."""
        if row is None and key not in self._transaction.tables[target.name]:
            return
        reason = self.refuses(target, key, row)
        if reason is not None:
            raise RowRefused(resource=target.resource, table=target.name, reason=reason)

    def _put(self, target: Target, key: Key, row: FrontRow | None) -> None:
        table = self._transaction.tables[target.name]
        if row is None:
            table.pop(key, None)
            return
        if self.value is not None:
            for other in self.fetch(target, [key]):
                del table[other]
        table[key] = row

    def insert(
        self, target: Target, rows: Mapping[Key, Written], batch: int, most: int = 0
    ) -> dict[Key, str]:
        """See Front.insert."""
        assert not self._transaction.tables[target.name].keys() & rows.keys(), "a key is taken"
        return self.write(target, rows, batch, most)

    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """See Front.keys_after: an order that no source has."""
        keys = sorted(self._transaction.tables[target.name], key=_own_order)
        if after is not None:
            past = _own_order(after)
            keys = [key for key in keys if _own_order(key) > past]
        return keys[:limit]

    def same_order(self, target: Target) -> bool:
        """See Front.same_order."""
        return self.ordered

    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """See Front.lines: in the order of numbers."""
        found = []
        for key, row in self._transaction.tables[target.name].items():
            number = _number(key)
            if after is not None and number <= _number(after):
                continue
            if upto is None or number <= _number(upto):
                found.append(line_of(row))
        return found

    def count(self, target: Target) -> int:
        """See Front.count."""
        return len((self._open or self.durable).tables[target.name])

    def set_state(self, resource: str, state: str, copy: Copy | None) -> None:
        """See Front.set_state."""
        _move(self._transaction, resource, state, copy)

    def note_holes(self, resource: str, holes: Collection[Key], filled: Collection[Key]) -> None:
        """See Front.note_holes."""
        kept = self._transaction.holes.setdefault(resource, set())
        kept.difference_update(filled)
        kept.update(holes)

    def withhold(
        self, resource: str, withheld: Mapping[Key, bool], released: Collection[Key]
    ) -> None:
        """See Front.withhold."""
        kept = self._transaction.withheld.setdefault(resource, {})
        for key in released:
            kept.pop(key, None)
        kept.update(withheld)

    def refuse(
        self, resource: str, refused: Mapping[Key, Refused], healed: Collection[Key]
    ) -> None:
        """See Front.refuse."""
        kept = self._transaction.refused.setdefault(resource, {})
        for key in healed:
            kept.pop(key, None)
        kept.update(refused)

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """See Front.topic_keys."""
        return self._transaction.topic_keys.get(resource, [])[:limit]

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """See Front.forget_topic_keys."""
        self._transaction.topic_keys[resource] = [
            key for key in self._transaction.topic_keys.get(resource, []) if key not in keys
        ]

    def keep_shared_keys(self, resource: str, texts: Mapping[Key, str]) -> None:
        """See Front.keep_shared_keys."""
        kept = self._transaction.occupants.setdefault(resource, {})
        kept.update(texts)

    def shared_keys(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """See Front.shared_keys."""
        kept = self._transaction.occupants.get(resource, {})
        return {key: kept[key] for key in keys if kept.get(key)}

    def forget_shared_keys(self, resource: str) -> None:
        """See Front.forget_shared_keys."""
        self._transaction.occupants.pop(resource, None)

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """See Front.keep_fingerprint."""
        (self._open or self.durable).fingerprints[resource] = parts

    def outbox_bytes(self) -> int:
        """See Front.outbox_bytes."""
        return sum(len(batch.payload) for batch in self.durable.outbox)

    def requests(self) -> list[Request]:
        """See Front.requests."""
        return [
            request._replace(running=state == "running")
            for request, state, _ in self.durable.requests.values()
            if state in ("asked", "running")
        ]

    def answer(self, request: str, state: str, report: Mapping[str, Any]) -> bool:
        """See Front.answer."""
        if request not in self.durable.requests:
            return False
        (self._open or self.durable).requests[request] = (
            self.durable.requests[request][0],
            state,
            report,
        )
        return True

    def store(self, batch: Batch, time_us: int) -> None:
        """See Front.store."""
        self._transaction.outbox.append(batch)

    def commit(self, progress: Progress) -> None:
        """See Front.commit."""
        done, before = self._transaction, self.durable.stored
        if before.epoch != self._epoch:
            raise AnotherAgent(holder="its epoch was raised")

        resources = {}
        for name, state in before.resources.items():
            seq, _ = progress.seqs.get(name, (state.seq, 0))
            now = done.stored.resources[name].state
            resources[name] = state._replace(state=now, seq=seq)
        stored = before._replace(
            position=progress.position,
            token=progress.token,
            position_time_us=progress.position_time_us,
            commit=progress.commit,
            number=progress.number,
            batch=progress.batch,
            resources=resources,
        )
        transactions = done.transactions
        if progress.transactions:
            transactions = [*transactions, tuple(progress.transactions)]

        # Others ask and withdraw meanwhile
        requests = {}
        for key, asked in self.durable.requests.items():
            requests[key] = done.requests.get(key, asked)

        durable = self.durable
        durable.stored, durable.requests = stored, requests
        durable.tables, durable.outbox, durable.transactions = (
            done.tables,
            done.outbox,
            transactions,
        )
        durable.copies, durable.holes = done.copies, done.holes
        durable.fingerprints, durable.occupants = done.fingerprints, done.occupants
        durable.withheld, durable.refused = done.withheld, done.refused
        durable.topic_keys = done.topic_keys
        self._open = None

    def rollback(self) -> None:
        """See Front.rollback."""
        self._open = None

    def prune(self, visible: Visible) -> None:
        """See Front.prune."""
        self._transaction.transactions = [
            applied
            for applied in self._transaction.transactions
            if not all(visible.sees(number) for number in applied)
        ]

    def suspend(self, error: Suspend) -> None:
        """See Front.suspend."""
        name = error.resource
        copy = Copy(republish=True) if self._republishes(name) else None
        _move(self.durable, name, "suspended", copy)
        self.durable.holes.pop(name, None)
        self.durable.suspended[name] = error.code

    def start_copy(self, resource: str, copy: Copy) -> None:
        """See Front.start_copy."""
        republish = copy.republish or self._republishes(resource)
        _move(self.durable, resource, "copying", copy._replace(republish=republish))

    def _republishes(self, resource: str) -> bool:
        """Whether the copy of a table publishes every row again."""
        return self.durable.copies.get(resource, Copy()).republish

    def begin_generation(self, resource: str, copy: Copy) -> None:
        """See Front.begin_generation."""
        states = self.durable.stored.resources
        before = states[resource]
        new = before._replace(generation=before.generation + 1, seq=0)
        self.durable.stored = self.durable.stored._replace(resources={**states, resource: new})
        _move(self.durable, resource, "copying", copy)

    def close(self) -> None:
        """See Front.close."""
        self._open = None
        if self.durable.holder is self:
            self.durable.holder = None


def _move(durable: Durable, resource: str, state: str, copy: Copy | None) -> None:
    states = dict(durable.stored.resources)
    states[resource] = states[resource]._replace(state=state)
    durable.stored = durable.stored._replace(resources=states)
    durable.copies.pop(resource, None)
    if copy is not None:
        durable.copies[resource] = copy


def _own_order(key: Key) -> tuple[str, ...]:
    return tuple(part[::-1] for part in key)


def _number(key: Key) -> list[int]:
    return [int(part) for part in key]


def empty_store(topics: Mapping[str, str], tables: Sequence[str], position: str = "0/0") -> Durable:
    """Makes a front end whose tables are live and empty: `topics` by resource, `tables` by name."""
    states = {name: ResourceState("live", topic, 1, 0) for name, topic in topics.items()}
    stored = Stored(
        "memory",
        {"system_id": "1", "timeline": 1, "slot": "slot", "publication": ""},
        0,
        position,
        time.time_ns() // 1000,
        CommitMark("", 0, 0),
        0,
        0,
        states,
    )
    return Durable(stored, {name: {} for name in tables})
