"""A front end in a SQL database: opening with lock and epoch, and the one transaction."""

import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, func, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from agent import failpoints
from agent.connectors.base import Visible
from agent.connectors.resume import CommitMark
from agent.errors import AgentError, AnotherAgent, FrontDamaged, NotInitialised
from agent.front import layout
from agent.front.base import PART, Batch, Progress, Refused, ResourceState, Stored, copy_of
from agent.front.hosts import Hosts
from agent.front.own_tables import OwnTables
from agent.front.resource_tables import ResourceTables
from agent.front.table_owners import TableOwners
from agent.front.table_rows import TableRows
from agent.messages import phrase
from agent.resource import Target
from agent.values.rows import Key


class SqlFront(TableRows, TableOwners, ResourceTables, OwnTables):
    """Keeps the contract of `Front` with SQLAlchemy.

    A subclass adds what its database does in its own way.
    """

    def __init__(self, engine: Engine, agent: str) -> None:
        super().__init__(engine, agent)
        self.epoch = 0

        # Position and batch as they were read or written last
        self._at = ("", 0)

        # Called while something takes long, as a sign of life
        self.alive: Callable[[], object] = lambda: None

        # The name of this host, where another one may stand by; '': none does
        self.host = ""

    # ---- what a database does in its own way

    @abstractmethod
    def take_lock(self, connection: Connection, former: bool) -> None:
        """Takes this agent's lock for the life of this process or connection.

        `former`: the lock of version 0.1 instead. Raises AnotherAgent.
        """

    @abstractmethod
    def unlock(self) -> None:
        """Gives the lock back, where closing the connection does not."""

    def examine(self, connection: Connection, after_clean_end: bool = False) -> None:
        """Raises FrontDamaged where the database has damaged pages.

        `after_clean_end`: only unless its last writer came to a clean end. Nothing is done where
        a server watches over its own pages and says so when it reads one.
        """

    def check_rights(self, connection: Connection) -> None:
        """Raises FrontUnfit where the agent's user lacks a right that every table takes.

        The reason holds the GRANT.
        """

    def housekeeping(self) -> int:
        """See FrontTransaction.housekeeping."""
        return 0

    # Where another host stands by (agent.capture.standby). A SQLite file has one host only.

    def session(self, connection: Connection) -> int:
        """Returns how the server names the session of a connection."""
        return 0

    def holder(self, connection: Connection) -> int:
        """Returns the session that holds this agent's lock; 0: none does."""
        return 0

    def is_open(self, connection: Connection, session: int) -> bool:
        """Whether the server has a session of this name, of the agent's own role."""
        return False

    def hasten(self, connection: Connection) -> None:
        """Lets the commits of a connection wait for no disk, where the server can do that.

        A crash of the server may then lose them: they are worth something for seconds only.
        """

    def end_holder(self, connection: Connection, session: int) -> None:
        """Has the server end a session, if it is the one that holds this agent's lock."""

    @abstractmethod
    def same_order(self, target: Target) -> bool:
        """See FrontTables.same_order."""

    @abstractmethod
    def keys_after(
        self,
        target: Target,
        after: Key | None,
        limit: int,
    ) -> list[Key]:
        """See FrontTables.keys_after."""

    @abstractmethod
    def lines(
        self,
        target: Target,
        after: Key | None,
        upto: Key | None,
    ) -> list[bytes]:
        """See FrontTables.lines."""

    # ---- opening and closing

    def lock(self, connection: Connection) -> None:
        """Keeps a second process of this agent out. Raises AnotherAgent.

        While its tables have their former names a process of version 0.1 may be at work, which
        knows the former lock only.
        """
        self.take_lock(connection, former=False)
        if layout.find(connection, self.agent).of_the_first_version:
            self.take_lock(connection, former=True)

    def open(self, nonce: str) -> Stored:
        """See FrontTransaction.open."""
        self.close()
        try:
            return self._opened(nonce)
        except AgentError:
            self.close()
            raise

    def _opened(self, nonce: str) -> Stored:
        with self.guarded():
            connection = self.engine.connect()
            self._connection = connection
            self.lock(connection)
            self.check_rights(connection)
            self.examine(connection, after_clean_end=True)
            connection.rollback()

            self.adopt(connection)
            state = self.own.state
            if not inspect(connection).has_table(state.name):
                raise NotInitialised(what=phrase("the agent's tables in the front end"))
            connection.rollback()

            row = connection.execute(select(state)).mappings().one_or_none()
            if row is None or not row["initialised"]:
                raise NotInitialised(what=phrase("the state in the front end"))

            if self.host:
                self.own.hosts.create(connection, checkfirst=True)

            self.epoch = int(row["epoch"]) + 1
            connection.execute(update(state).values(epoch=self.epoch, nonce=nonce))
            if self.host:
                session = self.session(connection)
                Hosts(self.own.hosts).note_active(connection, nonce, self.host, session)
            stored = self._stored(connection)
            connection.commit()

        self._at = (stored.position, stored.batch)
        return stored

    def _stored(self, connection: Connection) -> Stored:
        """Reads everything that the agent's own tables hold for the service."""
        own = self.own
        state = connection.execute(select(own.state)).mappings().one()

        resources = {}
        for row in connection.execute(select(own.resource)).mappings():
            name = row["name"]
            resources[name] = ResourceState(
                row["state"],
                row["topic"],
                row["generation"],
                row["seq"],
                row["code"],
                row["details"],
            )

        copies = {}
        for name, progress in connection.execute(select(own.copies)):
            copies[name] = copy_of(json.loads(progress))

        fingerprints = {}
        for name, parts in connection.execute(select(own.fingerprints)):
            fingerprints[name] = json.loads(parts)

        transactions: list[int] = []
        for applied in connection.execute(select(own.applied.c.transactions)).scalars():
            transactions += json.loads(applied)

        holes: dict[str, set[Key]] = {name: set() for name in resources}
        for name, key, _ in _keys_of(connection, own.holes, resources):
            holes[name].add(key)

        withheld: dict[str, dict[Key, bool]] = {name: {} for name in resources}
        for name, key, values in _keys_of(connection, own.withheld, resources, "published"):
            (published,) = values
            withheld[name][key] = bool(published)

        refused: dict[str, dict[Key, Refused]] = {name: {} for name in resources}
        for name, key, values in _keys_of(connection, own.refused, resources, *Refused._fields):
            refused[name][key] = Refused(*values)

        return Stored(
            source_id=state["source_id"],
            identity=json.loads(state["identity"]),
            epoch=self.epoch,
            position=state["position"],
            position_time_us=state["position_time_us"],
            commit=CommitMark(
                state["commit_position"],
                state["commit_transaction"],
                state["commit_time_us"],
            ),
            number=state["number"],
            batch=state["batch"],
            resources=resources,
            copies=copies,
            holes=holes,
            withheld=withheld,
            refused=refused,
            fingerprints=fingerprints,
            settings=layout.settings(connection, own),
            token=state["token"],
            transactions=transactions,
        )

    def close(self) -> None:
        """See FrontTransaction.close."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None
        self.unlock()

    # ---- the one transaction

    def begin(self) -> None:
        """See FrontTransaction.begin."""
        if not self.connection.in_transaction():
            with self.guarded():
                self.connection.begin()

    def store(self, batch: Batch, time_us: int) -> None:
        """See FrontTransaction.store."""
        rows = []
        for part, start in enumerate(range(0, len(batch.payload), PART)):
            row = {
                "batch": batch.batch,
                "part": part,
                "first_number": batch.first_number,
                "last_number": batch.last_number,
                "time_us": time_us,
                "payload": batch.payload[start : start + PART],
            }
            rows.append(row)
        with self.guarded():
            self.connection.execute(self.own.statements.add_batch, rows)

    def outbox_bytes(self) -> int:
        """See FrontTransaction.outbox_bytes."""
        size = func.length(self.own.outbox.c.payload)
        ((total,),) = self.query(select(func.sum(size)))
        return int(total or 0)

    def prune(self, visible: Visible) -> None:
        """See FrontTransaction.prune."""
        applied = self.own.applied
        with self.guarded():
            seen = []
            rows = self.connection.execute(self.own.statements.applied)
            for batch, text in rows:
                transactions = json.loads(text)
                if all(visible.sees(number) for number in transactions):
                    seen.append(batch)

            if seen:
                self.connection.execute(delete(applied).where(applied.c.batch.in_(seen)))

    def commit(self, progress: Progress) -> None:
        """See FrontTransaction.commit."""
        failpoints.hit("before_ack_store")
        statements = self.own.statements
        position, batch = self._at
        of_before = {
            "of_epoch": self.epoch,
            "of_position": position,
            "of_batch": batch,
        }
        now = {
            "position": progress.position,
            "token": progress.token,
            "position_time_us": progress.position_time_us,
            "commit_position": progress.commit.position,
            "commit_transaction": progress.commit.transaction,
            "commit_time_us": progress.commit.time_us,
            "number": progress.number,
            "batch": progress.batch,
        }
        with self.guarded():
            moved = self.connection.execute(statements.move, of_before | now)
            if moved.rowcount != 1:
                raise self._not_ours()
            failpoints.hit("after_position")

            for name, (seq, time_us) in progress.seqs.items():
                counter = {"of_name": name, "seq": seq, "event_time_us": time_us}
                self.connection.execute(statements.count, counter)
            if progress.transactions:
                numbers = json.dumps(list(progress.transactions))
                applied = {"batch": progress.batch, "transactions": numbers}
                self.connection.execute(statements.add_applied, applied)
            failpoints.hit("before_front_commit")

            self.connection.commit()
            self._at = (progress.position, progress.batch)
            failpoints.hit("after_front_commit")

    def _not_ours(self) -> AgentError:
        """Returns why the state row is not the one that was written last."""
        epoch = self.connection.execute(select(self.own.state.c.epoch)).scalar_one_or_none()
        if epoch == self.epoch:
            return FrontDamaged(
                reason=phrase(
                    "its state is older than what was written: a backup was put back while the "
                    "service ran"
                )
            )
        return AnotherAgent(holder=phrase("its epoch was raised"))

    def rollback(self) -> None:
        """See FrontTransaction.rollback."""
        with suppress(SQLAlchemyError):
            if self._connection is not None:
                self._connection.rollback()


def _keys_of(
    connection: Connection,
    table: Table,
    resources: Collection[str],
    *columns: str,
) -> Iterator[tuple[str, Key, Sequence[Any]]]:
    """Yields the rows of one of our tables that hold a row per key: resource, key, these columns.

    Rows of resources that are not known are left out.
    """
    wanted = [table.c[column] for column in ("name", "row_key", *columns)]
    for name, key, *values in connection.execute(select(*wanted)):
        if name in resources:
            yield name, tuple(json.loads(key)), values
