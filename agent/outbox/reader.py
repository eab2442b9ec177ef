"""Reads the front end for the publisher and `status`: identity, outbox, and states of tables.

The publisher writes a little, too: the published mark, and that a table is to be suspended.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent.errors import AgentError, FrontDamaged, FrontUnreachable, NotInitialised
from agent.files import unusable
from agent.front.base import Batch, Copy, copy_of
from agent.front.corruption import corruption
from agent.front.hosts import Host, Hosts
from agent.front.layout import copy_now, find
from agent.front.schema import VERSION, AgentTables
from agent.front.sqlite.file import note_damage
from agent.front.statements import OUTBOX_ROWS
from agent.messages import phrase
from agent.outbox.frames import OutboxEvent, frames

_AT_ONCE = 1000  # batches deleted with one mark
_Row = Row[int, int, int, bytes]  # batch, first and last number, payload


class Identity(NamedTuple):
    """Who the agent is, as the front end has it now."""

    agent_uuid: str
    source_id: str
    epoch: int
    nonce: str
    number: int  # last event in the outbox, published or not
    position: str
    position_time_us: int


class Published(NamedTuple):
    """The published mark: a late lower bound of what Kafka holds."""

    number: int
    event_id: str  # '' before the first event
    batch: int
    position: str
    time_us: int


class Refusal(NamedTuple):
    """A row that a front-end table refuses."""

    key: str  # as events have it
    code: str
    since_us: int


class Backlog(NamedTuple):
    """What waits in the outbox."""

    events: int
    oldest_time_us: int  # 0 when nothing waits


class Waiting(NamedTuple):
    """Batches of the outbox that wait."""

    batches: list[Batch]
    more: bool  # further ones may wait behind them


class Reader:
    """Reads the front end beside the capture process. Every method is its own short transaction.

    Raises FrontDamaged, what `error_of` makes of other errors of the database (FrontUnreachable,
    FrontBusy, LoginRefused ...), and NotInitialised where `init --apply` has not come to its end.
    """

    def __init__(
        self,
        engine: Engine,
        agent: str,
        error_of: Callable[[BaseException], AgentError] | None = None,
    ) -> None:
        self.engine = engine
        self.agent = agent
        self._error_of = error_of
        self._own: AgentTables | None = None

    @property
    def own(self) -> AgentTables:
        """The agent's tables, as an older version has left them until a writer opens the front end.

        Raises NewerVersion.
        """
        if self._own is None:
            with self.connection() as connection:
                self._own = find(connection, self.agent)
        return self._own

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Opens a connection for one short reading transaction."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self.error(error) from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Opens a short transaction of a command beside the service's, and commits it.

        It waits for the lock as long as the configuration says.
        """
        try:
            with self.engine.execution_options(reader=False).begin() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self.error(error) from None

    def error(self, error: Exception) -> AgentError:
        """Returns our error for the driver's.

        Damage is named and, beside a SQLite file, noted; all else is as the writer would report it.
        """
        cause = getattr(error, "orig", None) or error
        sqlite = self.engine.dialect.name == "sqlite"
        if sqlite and (found := unusable(Path(self.engine.url.database or ""), cause)):
            return found
        damaged = corruption(cause)
        if not damaged and self._error_of is not None:
            return self._error_of(cause)
        if not damaged:
            return FrontUnreachable(reason=type(cause).__name__)
        if sqlite:
            note_damage(Path(self.engine.url.database or ""), damaged)
        return FrontDamaged(reason=damaged)

    def _not_done(self, error: DBAPIError) -> bool:
        """False, for a lock that was not free; raises FrontDamaged for damage."""
        ours = self.error(error)
        if isinstance(ours, FrontDamaged):
            raise ours from None
        return False

    def identity(self) -> Identity:
        """Returns identity, epoch and counters as of now."""
        if self._own is not None and (self._own.version < VERSION or self._own.missing):
            self._own = None  # a writer may have brought them to this version meanwhile
        own = self.own
        if "state" in own.missing:
            raise NotInitialised(what=phrase("the agent's tables in the front end"))
        columns = (
            own.state.c.agent_uuid,
            own.state.c.source_id,
            own.state.c.epoch,
            own.state.c.nonce,
            own.state.c.number,
            own.state.c.position,
            own.state.c.position_time_us,
        )
        with self.connection() as connection:
            row = connection.execute(
                select(*columns).where(own.state.c.initialised == 1)
            ).one_or_none()
        if row is None:
            raise NotInitialised(what=phrase("the state in the front end"))
        return Identity(*row)

    def resources(self) -> dict[str, Mapping[str, object]]:
        """Returns each resource's row, by name."""
        with self.connection() as connection:
            rows = connection.execute(select(self.own.resource)).mappings().all()
        return {str(row["name"]): dict(row) for row in rows}

    def copies(self) -> dict[str, Copy]:
        """Returns how far each copying table is, by resource."""
        with self.connection() as connection:
            rows = connection.execute(select(self.own.copies)).all()
        return {name: copy_of(copy_now(json.loads(progress))) for name, progress in rows}

    def withheld(self) -> dict[str, int]:
        """Counts the rows that are too large for Kafka, by resource."""
        with self.connection() as connection:
            rows = connection.execute(
                select(self.own.withheld.c.name, func.count()).group_by(self.own.withheld.c.name)
            ).all()
        return {str(name): int(count) for name, count in rows}

    def refused(self) -> dict[str, int]:
        """Counts the rows that the front-end tables refuse, by resource."""
        own = self.own
        if "refused" in own.missing:
            return {}
        with self.connection() as connection:
            rows = connection.execute(
                select(own.refused.c.name, func.count()).group_by(own.refused.c.name)
            ).all()
        return {str(name): int(count) for name, count in rows}

    def refusals(self, name: str) -> list[Refusal]:
        """Returns the rows that a table refuses, oldest first."""
        own = self.own
        if "refused" in own.missing:
            return []
        columns = own.refused.c.shown, own.refused.c.code, own.refused.c.since_us
        with self.connection() as connection:
            rows = connection.execute(
                select(*columns).where(own.refused.c.name == name).order_by(own.refused.c.since_us)
            ).all()
        return [Refusal(*row) for row in rows]

    def hosts(self) -> list[Host]:
        """Returns the hosts that are active or stand by, and have given a sign of life lately."""
        own = self.own
        if "host" in own.missing:
            return []
        with self.connection() as connection:
            return [host for host in Hosts(own.hosts).all(connection) if host.lives]

    def published(self) -> Published:
        """Returns the published mark."""
        with self.connection() as connection:
            row = connection.execute(
                select(
                    self.own.published.c.number,
                    self.own.published.c.event_id,
                    self.own.published.c.batch,
                    self.own.published.c.position,
                    self.own.published.c.time_us,
                )
            ).one_or_none()
        if row is None:
            raise NotInitialised(what=phrase("the published mark in the front end"))
        return Published(*row)

    def backlog(self, number: int) -> Backlog:
        """Returns what the outbox holds after event `number`."""
        with self.connection() as connection:
            statement = self.own.statements.backlog
            newest, oldest = connection.execute(statement, {"number": number}).one()
        return Backlog(max(0, (newest or number) - number), oldest or 0)

    def waiting(self, after: int) -> Waiting:
        """Returns the batches after batch number `after`, in order and whole, with one query.

        They are as many as a bounded number of rows holds, and at least one if there is one.
        """
        statement = self.own.statements.outbox_after
        with self.connection() as connection:
            rows = connection.execute(statement, {"after": after}).all()
            more = len(rows) == OUTBOX_ROWS
            if more:
                rows = _whole(rows) or self._rows_of(connection, _batch(rows[0]))

        batches = []
        for _, parts in groupby(rows, key=_batch):
            batches.append(_joined(list(parts)))
        return Waiting(batches, more)

    def _rows_of(self, connection: Connection, batch: int) -> Sequence[_Row]:
        """All rows of one batch."""
        of_batch = self.own.outbox.c.batch == batch
        return connection.execute(self.own.statements.outbox.where(of_batch)).all()

    def batch_of(self, number: int) -> int:
        """Returns the batch after which reading must start to meet event `number` + 1.

        It is the last one that ends at or before `number`, else 0.
        """
        with self.connection() as connection:
            first = connection.execute(
                select(func.min(self.own.outbox.c.batch)).where(
                    self.own.outbox.c.last_number > number
                )
            ).scalar_one()
            if first is not None:
                return int(first) - 1
            return int(
                connection.execute(select(func.max(self.own.outbox.c.batch))).scalar_one() or 0
            )

    def event_id(self, number: int, source_id: str) -> str | None:
        """Returns the id of event `number`, or None where the outbox no longer holds it."""
        with self.connection() as connection:
            first = connection.execute(
                select(func.min(self.own.outbox.c.batch)).where(
                    self.own.outbox.c.first_number <= number,
                    self.own.outbox.c.last_number >= number,
                )
            ).scalar_one()
            if first is None:
                return None
            rows = self._rows_of(connection, first)
        if not rows:  # deleted just now
            return None
        for frame in frames(_joined(rows)):
            if isinstance(frame, OutboxEvent) and frame.number == number:
                return frame.id(source_id)
        return None

    def mark_published(self, mark: Published) -> bool:
        """Writes the mark and deletes the batches it covers, if the lock is free. Never waits.

        Returns False, and has written nothing, if it is not. The truth is Kafka's state record, so
        a mark not written only leaves batches for the next call. The mark never goes back: a
        publisher that stood still may write one that its successor has passed, whose batches are
        gone.
        """
        try:
            with self.engine.connect() as connection:
                self.do_not_wait(connection)
                connection.execute(
                    update(self.own.published)
                    .where(self.own.published.c.number <= mark.number)
                    .values(**mark._asdict())
                )
                covered = (
                    select(self.own.outbox.c.batch)
                    .where(self.own.outbox.c.batch <= mark.batch)
                    .distinct()
                    .limit(_AT_ONCE)
                )
                # Listed, since a range would on MariaDB also lock what comes after it: the batch
                # that capture is just writing.
                batches = connection.execute(covered).scalars().all()
                connection.execute(
                    delete(self.own.outbox).where(self.own.outbox.c.batch.in_(batches))
                )
                connection.commit()
        except DBAPIError as error:
            return self._not_done(error)
        return True

    def ask_suspension(self, resource: str, code: str, values: Mapping[str, object]) -> bool:
        """Asks capture to suspend a table for an error of its topic.

        It replaces what was asked before. Like `mark_published` it never waits.
        """
        row = {
            "id": str(uuid.uuid4()),
            "kind": "suspend",
            "resource": resource,
            "allow_deletes": 0,
            "state": "asked",
        }
        report = json.dumps({"code": code, "values": values}, ensure_ascii=False)
        try:
            with self.engine.connect() as connection:
                self.do_not_wait(connection)
                connection.execute(
                    delete(self.own.requests).where(
                        self.own.requests.c.kind == "suspend",
                        self.own.requests.c.resource == resource,
                    )
                )
                connection.execute(
                    insert(self.own.requests).values(
                        **row, report=report, asked_us=time.time_ns() // 1000
                    )
                )
                connection.commit()
        except DBAPIError as error:
            return self._not_done(error)
        return True

    def do_not_wait(self, connection: Connection) -> None:
        """Makes statements fail at once instead of waiting for a lock.

        That holds for this transaction, on MariaDB for this session.
        """
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = '1ms'")
        elif connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        else:
            connection.exec_driver_sql(
                "SET SESSION innodb_lock_wait_timeout = 0, lock_wait_timeout = 0"
            )


def _batch(row: _Row) -> int:
    """The number of the batch a row is a part of."""
    return row[0]


def _whole(rows: Sequence[_Row]) -> Sequence[_Row]:
    """The rows without those of the last batch, which may have further parts."""
    last = _batch(rows[-1])
    return [row for row in rows if _batch(row) < last]


def _joined(parts: Sequence[_Row]) -> Batch:
    """The batch that is stored in these rows."""
    batch, first_number, last_number, _ = parts[0]
    payload = b"".join(bytes(part[3]) for part in parts)
    return Batch(batch, first_number, last_number, payload)
