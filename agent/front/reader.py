"""What the publisher and `status` see of the front end: identity, outbox, table states; and what little the publisher writes."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent.errors import FrontUnreachable, NotInitialised
from agent.front.base import Copy, copy_of
from agent.front.outbox import Batch, OutboxEvent, frames, unpacked
from agent.front.schema import copies, outbox, published, requests, resource, state, withheld

_AT_ONCE = 1000  # batches deleted with one mark


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
    """The published mark: a late lower bound of what Kafka holds. `event_id` is '' before the first event."""

    number: int
    event_id: str
    batch: int
    position: str
    time_us: int


class Backlog(NamedTuple):
    """What waits in the outbox."""

    events: int
    oldest_time_us: int  # 0 when nothing waits


class Reader:
    """Reads the front end beside the capture process. Every method is its own short transaction.

    Raises FrontUnreachable for any database error, NotInitialised where `init --apply` has not come to its end.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for one short reading transaction."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise FrontUnreachable(
                reason=type(getattr(error, "orig", None) or error).__name__
            ) from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A short transaction of a command beside the service's; it waits for the lock as long as the configuration says. Commits."""
        try:
            with self.engine.execution_options(reader=False).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise FrontUnreachable(
                reason=type(getattr(error, "orig", None) or error).__name__
            ) from None

    def identity(self) -> Identity:
        """Identity, epoch and counters as of now."""
        columns = (
            state.c.agent_uuid,
            state.c.source_id,
            state.c.epoch,
            state.c.nonce,
            state.c.number,
            state.c.position,
            state.c.position_time_us,
        )
        with self.connection() as connection:
            row = connection.execute(select(*columns).where(state.c.initialised == 1)).one_or_none()
        if row is None:
            raise NotInitialised(what="the state in the front end")
        return Identity(*row)

    def resources(self) -> dict[str, Mapping[str, object]]:
        """Each resource's row of sync_agent_resource, by name."""
        with self.connection() as connection:
            rows = connection.execute(select(resource)).mappings().all()
        return {str(row["name"]): dict(row) for row in rows}

    def copies(self) -> dict[str, Copy]:
        """How far each copying table is, by resource."""
        with self.connection() as connection:
            rows = connection.execute(select(copies)).all()
        return {name: copy_of(json.loads(progress)) for name, progress in rows}

    def withheld(self) -> dict[str, int]:
        """How many rows are too large for Kafka, by resource."""
        with self.connection() as connection:
            rows = connection.execute(
                select(withheld.c.name, func.count()).group_by(withheld.c.name)
            ).all()
        return {str(name): int(count) for name, count in rows}

    def published(self) -> Published:
        """The published mark."""
        with self.connection() as connection:
            row = connection.execute(
                select(
                    published.c.number,
                    published.c.event_id,
                    published.c.batch,
                    published.c.position,
                    published.c.time_us,
                )
            ).one_or_none()
        if row is None:
            raise NotInitialised(what="the published mark in the front end")
        return Published(*row)

    def backlog(self, number: int) -> Backlog:
        """What the outbox holds after event `number`."""
        with self.connection() as connection:
            newest, oldest = connection.execute(
                select(func.max(outbox.c.last_number), func.min(outbox.c.time_us)).where(
                    outbox.c.last_number > number
                )
            ).one()
        return Backlog(max(0, (newest or number) - number), oldest or 0)

    def next_batch(self, after: int) -> Batch | None:
        """The first batch after batch number `after`, whole, or None."""
        with self.connection() as connection:
            first = connection.execute(
                select(func.min(outbox.c.batch)).where(outbox.c.batch > after)
            ).scalar_one()
            if first is None:
                return None
            rows = connection.execute(
                select(outbox.c.first_number, outbox.c.last_number, outbox.c.payload)
                .where(outbox.c.batch == first)
                .order_by(outbox.c.part)
            ).all()
        return Batch(
            first, rows[0][0], rows[0][1], unpacked(b"".join(bytes(row[2]) for row in rows))
        )

    def batch_of(self, number: int) -> int:
        """The batch after which reading must start to meet event `number` + 1: the last one that ends at or before `number`, else 0."""
        with self.connection() as connection:
            first = connection.execute(
                select(func.min(outbox.c.batch)).where(outbox.c.last_number > number)
            ).scalar_one()
            if first is not None:
                return int(first) - 1
            return int(connection.execute(select(func.max(outbox.c.batch))).scalar_one() or 0)

    def event_id(self, number: int, source_id: str) -> str | None:
        """Id of event `number`, or None where the outbox no longer holds it."""
        with self.connection() as connection:
            first = connection.execute(
                select(func.min(outbox.c.batch)).where(
                    outbox.c.first_number <= number, outbox.c.last_number >= number
                )
            ).scalar_one()
        batch = self.next_batch(first - 1) if first is not None else None
        for frame in frames(batch) if batch else ():
            if isinstance(frame, OutboxEvent) and frame.number == number:
                return frame.id(source_id)
        return None

    def mark_published(self, mark: Published) -> bool:
        """Writes the mark and deletes the batches it covers, if the lock is free; False (and nothing written) if not. Never waits.

        The truth is Kafka's state record, so a mark not written only leaves batches for the next call. The mark never goes back: a publisher that stood
        still may write one that its successor has passed, whose batches are gone.
        """
        try:
            with self.engine.connect() as connection:
                self.do_not_wait(connection)
                connection.execute(
                    update(published)
                    .where(published.c.number <= mark.number)
                    .values(**mark._asdict())
                )
                covered = (
                    select(outbox.c.batch)
                    .where(outbox.c.batch <= mark.batch)
                    .distinct()
                    .limit(_AT_ONCE)
                )
                # Listed, since a range would also lock what comes after it on MariaDB: the batch capture is just writing.
                connection.execute(
                    delete(outbox).where(
                        outbox.c.batch.in_(connection.execute(covered).scalars().all())
                    )
                )
                connection.commit()
        except DBAPIError:
            return False
        return True

    def ask_suspension(self, resource: str, code: str, values: Mapping[str, object]) -> bool:
        """Asks capture to suspend a table for an error of its topic, in place of what was asked before. Like `mark_published` it never waits."""
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
                    delete(requests).where(
                        requests.c.kind == "suspend", requests.c.resource == resource
                    )
                )
                connection.execute(
                    insert(requests).values(**row, report=report, asked_us=time.time_ns() // 1000)
                )
                connection.commit()
        except DBAPIError:
            return False
        return True

    def do_not_wait(self, connection: Connection) -> None:
        """Makes statements of this transaction (on MariaDB: of this session) fail at once instead of waiting for a lock."""
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = '1ms'")
        elif connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        else:
            connection.exec_driver_sql(
                "SET SESSION innodb_lock_wait_timeout = 0, lock_wait_timeout = 0"
            )
