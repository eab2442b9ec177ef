"""The part of a front end that is the same on every SQL database: opening with lock and epoch, the one transaction, identifiers."""

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete, insert, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from agent import failpoints
from agent.config import ResourceSettings
from agent.connectors.base import Visible
from agent.connectors.resume import CommitMark
from agent.errors import (
    AgentError,
    AnotherAgent,
    FrontDamaged,
    FrontTableWrong,
    NotInitialised,
    RowRefused,
)
from agent.front import layout
from agent.front.base import (
    PART,
    Batch,
    Progress,
    Refused,
    ResourceState,
    Stored,
    Written,
    copy_of,
)
from agent.front.bisection import isolate_refused
from agent.front.catalogue import ASTRAY, Catalogue, Hazard, with_remedy
from agent.front.table_owners import TableOwners
from agent.messages import phrase
from agent.resource import FrontRow, Target
from agent.values.rows import Key

SAVEPOINT = "sync_agent"
SWALLOWED = f"{ASTRAY}: the table took it without an error, and does not have it"


class SqlFront(TableOwners):
    """Keeps the contract of `Front` with SQLAlchemy; a subclass adds what its database does in its own way."""

    def __init__(self, engine: Engine, agent: str) -> None:
        super().__init__(engine, agent)
        self.epoch = 0
        # By resource, as `check` found them: triggers and rules that may leave other rows than were written
        self._rewriting: dict[str, str] = {}
        self._at = ("", 0)  # position and batch as they were read or written last
        self.alive: Callable[[], object] = lambda: None  # called while something takes long
        self.saving = False  # within `saved`

    # ---- what a database does in its own way

    @abstractmethod
    def take_lock(self, connection: Connection, former: bool) -> None:
        """Takes this agent's lock, or the one of version 0.1, for the life of this process or connection. Raises AnotherAgent."""

    def examine(self, connection: Connection, after_clean_end: bool = False) -> None:
        """Raises FrontDamaged where the database has damaged pages. `after_clean_end`: only unless its last writer came to a clean end.

        Nothing is done where a server watches over its own pages and says so when it reads one.
        """

    def check_rights(self, connection: Connection) -> None:
        """Raises FrontUnfit where the agent's user lacks a right that every table takes; the reason holds the GRANT."""

    def housekeeping(self) -> int:
        """See Front.housekeeping."""
        return 0

    @abstractmethod
    def unlock(self) -> None:
        """Gives the lock back, where closing the connection does not."""

    @abstractmethod
    def column_type(self, target: Target, index: int) -> str:
        """The type (with collation) that holds the source column exactly."""

    @abstractmethod
    def check_shape(self, target: Target) -> None:
        """Raises FrontTableWrong where the table is missing, or its columns and key could not hold every row exactly."""

    @abstractmethod
    def look(self, connection: Connection, target: Target) -> Catalogue:
        """Reads what the catalogue says of the table; empty parts where it is missing."""

    @abstractmethod
    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""

    @abstractmethod
    def spellings(self, target: Target) -> bool:
        """See Front.spellings."""

    @abstractmethod
    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """Makes the table hold these rows, deletes first. Raises RowRefused where it refuses one for its content."""

    def add(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """The same for rows under keys that are certain to hold none."""
        self.put(target, rows, batch)

    @abstractmethod
    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """See Front.keys_after."""

    @abstractmethod
    def same_order(self, target: Target) -> bool:
        """See Front.same_order."""

    @abstractmethod
    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """See Front.lines."""

    # ---- the tables as others may have altered them

    @contextmanager
    def looking(self, target: Target | None = None) -> Iterator[Connection]:
        """A connection beside the writing one, which locks nothing. `target`: the one table it is for."""
        with self.guarded(target), self.engine.connect() as connection:
            yield connection.execution_options(reader=True)

    def check(self, target: Target) -> None:
        """See Front.check."""
        self.check_shape(target)
        found = self._looked(target)
        found.check(target)
        self._rewriting[target.resource] = found.rewriting

    def astray(self, target: Target, rows: Mapping[Key, Written]) -> list[Key]:
        """The keys of rows just written that do not stand as given, though no statement failed: a trigger or rule has been at them.

        Rows are read back only where the table has triggers or rules. Rides in the open transaction.
        """
        if not rows or not self._rewriting.get(target.resource):
            return []
        found = self.fetch(target, list(rows))
        return [key for key, written in rows.items() if found.get(key) != written.row]

    def insist(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """Raises RowRefused where rows just written do not stand as given."""
        astray = self.astray(target, rows)
        if astray:
            by = self._rewriting[target.resource]
            reason = phrase(
                "{code}: {count} rows were changed or left out by a trigger or rule ({by})",
                code=ASTRAY,
                count=len(astray),
                by=by,
            )
            raise RowRefused(resource=target.resource, table=target.name, reason=reason)

    def swallowed(self, target: Target) -> RowRefused:
        """Makes the error for rows that a statement took without an error, and that are not there."""
        by = self._rewriting.get(target.resource)
        reason = f"{SWALLOWED} ({by})" if by else SWALLOWED
        return RowRefused(resource=target.resource, table=target.name, reason=reason)

    def catalogue(self, target: Target) -> Mapping[str, str]:
        """See Front.catalogue."""
        return self._looked(target).parts

    def hazards(self, target: Target) -> Sequence[Hazard]:
        """What can change or refuse rows of a table that is fit."""
        return [hazard for hazard in self._looked(target).hazards if not hazard.reason]

    def _looked(self, target: Target) -> Catalogue:
        with self.looking(target) as connection:
            return self.look(connection, target)

    # ---- opening

    def lock(self, connection: Connection) -> None:
        """Keeps a second process of this agent out. Raises AnotherAgent.

        While its tables have their former names a process of version 0.1 may be at work, which knows the former lock only.
        """
        self.take_lock(connection, former=False)
        if layout.find(connection, self.agent).of_the_first_version:
            self.take_lock(connection, former=True)

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
            self.check_rights(self._connection)
            self.examine(self._connection, after_clean_end=True)
            self._connection.rollback()
            self.adopt(self._connection)
            if not inspect(self._connection).has_table(self.own.state.name):
                raise NotInitialised(what=phrase("the agent's tables in the front end"))
            self._connection.rollback()
            row = self._connection.execute(select(self.own.state)).mappings().one_or_none()
            if row is None or not row["initialised"]:
                raise NotInitialised(what=phrase("the state in the front end"))
            self.epoch = int(row["epoch"]) + 1
            self._connection.execute(update(self.own.state).values(epoch=self.epoch, nonce=nonce))
            resources = self._connection.execute(select(self.own.resource)).mappings().all()
            progress = self._connection.execute(select(self.own.copies)).all()
            keys = self._connection.execute(
                select(self.own.holes.c.name, self.own.holes.c.row_key)
            ).all()
            too_large = self._connection.execute(
                select(
                    self.own.withheld.c.name, self.own.withheld.c.row_key, self.own.withheld.c.told
                )
            ).all()
            refusals = self._connection.execute(
                select(
                    self.own.refused.c.name,
                    self.own.refused.c.row_key,
                    self.own.refused.c.code,
                    self.own.refused.c.since_us,
                    self.own.refused.c.told,
                    self.own.refused.c.shown,
                )
            ).all()
            catalogued = self._connection.execute(select(self.own.fingerprints)).all()
            applied = self._connection.execute(select(self.own.applied.c.xids)).scalars().all()
            noted = layout.settings(self._connection, self.own)
            self._connection.commit()
        self._at = (row["position"], row["batch"])
        return Stored(
            source_id=row["source_id"],
            identity=json.loads(row["identity"]),
            epoch=self.epoch,
            position=row["position"],
            position_time_us=row["position_time_us"],
            commit=CommitMark(row["commit_position"], row["commit_xid"], row["commit_time_us"]),
            number=row["number"],
            batch=row["batch"],
            resources={
                r["name"]: ResourceState(r["state"], r["topic"], r["generation"], r["seq"])
                for r in resources
            },
            copies={name: copy_of(json.loads(text)) for name, text in progress},
            holes={
                r["name"]: {tuple(json.loads(key)) for name, key in keys if name == r["name"]}
                for r in resources
            },
            withheld={
                r["name"]: {
                    tuple(json.loads(key)): bool(told)
                    for name, key, told in too_large
                    if name == r["name"]
                }
                for r in resources
            },
            refused={
                r["name"]: {
                    tuple(json.loads(key)): Refused(*row)
                    for name, key, *row in refusals
                    if name == r["name"]
                }
                for r in resources
            },
            fingerprints={name: json.loads(text) for name, text in catalogued},
            settings=noted,
            token=row["token"],
            transactions=[number for text in applied for number in json.loads(text)],
        )

    def create(self, target: Target) -> bool:
        """Creates the front-end table unless it exists; True if it did. Runs outside of `begin` … `commit`, commits."""
        self.check_names(target)
        with self.guarded(target), self.engine.begin() as connection:
            if inspect(connection).has_table(target.table, schema=target.schema):
                return False
            self.check_room(target)
            connection.execution_options(no_parameters=True).exec_driver_sql(
                self.create_statement(target)
            )
            return True

    def check_names(self, target: Target) -> None:
        """Raises FrontTableWrong for a name that the database would cut, change or refuse, and for more columns than it holds."""
        columns = [*(column.name for column in target.columns), *target.technical.values()]
        self._check_names(target.resource, target.name, target.table, columns)

    def check_configured(self, settings: ResourceSettings) -> None:
        """The same before the source is known, from the configuration alone."""
        columns = [name for _, name in settings.front_columns]
        table = settings.target_name.rpartition(".")[2]
        self._check_names(settings.name, settings.target_name, table, columns)

    def _check_names(self, resource: str, shown: str, table: str, columns: Sequence[str]) -> None:
        for name in (table, *columns):
            fault = self.name_fault(name, of_table=name == table)
            if fault:
                reason = phrase(
                    "the name {name} {fault}; set target or rename", name=name, fault=fault
                )
                raise FrontTableWrong(resource=resource, table=shown, reason=reason)
        most = self.most_columns()
        if len(columns) > most:
            reason = phrase(
                "it would have {count} columns, and this database holds {most} in a table; share fewer",
                count=len(columns),
                most=most,
            )
            raise FrontTableWrong(resource=resource, table=shown, reason=reason)

    def check_room(self, target: Target) -> None:
        """Raises FrontTableWrong where the table that would be created is too wide for the database."""

    @abstractmethod
    def most_columns(self) -> int:
        """How many columns a table can have."""

    def create_statement(self, target: Target) -> str:
        """The CREATE TABLE of a front-end table."""
        keys = set(target.key)
        lines = [
            f"{self.quote(column.name)} {self.column_type(target, i)}"
            + (" NOT NULL" if column.not_null or i in keys else "")
            for i, column in enumerate(target.columns)
        ]
        lines += [
            f"{self.quote(name)} {self.technical_type(role)}"
            for role, name in target.technical.items()
        ]
        lines.append(f"PRIMARY KEY ({self.names(target.columns[i].name for i in target.key)})")
        return f"CREATE TABLE {self.table(target)} (\n    " + ",\n    ".join(lines) + "\n)"

    def alter(self, target: Target, change: str) -> str:
        """The statement that changes a front-end table, for its owner."""
        return f"ALTER TABLE {self.table(target)} {change};"

    def add_column(self, target: Target, index: int) -> str:
        """The statement that adds a shared column that the front-end table lacks; it may be empty in the rows that are there."""
        column = target.columns[index]
        return self.alter(
            target,
            f"ADD COLUMN {self.quote(column.name)} {self.column_type(target, index)}".rstrip(),
        )

    def missing(self, target: Target, index: int) -> FrontTableWrong:
        """The error for a shared column that the front-end table lacks. A part of the key cannot be empty, so no statement adds it."""
        name = target.columns[index].name
        reason = with_remedy(
            phrase("column {name} is missing", name=name), self.add_column(target, index)
        )
        if index in target.key:
            reason = phrase("key column {name} is missing", name=name)
        return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)

    def missing_technical(self, target: Target, role: str) -> FrontTableWrong:
        """The error for a technical column that the front-end table lacks."""
        name = target.technical[role]
        change = f"ADD COLUMN {self.quote(name)} {self.technical_type(role)}"
        reason = with_remedy(
            phrase("technical column {name} is missing", name=name), self.alter(target, change)
        )
        return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)

    # ---- the one transaction

    def begin(self) -> None:
        """See Front.begin."""
        if not self.connection.in_transaction():
            with self.guarded():
                self.connection.begin()

    def write(
        self, target: Target, rows: Mapping[Key, Written], batch: int, most: int = 0
    ) -> dict[Key, str]:
        """See Front.write."""
        return self._written(self.put, target, rows, batch, most)

    def insert(
        self, target: Target, rows: Mapping[Key, Written], batch: int, most: int = 0
    ) -> dict[Key, str]:
        """See Front.insert."""
        return self._written(self.add, target, rows, batch, most)

    def _written(
        self,
        write: Callable[[Target, Mapping[Key, Written], int], None],
        target: Target,
        rows: Mapping[Key, Written],
        batch: int,
        most: int,
    ) -> dict[Key, str]:
        """Writes a set at once; one that is refused is taken apart, its deletes first."""
        try:
            with self.saved(target, rows):
                write(target, rows, batch)
        except RowRefused:
            if most == 0:
                raise
        else:
            return {}

        def some(keys: Sequence[Key]) -> None:
            part = {key: rows[key] for key in keys}
            with self.saved(target, part):
                self.put(target, part, batch)

        gone = [key for key, written in rows.items() if written.row is None]
        kept = [key for key, written in rows.items() if written.row is not None]
        refused = isolate_refused(gone, some, most)
        refused |= isolate_refused(kept, some, most - len(refused))
        return {key: str(error.values["reason"])[:200] for key, error in refused.items()}

    @contextmanager
    def saved(self, target: Target, rows: Mapping[Key, Written]) -> Iterator[None]:
        """A refusal in this block leaves the open transaction as it was before the block; any other error ends it."""
        with self.guarded():
            self.save(target, rows)
        self.saving = True
        try:
            yield
        except RowRefused:
            with self.guarded():
                self.undo()
            raise
        finally:
            self.saving = False

    def save(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """Sets the savepoint to which `undo` goes back, in place of the one before."""
        self.connection.exec_driver_sql(f"SAVEPOINT {SAVEPOINT}")

    def undo(self) -> None:
        """Goes back to the savepoint."""
        self.connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")

    def store(self, batch: Batch, time_us: int) -> None:
        """See Front.store."""
        payload = batch.payload
        rows = [
            {
                "batch": batch.batch,
                "part": part,
                "first_number": batch.first_number,
                "last_number": batch.last_number,
                "time_us": time_us,
                "payload": payload[start : start + PART],
            }
            for part, start in enumerate(range(0, len(payload), PART))
        ]
        with self.guarded():
            self.connection.execute(insert(self.own.outbox), rows)

    def commit(self, progress: Progress) -> None:
        """See Front.commit."""
        failpoints.hit("before_ack_store")
        with self.guarded():
            moved = self.connection.execute(
                update(self.own.state)
                .where(
                    self.own.state.c.epoch == self.epoch,
                    self.own.state.c.position == self._at[0],
                    self.own.state.c.batch == self._at[1],
                )
                .values(
                    position=progress.position,
                    token=progress.token,
                    position_time_us=progress.position_time_us,
                    commit_position=progress.commit.position,
                    commit_xid=progress.commit.transaction,
                    commit_time_us=progress.commit.time_us,
                    number=progress.number,
                    batch=progress.batch,
                )
            )
            if moved.rowcount != 1:
                raise self._not_ours()
            failpoints.hit("after_position")
            for name, (seq, time_us) in progress.seqs.items():
                self.connection.execute(
                    update(self.own.resource)
                    .where(self.own.resource.c.name == name)
                    .values(seq=seq, event_time_us=time_us)
                )
            if progress.transactions:
                self.connection.execute(
                    insert(self.own.applied).values(
                        batch=progress.batch, xids=json.dumps(list(progress.transactions))
                    )
                )
            failpoints.hit("before_front_commit")
            self.connection.commit()
            self._at = (progress.position, progress.batch)
            failpoints.hit("after_front_commit")

    def _not_ours(self) -> AgentError:
        """Why the state row is not the one that was written last."""
        epoch = self.connection.execute(select(self.own.state.c.epoch)).scalar_one_or_none()
        if epoch == self.epoch:
            return FrontDamaged(
                reason=phrase(
                    "its state is older than what was written: a backup was put back while the service ran"
                )
            )
        return AnotherAgent(holder=phrase("its epoch was raised"))

    def prune(self, visible: Visible) -> None:
        """See Front.prune."""
        with self.guarded():
            rows = self.connection.execute(
                select(self.own.applied.c.batch, self.own.applied.c.xids)
            ).all()
            seen = [
                batch
                for batch, applied in rows
                if all(visible.sees(number) for number in json.loads(applied))
            ]
            if seen:
                self.connection.execute(
                    delete(self.own.applied).where(self.own.applied.c.batch.in_(seen))
                )

    def rollback(self) -> None:
        """See Front.rollback."""
        with suppress(SQLAlchemyError):
            if self._connection is not None:
                self._connection.rollback()

    def close(self) -> None:
        """See Front.close."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None
        self.unlock()

    # ---- pieces for subclasses

    def quote(self, name: str) -> str:
        """An identifier, always quoted."""
        return '"' + name.replace('"', '""') + '"'

    def name_fault(self, name: str, of_table: bool) -> str:
        """What is wrong with the name of a table or column for this database; '' where nothing is."""
        return ""

    def names(self, names: Iterator[str] | Sequence[str]) -> str:
        """A comma-separated list of quoted identifiers."""
        return ", ".join(self.quote(name) for name in names)

    def table(self, target: Target) -> str:
        """The quoted front-end table."""
        return (
            f"{self.quote(target.schema)}.{self.quote(target.table)}"
            if target.schema
            else self.quote(target.table)
        )

    def technical_type(self, role: str) -> str:
        """Type of a technical column."""
        return {
            "operation": "CHAR(1)",
            "deleted": "SMALLINT",
            "sequence": "BIGINT",
            "batch": "BIGINT",
        }.get(role, "TIMESTAMP")

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
