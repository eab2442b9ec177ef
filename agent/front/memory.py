"""The front end in memory: a twin for tests and models that keeps the contract of `Front`, crashes included."""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from agent.errors import AnotherAgent, FrontTableWrong, FrontUnreachable, Suspend
from agent.events.changes import Snapshot
from agent.front.base import CommitMark, Progress, ResourceState, Stored, Written
from agent.front.outbox import Batch
from agent.resource import FrontRow, Key, Target


@dataclass
class Durable:
    """What survives a crash: the tables, the outbox and the state."""

    stored: Stored
    tables: dict[str, dict[Key, FrontRow]] = field(default_factory=dict)
    outbox: list[Batch] = field(default_factory=list)
    xids: list[tuple[int, ...]] = field(default_factory=list)
    suspended: dict[str, str] = field(default_factory=dict)  # resource -> error code
    holder: object = None


class MemoryFront:
    """See Front. Several fronts may share one `Durable`; dropping a front without `close` is a crash (`Durable.holder` then stays)."""

    def __init__(self, durable: Durable) -> None:
        self.durable = durable
        self._open: Durable | None = None  # the transaction: a copy that replaces the durable content at commit
        self._epoch = 0

    def silent_since(self) -> float | None:
        """See Front.silent_since: memory answers at once."""
        return None

    def open(self, nonce: str) -> Stored:
        """See Front.open."""
        if self.durable.holder not in (None, self):
            raise AnotherAgent(holder="another front")
        self.durable.holder = self
        self._epoch = self.durable.stored.epoch + 1
        self.durable.stored = self.durable.stored._replace(epoch=self._epoch)
        return self.durable.stored

    def check(self, target: Target) -> None:
        """See Front.check."""
        if target.name not in self.durable.tables:
            raise FrontTableWrong(table=target.name, reason="it does not exist")

    def begin(self) -> None:
        """See Front.begin."""
        if self._open is None:
            d = self.durable
            self._open = Durable(d.stored, deepcopy(d.tables), list(d.outbox), list(d.xids), dict(d.suspended))

    @property
    def _transaction(self) -> Durable:
        if self._open is None:
            raise FrontUnreachable(reason="no transaction is open")
        return self._open

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""
        rows = self._transaction.tables[target.name]
        return {key: rows[key] for key in keys if key in rows}

    def write(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See Front.write."""
        table = self._transaction.tables[target.name]
        for key in [key for key, written in rows.items() if written.row is None]:
            table.pop(key, None)
        table.update({key: written.row for key, written in rows.items() if written.row is not None})

    def first_keys(self, target: Target, limit: int) -> list[Key]:
        """See Front.first_keys."""
        return sorted(self._transaction.tables[target.name])[:limit]

    def store(self, batch: Batch, time_us: int) -> None:
        """See Front.store."""
        self._transaction.outbox.append(batch)

    def commit(self, progress: Progress) -> None:
        """See Front.commit."""
        done, before = self._transaction, self.durable.stored
        if before.epoch != self._epoch:
            raise AnotherAgent(holder="its epoch was raised")
        resources = {name: state._replace(seq=progress.seqs.get(name, (state.seq, 0))[0]) for name, state in before.resources.items()}
        self.durable.stored = before._replace(
            position=progress.position,
            position_time_us=progress.position_time_us,
            commit=progress.commit,
            number=progress.number,
            batch=progress.batch,
            resources=resources,
        )
        self.durable.tables, self.durable.outbox = done.tables, done.outbox
        self.durable.xids = [*done.xids, tuple(progress.xids)] if progress.xids else done.xids
        self._open = None

    def rollback(self) -> None:
        """See Front.rollback."""
        self._open = None

    def prune(self, snapshot: Snapshot) -> None:
        """See Front.prune."""
        self._transaction.xids = [xids for xids in self._transaction.xids if not all(snapshot.sees(xid) for xid in xids)]

    def suspend(self, error: Suspend) -> None:
        """See Front.suspend."""
        states = dict(self.durable.stored.resources)
        states[error.resource] = states[error.resource]._replace(state="suspended")
        self.durable.stored = self.durable.stored._replace(resources=states)
        self.durable.suspended[error.resource] = error.code

    def close(self) -> None:
        """See Front.close."""
        self._open = None
        if self.durable.holder is self:
            self.durable.holder = None


def empty_store(topics: Mapping[str, str], tables: Sequence[str], position: str = "0/0") -> Durable:
    """A front end as init leaves it: `topics` by resource, empty `tables`."""
    states = {name: ResourceState("live", topic, 1, 0) for name, topic in topics.items()}
    stored = Stored("memory", "1", 1, "slot", 0, position, time.time_ns() // 1000, CommitMark("", 0, 0), 0, 0, states)
    return Durable(stored, {name: {} for name in tables})
