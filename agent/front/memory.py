"""The front end in memory: a twin for tests and models that keeps the contract of `Front`.

Crashes are a part of it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from agent.connectors.base import Visible
from agent.errors import AnotherAgent, FrontTableWrong, FrontUnreachable, RowRefused, Suspend
from agent.front.base import Batch, Copy, Progress, Refused, Request, Stored, Written
from agent.front.bisection import isolate_refused
from agent.front.durable import Durable
from agent.resource import FrontRow, Target
from agent.values.lines import line_of
from agent.values.rows import Key


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
            reason = "it does not exist"
            raise FrontTableWrong(resource=target.resource, table=target.name, reason=reason)

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

    @property
    def _current(self) -> Durable:
        """What the transaction sees; without one, what is durable."""
        if self._open is None:
            return self.durable
        return self._open

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""
        rows = self._transaction.tables[target.name]
        if self.value is None:
            return _some(rows, keys)

        wanted = {self.value(key) for key in keys}
        found = {}
        for key, row in rows.items():
            if self.value(key) in wanted:
                found[key] = row
        return found

    def spellings(self, target: Target) -> bool:
        """See Front.spellings."""
        return self.value is not None

    def write(
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int = 0,
    ) -> dict[Key, str]:
        """See Front.write."""

        def some(keys: Sequence[Key]) -> None:
            for key in keys:
                self._refuse_row(target, key, rows[key].row)
            for key in keys:
                self._put(target, key, rows[key].row)

        deleted = []
        upserted = []
        for key, written in rows.items():
            if written.row is None:
                deleted.append(key)
            else:
                upserted.append(key)

        tables = self._transaction.tables
        before = dict(tables[target.name])
        try:
            refused = isolate_refused(deleted, some, most)
            refused |= isolate_refused(upserted, some, most - len(refused))
        except RowRefused:
            tables[target.name] = before
            raise

        reasons = {}
        for key, error in refused.items():
            reasons[key] = str(error.values["reason"])
        return reasons

    def _refuse_row(self, target: Target, key: Key, row: FrontRow | None) -> None:
        """Raises RowRefused where the table refuses a row; to delete none is never refused."""
        table = self._transaction.tables[target.name]
        if row is None and key not in table:
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
        self,
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int = 0,
    ) -> dict[Key, str]:
        """See Front.insert."""
        table = self._transaction.tables[target.name]
        taken = table.keys() & rows.keys()
        assert not taken, "a key is taken"
        return self.write(target, rows, batch, most)

    def keys_after(
        self,
        target: Target,
        after: Key | None,
        limit: int,
    ) -> list[Key]:
        """See Front.keys_after: an order that no source has."""
        table = self._transaction.tables[target.name]
        keys = sorted(table, key=_own_order)
        if after is not None:
            past = _own_order(after)
            keys = [key for key in keys if _own_order(key) > past]
        return keys[:limit]

    def same_order(self, target: Target) -> bool:
        """See Front.same_order."""
        return self.ordered

    def lines(
        self,
        target: Target,
        after: Key | None,
        upto: Key | None,
    ) -> list[bytes]:
        """See Front.lines: in the order of numbers."""
        table = self._transaction.tables[target.name]
        found = []
        for key, row in table.items():
            number = _number(key)
            if after is not None and number <= _number(after):
                continue
            if upto is None or number <= _number(upto):
                found.append(line_of(row))
        return found

    def count(self, target: Target) -> int:
        """See Front.count."""
        table = self._current.tables[target.name]
        return len(table)

    def set_state(self, resource: str, state: str, copy: Copy | None) -> None:
        """See Front.set_state."""
        self._transaction.move(resource, state, copy)

    def note_holes(
        self,
        resource: str,
        holes: Collection[Key],
        filled: Collection[Key],
    ) -> None:
        """See Front.note_holes."""
        kept = self._transaction.holes.setdefault(resource, set())
        kept.difference_update(filled)
        kept.update(holes)

    def withhold(
        self,
        resource: str,
        withheld: Mapping[Key, bool],
        released: Collection[Key],
    ) -> None:
        """See Front.withhold."""
        kept = self._transaction.withheld.setdefault(resource, {})
        for key in released:
            kept.pop(key, None)
        kept.update(withheld)

    def refuse(
        self,
        resource: str,
        refused: Mapping[Key, Refused],
        healed: Collection[Key],
    ) -> None:
        """See Front.refuse."""
        kept = self._transaction.refused.setdefault(resource, {})
        for key in healed:
            kept.pop(key, None)
        kept.update(refused)

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """See Front.topic_keys."""
        kept = self._transaction.topic_keys.get(resource, [])
        return kept[:limit]

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """See Front.forget_topic_keys."""
        topic_keys = self._transaction.topic_keys
        kept = topic_keys.get(resource, [])
        topic_keys[resource] = [key for key in kept if key not in keys]

    def keep_shared_keys(self, resource: str, texts: Mapping[Key, str]) -> None:
        """See Front.keep_shared_keys."""
        kept = self._transaction.shared_keys.setdefault(resource, {})
        kept.update(texts)

    def shared_keys(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """See Front.shared_keys."""
        kept = self._transaction.shared_keys.get(resource, {})
        found = {}
        for key in keys:
            text = kept.get(key)
            if text:
                found[key] = text
        return found

    def forget_shared_keys(self, resource: str) -> None:
        """See Front.forget_shared_keys."""
        self._transaction.shared_keys.pop(resource, None)

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """See Front.keep_fingerprint."""
        self._current.fingerprints[resource] = parts

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
        asked, _, _ = self.durable.requests[request]
        self._current.requests[request] = (asked, state, report)
        return True

    def store(self, batch: Batch, time_us: int) -> None:
        """See Front.store."""
        self._transaction.outbox.append(batch)

    def commit(self, progress: Progress) -> None:
        """See Front.commit."""
        done = self._transaction
        before = self.durable.stored
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
        durable.stored = stored
        durable.requests = requests
        durable.transactions = transactions
        durable.tables = done.tables
        durable.outbox = done.outbox
        durable.copies = done.copies
        durable.holes = done.holes
        durable.fingerprints = done.fingerprints
        durable.shared_keys = done.shared_keys
        durable.withheld = done.withheld
        durable.refused = done.refused
        durable.topic_keys = done.topic_keys
        self._open = None

    def rollback(self) -> None:
        """See Front.rollback."""
        self._open = None

    def prune(self, visible: Visible) -> None:
        """See Front.prune."""
        transaction = self._transaction
        kept = []
        for applied in transaction.transactions:
            if not all(visible.sees(number) for number in applied):
                kept.append(applied)
        transaction.transactions = kept

    def suspend(self, error: Suspend) -> None:
        """See Front.suspend."""
        name = error.resource
        copy = None
        if self._republishes(name):
            copy = Copy(republish=True)

        self.durable.move(name, "suspended", copy)
        self.durable.holes.pop(name, None)
        self.durable.suspended[name] = error.code

    def start_copy(self, resource: str, copy: Copy) -> None:
        """See Front.start_copy."""
        republish = copy.republish or self._republishes(resource)
        new = copy._replace(republish=republish)
        self.durable.move(resource, "copying", new)

    def _republishes(self, resource: str) -> bool:
        """Whether the copy of a table publishes every row again."""
        copy = self.durable.copies.get(resource)
        return copy is not None and copy.republish

    def begin_generation(self, resource: str, copy: Copy) -> None:
        """See Front.begin_generation."""
        stored = self.durable.stored
        before = stored.resources[resource]
        new = before._replace(generation=before.generation + 1, seq=0)
        resources = {**stored.resources, resource: new}

        self.durable.stored = stored._replace(resources=resources)
        self.durable.move(resource, "copying", copy)

    def close(self) -> None:
        """See Front.close."""
        self._open = None
        if self.durable.holder is self:
            self.durable.holder = None


def _some(rows: Mapping[Key, FrontRow], keys: Collection[Key]) -> dict[Key, FrontRow]:
    """Returns the rows of these keys, as far as there are any."""
    found = {}
    for key in keys:
        if key in rows:
            found[key] = rows[key]
    return found


def _own_order(key: Key) -> tuple[str, ...]:
    return tuple(part[::-1] for part in key)


def _number(key: Key) -> list[int]:
    return [int(part) for part in key]
