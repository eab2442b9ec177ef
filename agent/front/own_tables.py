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
    select,
    sql,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import quoted_name

from agent.config import Settings
from agent.errors import AgentError, FrontUnreachable, Suspend
from agent.front import init_settings, layout
from agent.front.base import Copy, Refused, Request, copy_of
from agent.front.migration import migrate, pairs
from agent.front.schema import VERSION, AgentTables
from agent.messages import phrase
from agent.resource import Target
from agent.values.rows import Key


class OwnTables(ABC):
    """The part of `Front` that touches no front-end table, and what `init` needs."""

    errors: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError,)

    def __init__(self, engine: Engine, agent: str) -> None:
        self.engine = engine
        self.agent = agent
        self.own = AgentTables(agent)
        self._asked_at: float | None = None
        self._connection: Connection | None = None

    @abstractmethod
    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """Our error for the driver's; `target` is the table written to, if any."""

    @property
    def connection(self) -> Connection:
        """The writing connection."""
        if self._connection is None:
            raise FrontUnreachable(reason=phrase("not connected"))
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
        return int(self._asked(question, target)[0][0])

    def move(self, resource: str, state: str, copy: Copy | None) -> None:
        """See Front.move."""
        with self.guarded():
            self._move(resource, state, copy)

    def _move(
        self, name: str, state: str, copy: Copy | None, code: str = "", details: str = "{}"
    ) -> None:
        self.connection.execute(
            update(self.own.resource)
            .where(self.own.resource.c.name == name)
            .values(state=state, code=code, details=details)
        )
        self.connection.execute(delete(self.own.copies).where(self.own.copies.c.name == name))
        if copy is not None:
            self.connection.execute(
                insert(self.own.copies).values(name=name, progress=json.dumps(copy._asdict()))
            )

    def note(self, resource: str, holes: Collection[Key], filled: Collection[Key]) -> None:
        """See Front.note."""
        with self.guarded():
            self._forget(self.own.holes, resource, (*filled, *holes))
            if holes:
                self.connection.execute(
                    insert(self.own.holes),
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
            self._forget(self.own.occupants, resource, texts)
            rows = [
                {"name": resource, "digest": _digest(key), "row_key": json.dumps(key), "held": text}
                for key, text in texts.items()
                if text
            ]
            if rows:
                self.connection.execute(insert(self.own.occupants), rows)

    def occupants(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """See Front.occupants."""
        question = select(self.own.occupants.c.row_key, self.own.occupants.c.held).where(
            self.own.occupants.c.name == resource
        )
        rows = self._asked(
            question.where(self.own.occupants.c.digest.in_([_digest(key) for key in keys]))
        )
        return {tuple(json.loads(key)): held for key, held in rows}

    def forget_occupants(self, resource: str) -> None:
        """See Front.forget_occupants."""
        with self.guarded():
            self.connection.execute(
                delete(self.own.occupants).where(self.own.occupants.c.name == resource)
            )

    def suspend(self, error: Suspend) -> None:
        """See Front.suspend."""
        with self.guarded():
            again = Copy(republish=True) if self._republishes(error.resource) else None
            self._move(
                error.resource,
                "suspended",
                again,
                error.code,
                json.dumps(error.plain_values(), ensure_ascii=False, default=str),
            )
            self.connection.execute(
                delete(self.own.holes).where(self.own.holes.c.name == error.resource)
            )
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
                update(self.own.resource)
                .where(self.own.resource.c.name == resource)
                .values(generation=self.own.resource.c.generation + 1, seq=0)
            )
            self._move(resource, "copying", copy)
            self.connection.commit()

    def _republishes(self, name: str) -> bool:
        progress = self.connection.execute(
            select(self.own.copies.c.progress).where(self.own.copies.c.name == name)
        ).scalar_one_or_none()
        return progress is not None and copy_of(json.loads(progress)).republish

    def withhold(
        self, resource: str, withheld: Mapping[Key, bool], released: Collection[Key]
    ) -> None:
        """See Front.withhold."""
        with self.guarded():
            self._forget(self.own.withheld, resource, (*released, *withheld))
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
                self.connection.execute(insert(self.own.withheld), found)

    def refuse(
        self, resource: str, refused: Mapping[Key, Refused], healed: Collection[Key]
    ) -> None:
        """See Front.refuse."""
        with self.guarded():
            self._forget(self.own.refused, resource, (*healed, *refused))
            if refused:
                found = [
                    {
                        "name": resource,
                        "digest": _digest(key),
                        "row_key": json.dumps(key),
                        **row._asdict(),
                    }
                    for key, row in refused.items()
                ]
                self.connection.execute(insert(self.own.refused), found)

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """See Front.topic_keys."""
        return [
            str(row[0])
            for row in self._asked(
                select(self.own.topic_keys.c.row_key)
                .where(self.own.topic_keys.c.name == resource)
                .limit(limit)
            )
        ]

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """See Front.forget_topic_keys."""
        with self.guarded():
            digests = [text_digest(key) for key in keys]
            self.connection.execute(
                delete(self.own.topic_keys).where(
                    self.own.topic_keys.c.name == resource,
                    self.own.topic_keys.c.digest.in_(digests),
                )
            )

    def outbox_bytes(self) -> int:
        """See Front.outbox_bytes."""
        return int(self._asked(select(func.sum(func.length(self.own.outbox.c.payload))))[0][0] or 0)

    def _asked(
        self, question: Select[*tuple[Any, ...]], target: Target | None = None
    ) -> Sequence[Sequence[Any]]:
        """The answer to a question, about one front-end table perhaps; leaves no transaction open where none was."""
        with self.guarded(target):
            ours = not self.connection.in_transaction()
            rows = self.connection.execute(question).all()
            if ours:
                self.connection.rollback()
        return rows

    def requests(self) -> list[Request]:
        """See Front.requests."""
        columns = (
            self.own.requests.c.id,
            self.own.requests.c.kind,
            self.own.requests.c.resource,
            self.own.requests.c.allow_deletes,
            self.own.requests.c.report,
            self.own.requests.c.state,
        )
        rows = self._asked(
            select(*columns)
            .where(self.own.requests.c.state.in_(("asked", "running")))
            .order_by(self.own.requests.c.asked_us)
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
                update(self.own.requests)
                .where(self.own.requests.c.id == request)
                .values(state=state, report=text)
            ).rowcount
        return bool(found)

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """See Front.keep_fingerprint."""
        with self._riding():
            self.connection.execute(
                delete(self.own.fingerprints).where(self.own.fingerprints.c.name == resource)
            )
            self.connection.execute(
                insert(self.own.fingerprints).values(name=resource, parts=json.dumps(parts))
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

    def adopt(self, connection: Connection) -> None:
        """Brings the agent's tables to this version, under the lock. Commits. Raises NewerVersion."""
        with self.guarded():
            migrate(connection, self.agent, self)
            self.own = AgentTables(self.agent)

    def rename(self, connection: Connection, agent: str, suffixes: Sequence[str]) -> None:
        """See migration.Mover."""
        for before, after in pairs(agent, suffixes):
            connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")

    def drop_emptied(self, connection: Connection, name: str) -> None:
        """See migration.Mover."""
        connection.exec_driver_sql(f"DROP TABLE {name}")

    def initialise(self, identity: Mapping[str, object], topics: Mapping[str, str]) -> None:
        """Creates the agent's tables and rows that are missing; `identity` holds the state's columns, `topics` one topic per resource. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)
            if connection.execute(select(self.own.state.c.id)).first() is None:
                connection.execute(insert(self.own.state).values(**_first(identity)))
                connection.execute(
                    insert(self.own.published).values(
                        id=1, number=0, event_id="", batch=0, position="", time_us=0
                    )
                )
            known = set(connection.execute(select(self.own.resource.c.name)).scalars())
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
                    connection.execute(
                        insert(self.own.resource).values(name=name, topic=topic, **fresh)
                    )

    def note_settings(self, settings: Settings, anew: bool) -> None:
        """Stores what must stay of the settings, `anew` also where something is stored already. Commits."""
        known = self.own.settings
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)
            before = layout.settings(connection, self.own)
            for name, value in init_settings.noted(settings).items():
                if anew or name not in before:
                    connection.execute(delete(known).where(known.c.name == name))
                    connection.execute(insert(known).values(name=name, value=value))

    def noted(self) -> tuple[dict[str, str], dict[str, str]]:
        """What `init` has stored of the settings, and the topic of each resource."""
        rows = self.own.resource
        with self.guarded(), self.engine.connect() as connection:
            topics = connection.execute(select(rows.c.name, rows.c.topic)).all()
            return layout.settings(connection, self.own), {
                str(n): str(topic) for n, topic in topics
            }

    def update_state(self, **values: object) -> None:
        """Changes the state row during init; `identity` is a mapping. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(update(self.own.state).values(**_as_text(values)))

    def follow(
        self, identity: Mapping[str, object], position: str, time_us: int, token: str = ""
    ) -> None:
        """The stream begins anew, at another place or server: what was known of it is forgotten, and every table is copied again. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)
            start = {
                "identity": json.dumps(identity),
                "position": position,
                "token": token,
                "position_time_us": time_us,
            }
            connection.execute(
                update(self.own.state).values(
                    **start, commit_position="", commit_xid=0, commit_time_us=0
                )
            )
            again = [
                name
                for name, progress in connection.execute(select(self.own.copies)).all()
                if copy_of(json.loads(progress)).republish
            ]
            for known in (self.own.applied, self.own.copies, self.own.holes):
                connection.execute(delete(known))
            for name in again:
                connection.execute(
                    insert(self.own.copies).values(
                        name=name, progress=json.dumps(Copy(republish=True)._asdict())
                    )
                )
            connection.execute(
                update(self.own.resource)
                .where(self.own.resource.c.state == "live")
                .values(state="copying")
            )

    def begin_generations(
        self, epoch: int, number: int, event: str, generations: Mapping[str, int]
    ) -> None:
        """Goes on from what Kafka holds (`generations` by topic): an empty outbox, and every table told again in a new generation. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)
            batch = connection.execute(select(self.own.state.c.batch)).scalar_one()
            connection.execute(update(self.own.state).values(epoch=epoch, number=number))
            connection.execute(
                update(self.own.published).values(number=number, event_id=event, batch=batch)
            )
            for emptied in (self.own.outbox, self.own.copies):
                connection.execute(delete(emptied))
            for name, topic, generation in connection.execute(
                select(
                    self.own.resource.c.name,
                    self.own.resource.c.topic,
                    self.own.resource.c.generation,
                )
            ).all():
                anew = {
                    "generation": max(generation, generations.get(topic, 0)) + 1,
                    "seq": 0,
                    "state": "copying",
                    "code": "",
                    "details": "{}",
                }
                connection.execute(
                    update(self.own.resource).where(self.own.resource.c.name == name).values(**anew)
                )
                connection.execute(
                    insert(self.own.copies).values(
                        name=name, progress=json.dumps(Copy(republish=True)._asdict())
                    )
                )

    def begin_above(self, resource: str, generation: int) -> int:
        """A new generation of a topic that another agent has filled, above all of its own; every row is told in it. Commits, and returns it."""
        rows = self.own.resource
        mine = rows.c.name == resource
        with self.guarded(), self.engine.begin() as connection:
            now = connection.execute(select(rows.c.generation).where(mine)).scalar_one()
            anew = max(now, generation) + 1
            connection.execute(
                update(rows)
                .where(mine)
                .values(generation=anew, seq=0, state="copying", code="", details="{}")
            )
            copies, progress = self.own.copies, json.dumps(Copy(republish=True)._asdict())
            connection.execute(delete(copies).where(copies.c.name == resource))
            connection.execute(insert(copies).values(name=resource, progress=progress))
        return int(anew)

    def copy_again(self, names: Collection[str]) -> None:
        """These tables are copied from the beginning. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(delete(self.own.copies).where(self.own.copies.c.name.in_(names)))
            connection.execute(
                update(self.own.resource)
                .where(self.own.resource.c.name.in_(names))
                .values(state="copying", code="", details="{}")
            )

    def stored_state(self) -> Mapping[str, Any] | None:
        """The state row with `identity` as a mapping, or None where `initialise` has not run.

        Reads tables of an older version as well. Raises NewerVersion.
        """
        with self.guarded(), self.engine.connect() as connection:
            self.own = layout.find(connection, self.agent)
            if "state" in self.own.missing:
                return None
            row = layout.state_row(connection, self.own)
            return None if row is None else {**row, "identity": json.loads(row["identity"])}


def _as_text(state: Mapping[str, object]) -> dict[str, object]:
    """Columns of the state, with the identity as its text."""
    identity = {"identity": json.dumps(state["identity"])} if "identity" in state else {}
    return {**state, **identity}


def _first(identity: Mapping[str, object]) -> dict[str, object]:
    """The state row of a new agent."""
    return {"id": 1, "version": VERSION, "token": "", **_as_text(identity)}


def text_digest(text: str) -> str:
    """Stands for a text that is too long for a key column."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest(key: Key) -> str:
    return text_digest(json.dumps(key))
