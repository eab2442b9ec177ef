"""The agent's own tables in a SQL front end: who it is, how far its copies are, what is asked of it; and the connection they are reached by."""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    sql,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import quoted_name

from agent.errors import AgentError, FrontUnreachable, Suspend
from agent.front.base import Copy, Request, copy_of
from agent.front.schema import (
    applied,
    copies,
    fingerprints,
    metadata,
    occupants,
    outbox,
    published,
    requests,
    state,
    topic_keys,
)
from agent.front.schema import holes as hole_rows
from agent.front.schema import resource as resources
from agent.front.schema import withheld as kept
from agent.resource import Key, Target


class OwnTables(ABC):
    """The part of `Front` that touches no front-end table, and what `init` needs."""

    errors: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError,)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._asked_at: float | None = None
        self._connection: Connection | None = None

    @abstractmethod
    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """Our error for the driver's; `target` is the table written to, if any."""

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

    # ---- copies, holes, requests

    def count(self, target: Target) -> int:
        """See Front.count."""
        question = select(func.count()).select_from(
            sql.table(
                quoted_name(target.table, True),
                schema=target.schema and quoted_name(target.schema, True),
            )
        )
        if target.soft_delete:
            question = question.where(
                sql.column(quoted_name(target.technical["deleted"], True)) == 0
            )
        return int(self._asked(question)[0][0])

    def move(self, resource: str, state: str, copy: Copy | None) -> None:
        """See Front.move."""
        with self.guarded():
            self._move(resource, state, copy)

    def _move(
        self, name: str, state: str, copy: Copy | None, code: str = "", details: str = "{}"
    ) -> None:
        self.connection.execute(
            update(resources)
            .where(resources.c.name == name)
            .values(state=state, code=code, details=details)
        )
        self.connection.execute(delete(copies).where(copies.c.name == name))
        if copy is not None:
            self.connection.execute(
                insert(copies).values(name=name, progress=json.dumps(copy._asdict()))
            )

    def note(self, resource: str, holes: Collection[Key], filled: Collection[Key]) -> None:
        """See Front.note."""
        with self.guarded():
            self._forget(hole_rows, resource, (*filled, *holes))
            if holes:
                self.connection.execute(
                    insert(hole_rows),
                    [
                        {"name": resource, "digest": _digest(key), "row_key": json.dumps(key)}
                        for key in holes
                    ],
                )

    def _forget(self, table: Table, resource: str, keys: Collection[Key]) -> None:
        """Takes a resource's rows of these keys from one of our tables that hold a row per key."""
        if keys:
            mine = table.c.name == bindparam("n"), table.c.digest == bindparam("d")
            self.connection.execute(
                delete(table).where(*mine), [{"n": resource, "d": _digest(key)} for key in keys]
            )

    def keep_occupants(self, resource: str, texts: Mapping[Key, str]) -> None:
        """See Front.keep_occupants."""
        with self.guarded():
            self._forget(occupants, resource, texts)
            rows = [
                {"name": resource, "digest": _digest(key), "row_key": json.dumps(key), "held": text}
                for key, text in texts.items()
                if text
            ]
            if rows:
                self.connection.execute(insert(occupants), rows)

    def occupants(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """See Front.occupants."""
        question = select(occupants.c.row_key, occupants.c.held).where(occupants.c.name == resource)
        rows = self._asked(question.where(occupants.c.digest.in_([_digest(key) for key in keys])))
        return {tuple(json.loads(key)): held for key, held in rows}

    def forget_occupants(self, resource: str) -> None:
        """See Front.forget_occupants."""
        with self.guarded():
            self.connection.execute(delete(occupants).where(occupants.c.name == resource))

    def suspend(self, error: Suspend) -> None:
        """See Front.suspend."""
        with self.guarded():
            again = Copy(republish=True) if self._republishes(error.resource) else None
            self._move(
                error.resource,
                "suspended",
                again,
                error.code,
                json.dumps(error.values, ensure_ascii=False, default=str),
            )
            self.connection.execute(delete(hole_rows).where(hole_rows.c.name == error.resource))
            self.connection.commit()

    def start_copy(self, resource: str, copy: Copy) -> None:
        """See Front.start_copy."""
        with self.guarded():
            self._move(
                resource,
                "copying",
                copy._replace(republish=copy.republish or self._republishes(resource)),
            )
            self.connection.commit()

    def begin_generation(self, resource: str, copy: Copy) -> None:
        """See Front.begin_generation."""
        with self.guarded():
            self.connection.execute(
                update(resources)
                .where(resources.c.name == resource)
                .values(generation=resources.c.generation + 1, seq=0)
            )
            self._move(resource, "copying", copy)
            self.connection.commit()

    def _republishes(self, name: str) -> bool:
        progress = self.connection.execute(
            select(copies.c.progress).where(copies.c.name == name)
        ).scalar_one_or_none()
        return progress is not None and copy_of(json.loads(progress)).republish

    def withhold(
        self, resource: str, withheld: Mapping[Key, bool], released: Collection[Key]
    ) -> None:
        """See Front.withhold."""
        with self.guarded():
            self._forget(kept, resource, (*released, *withheld))
            if withheld:
                found = [
                    {
                        "name": resource,
                        "digest": _digest(key),
                        "row_key": json.dumps(key),
                        "told": int(told),
                    }
                    for key, told in withheld.items()
                ]
                self.connection.execute(insert(kept), found)

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """See Front.topic_keys."""
        return [
            str(row[0])
            for row in self._asked(
                select(topic_keys.c.row_key).where(topic_keys.c.name == resource).limit(limit)
            )
        ]

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """See Front.forget_topic_keys."""
        with self.guarded():
            digests = [text_digest(key) for key in keys]
            self.connection.execute(
                delete(topic_keys).where(
                    topic_keys.c.name == resource, topic_keys.c.digest.in_(digests)
                )
            )

    def outbox_bytes(self) -> int:
        """See Front.outbox_bytes."""
        return int(self._asked(select(func.sum(func.length(outbox.c.payload))))[0][0] or 0)

    def _asked(self, question: Select[*tuple[Any, ...]]) -> Sequence[Sequence[Any]]:
        """The answer to a question; leaves no transaction open where none was."""
        with self.guarded():
            ours = not self.connection.in_transaction()
            rows = self.connection.execute(question).all()
            if ours:
                self.connection.rollback()
        return rows

    def requests(self) -> list[Request]:
        """See Front.requests."""
        columns = (
            requests.c.id,
            requests.c.kind,
            requests.c.resource,
            requests.c.allow_deletes,
            requests.c.report,
            requests.c.state,
        )
        rows = self._asked(
            select(*columns)
            .where(requests.c.state.in_(("asked", "running")))
            .order_by(requests.c.asked_us)
        )
        return [
            Request(
                row[0],
                row[1],
                row[2],
                bool(row[3]),
                json.loads(row[4]) if row[1] == "suspend" else {},
                row[5] == "running",
            )
            for row in rows
        ]

    def answer(self, request: str, state: str, report: Mapping[str, Any]) -> bool:
        """See Front.answer."""
        text = json.dumps(report, ensure_ascii=False)
        with self._riding():
            found = self.connection.execute(
                update(requests).where(requests.c.id == request).values(state=state, report=text)
            ).rowcount
        return bool(found)

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """See Front.keep_fingerprint."""
        with self._riding():
            self.connection.execute(delete(fingerprints).where(fingerprints.c.name == resource))
            self.connection.execute(
                insert(fingerprints).values(name=resource, parts=json.dumps(parts))
            )

    @contextmanager
    def _riding(self) -> Iterator[None]:
        """Within the open transaction, or one of its own that is committed."""
        with self.guarded():
            ours = not self.connection.in_transaction()
            yield
            if ours:
                self.connection.commit()

    # ---- init

    def initialise(self, identity: Mapping[str, object], topics: Mapping[str, str]) -> None:
        """Creates the agent's tables and rows that are missing; `identity` holds sync_agent_state's columns, `topics` one topic per resource. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            metadata.create_all(connection)
            if connection.execute(select(state.c.id)).first() is None:
                connection.execute(insert(state).values(id=1, **identity))
                connection.execute(
                    insert(published).values(
                        id=1, number=0, event_id="", batch=0, position="", time_us=0
                    )
                )
            known = set(connection.execute(select(resources.c.name)).scalars())
            for name, topic in topics.items():
                if name not in known:
                    fresh = {
                        "state": "copying",
                        "code": "",
                        "details": "{}",
                        "generation": 1,
                        "seq": 0,
                        "event_time_us": 0,
                    }
                    connection.execute(insert(resources).values(name=name, topic=topic, **fresh))

    def update_state(self, **values: object) -> None:
        """Changes the state row during init. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(update(state).values(**values))

    def follow(self, system_id: str, timeline: int, position: str, time_us: int) -> None:
        """The stream begins anew, at another place or server: what was known of it is forgotten, and every table is copied again. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            metadata.create_all(connection)
            start = {
                "system_id": system_id,
                "timeline": timeline,
                "position": position,
                "position_time_us": time_us,
            }
            connection.execute(
                update(state).values(**start, commit_position="", commit_xid=0, commit_time_us=0)
            )
            again = [
                name
                for name, progress in connection.execute(select(copies)).all()
                if copy_of(json.loads(progress)).republish
            ]
            for known in (applied, copies, hole_rows):
                connection.execute(delete(known))
            for name in again:
                connection.execute(
                    insert(copies).values(
                        name=name, progress=json.dumps(Copy(republish=True)._asdict())
                    )
                )
            connection.execute(
                update(resources).where(resources.c.state == "live").values(state="copying")
            )

    def begin_generations(
        self, epoch: int, number: int, event: str, generations: Mapping[str, int]
    ) -> None:
        """Goes on from what Kafka holds (`generations` by topic): an empty outbox, and every table told again in a new generation. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            metadata.create_all(connection)
            batch = connection.execute(select(state.c.batch)).scalar_one()
            connection.execute(update(state).values(epoch=epoch, number=number))
            connection.execute(update(published).values(number=number, event_id=event, batch=batch))
            for emptied in (outbox, copies):
                connection.execute(delete(emptied))
            for name, topic, generation in connection.execute(
                select(resources.c.name, resources.c.topic, resources.c.generation)
            ).all():
                anew = {
                    "generation": max(generation, generations.get(topic, 0)) + 1,
                    "seq": 0,
                    "state": "copying",
                    "code": "",
                    "details": "{}",
                }
                connection.execute(update(resources).where(resources.c.name == name).values(**anew))
                connection.execute(
                    insert(copies).values(
                        name=name, progress=json.dumps(Copy(republish=True)._asdict())
                    )
                )

    def copy_again(self, names: Collection[str]) -> None:
        """These tables are copied from the beginning. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(delete(copies).where(copies.c.name.in_(names)))
            connection.execute(
                update(resources)
                .where(resources.c.name.in_(names))
                .values(state="copying", code="", details="{}")
            )

    def stored_state(self) -> Mapping[str, object] | None:
        """The state row, or None where `initialise` has not run."""
        with self.guarded(), self.engine.connect() as connection:
            if not inspect(connection).has_table(state.name):
                return None
            row = connection.execute(select(state)).mappings().one_or_none()
            return dict(row) if row is not None else None


def text_digest(text: str) -> str:
    """Stands for a text that is too long for a key column."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest(key: Key) -> str:
    return text_digest(json.dumps(key))
