"""The part of a front end that is the same on every SQL database: lock and epoch, state, outbox, transaction."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import Connection, Engine, delete, insert, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from agent.errors import AgentError, AnotherAgent, FrontUnreachable, NotInitialised, Suspend
from agent.events.changes import Snapshot
from agent.front.base import CommitMark, Progress, ResourceState, Stored, Written
from agent.front.outbox import CHUNK, Batch
from agent.front.schema import applied, metadata, outbox, published, resource, state
from agent.resource import FrontRow, Key, Target


class SqlFront(ABC):
    """Keeps the contract of `Front` with SQLAlchemy; a subclass adds what its database does in its own way."""

    errors: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError,)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._asked_at: float | None = None
        self.epoch = 0
        self._connection: Connection | None = None

    # ---- what a database does in its own way

    @abstractmethod
    def lock(self, connection: Connection) -> None:
        """Takes the lock that keeps a second agent out, for the life of this process or connection. Raises AnotherAgent."""

    @abstractmethod
    def unlock(self) -> None:
        """Gives the lock back, where closing the connection does not."""

    @abstractmethod
    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """Our error for the driver's; `target` is the table written to, if any."""

    @abstractmethod
    def column_type(self, target: Target, index: int) -> str:
        """The type (with collation) that holds the source column exactly."""

    @abstractmethod
    def check(self, target: Target) -> None:
        """See Front.check."""

    @abstractmethod
    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""

    @abstractmethod
    def write(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See Front.write."""

    @abstractmethod
    def first_keys(self, target: Target, limit: int) -> list[Key]:
        """See Front.first_keys."""

    # ---- opening

    def open(self, nonce: str) -> Stored:
        """See Front.open."""
        self.close()
        try:
            return self._opened(nonce)
        except AgentError:
            self.close()
            raise

    def _opened(self, nonce: str) -> Stored:
        with self.guarded():
            self._connection = self.engine.connect()
            self.lock(self._connection)
            if not inspect(self._connection).has_table(state.name):
                raise NotInitialised(what="the agent's tables in the front end")
            self._connection.rollback()
            row = self._connection.execute(select(state)).mappings().one_or_none()
            if row is None or not row["initialised"]:
                raise NotInitialised(what="the state in the front end")
            self.epoch = int(row["epoch"]) + 1
            self._connection.execute(update(state).values(epoch=self.epoch, nonce=nonce))
            resources = self._connection.execute(select(resource)).mappings().all()
            self._connection.commit()
        return Stored(
            source_id=row["source_id"],
            system_id=row["system_id"],
            timeline=row["timeline"],
            slot=row["slot"],
            epoch=self.epoch,
            position=row["position"],
            position_time_us=row["position_time_us"],
            commit=CommitMark(row["commit_position"], row["commit_xid"], row["commit_time_us"]),
            number=row["number"],
            batch=row["batch"],
            resources={r["name"]: ResourceState(r["state"], r["topic"], r["generation"], r["seq"]) for r in resources},
        )

    def create(self, target: Target) -> bool:
        """Creates the front-end table unless it exists; True if it did. Runs outside of `begin` … `commit`, commits."""
        with self.guarded(target), self.engine.begin() as connection:
            if inspect(connection).has_table(target.table, schema=target.schema):
                return False
            connection.execution_options(no_parameters=True).exec_driver_sql(self.create_statement(target))
            return True

    def create_statement(self, target: Target) -> str:
        """The CREATE TABLE of a front-end table."""
        keys = set(target.key)
        lines = [
            f"{self.quote(column.name)} {self.column_type(target, i)}" + (" NOT NULL" if column.not_null or i in keys else "")
            for i, column in enumerate(target.columns)
        ]
        lines += [f"{self.quote(name)} {self.technical_type(role)}" for role, name in target.technical.items()]
        lines.append(f"PRIMARY KEY ({self.names(target.columns[i].name for i in target.key)})")
        return f"CREATE TABLE {self.table(target)} (\n    " + ",\n    ".join(lines) + "\n)"

    # ---- the one transaction

    def begin(self) -> None:
        """See Front.begin."""
        if not self.connection.in_transaction():
            with self.guarded():
                self.connection.begin()

    def store(self, batch: Batch, time_us: int) -> None:
        """See Front.store."""
        rows = [
            {
                "batch": batch.batch,
                "part": part,
                "first_number": batch.first_number,
                "last_number": batch.last_number,
                "time_us": time_us,
                "payload": batch.payload[start : start + CHUNK],
            }
            for part, start in enumerate(range(0, len(batch.payload), CHUNK))
        ]
        with self.guarded():
            self.connection.execute(insert(outbox), rows)

    def commit(self, progress: Progress) -> None:
        """See Front.commit."""
        with self.guarded():
            moved = self.connection.execute(
                update(state)
                .where(state.c.epoch == self.epoch)
                .values(
                    position=progress.position,
                    position_time_us=progress.position_time_us,
                    commit_position=progress.commit.position,
                    commit_xid=progress.commit.xid,
                    commit_time_us=progress.commit.time_us,
                    number=progress.number,
                    batch=progress.batch,
                )
            )
            if moved.rowcount != 1:
                raise AnotherAgent(holder="its epoch was raised")
            for name, (seq, time_us) in progress.seqs.items():
                self.connection.execute(update(resource).where(resource.c.name == name).values(seq=seq, event_time_us=time_us))
            if progress.xids:
                self.connection.execute(insert(applied).values(batch=progress.batch, xids=json.dumps(list(progress.xids))))
            self.connection.commit()

    def prune(self, snapshot: Snapshot) -> None:
        """See Front.prune."""
        with self.guarded():
            rows = self.connection.execute(select(applied.c.batch, applied.c.xids)).all()
            seen = [batch for batch, xids in rows if all(snapshot.sees(xid) for xid in json.loads(xids))]
            if seen:
                self.connection.execute(delete(applied).where(applied.c.batch.in_(seen)))

    def rollback(self) -> None:
        """See Front.rollback."""
        with suppress(SQLAlchemyError):
            if self._connection is not None:
                self._connection.rollback()

    def suspend(self, error: Suspend) -> None:
        """See Front.suspend."""
        with self.guarded():
            details = json.dumps(error.values, ensure_ascii=False, default=str)
            self.connection.execute(update(resource).where(resource.c.name == error.resource).values(state="suspended", code=error.code, details=details))
            self.connection.commit()

    def close(self) -> None:
        """See Front.close."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None
        self.unlock()

    # ---- init

    def initialise(self, identity: Mapping[str, object], topics: Mapping[str, str]) -> None:
        """Creates the agent's tables and rows that are missing; `identity` holds sync_agent_state's columns, `topics` one topic per resource. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            metadata.create_all(connection)
            if connection.execute(select(state.c.id)).first() is None:
                connection.execute(insert(state).values(id=1, **identity))
                connection.execute(insert(published).values(id=1, number=0, event_id="", batch=0, position="", time_us=0))
            known = set(connection.execute(select(resource.c.name)).scalars())
            for name, topic in topics.items():
                if name not in known:
                    fresh = {"state": "live", "code": "", "details": "{}", "generation": 1, "seq": 0, "event_time_us": 0}
                    connection.execute(insert(resource).values(name=name, topic=topic, **fresh))

    def update_state(self, **values: object) -> None:
        """Changes the state row during init. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(update(state).values(**values))

    def stored_state(self) -> Mapping[str, object] | None:
        """The state row, or None where `initialise` has not run."""
        with self.guarded(), self.engine.connect() as connection:
            if not inspect(connection).has_table(state.name):
                return None
            row = connection.execute(select(state)).mappings().one_or_none()
            return dict(row) if row is not None else None

    # ---- pieces for subclasses

    @property
    def connection(self) -> Connection:
        """The writing connection."""
        if self._connection is None:
            raise FrontUnreachable(reason="not connected")
        return self._connection

    @contextmanager
    def guarded(self, target: Target | None = None) -> Iterator[None]:
        """Turns database errors, the driver's or SQLAlchemy's, into ours; meanwhile `silent_since` tells since when the answer is open."""
        self._asked_at = time.monotonic()
        try:
            yield
        except self.errors as error:
            raise self.error(getattr(error, "orig", None) or error, target) from None
        finally:
            self._asked_at = None

    def silent_since(self) -> float | None:
        """See Front.silent_since."""
        return self._asked_at

    def quote(self, name: str) -> str:
        """An identifier, always quoted."""
        return '"' + name.replace('"', '""') + '"'

    def names(self, names: Iterator[str] | Sequence[str]) -> str:
        """A comma-separated list of quoted identifiers."""
        return ", ".join(self.quote(name) for name in names)

    def table(self, target: Target) -> str:
        """The quoted front-end table."""
        return f"{self.quote(target.schema)}.{self.quote(target.table)}" if target.schema else self.quote(target.table)

    def technical_type(self, role: str) -> str:
        """Type of a technical column."""
        return {"operation": "CHAR(1)", "deleted": "SMALLINT", "sequence": "BIGINT", "batch": "BIGINT"}.get(role, "TIMESTAMP")

    def technical_values(self, target: Target, written: Written, batch: int) -> tuple[object, ...]:
        """Values of the technical columns in the target's order; times are UTC."""
        if not target.technical:
            return ()
        values: dict[str, object] = {
            "operation": written.operation,
            "deleted": 1 if written.operation == "D" else 0,
            "sequence": written.seq,
            "batch": batch,
            "source_time": self.timestamp(written.time_us),
            "sync_time": self.timestamp(time.time_ns() // 1000),
        }
        return tuple(values[role] for role in target.technical)

    @staticmethod
    def timestamp(time_us: int) -> str:
        """Microseconds since 1970 as ISO 8601 in UTC."""
        return datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
