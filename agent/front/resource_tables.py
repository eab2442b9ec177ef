"""What the agent knows of each resource, in its own tables of a SQL front end."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, select, update

from agent.errors import Suspend
from agent.front.base import Copy, Refused, Request, copy_of
from agent.front.connection import FrontConnection
from agent.front.own_tables import text_digest
from agent.values.rows import Key


class ResourceTables(FrontConnection):
    """Keeps the contract of `ResourceStore`."""

    # ---- state and copy

    def set_state(self, resource: str, state: str, copy: Copy | None) -> None:
        """See ResourceStore.set_state."""
        with self.guarded():
            self._move(resource, state, copy)

    def _move(
        self, name: str, state: str, copy: Copy | None, code: str = "", details: str = "{}"
    ) -> None:
        resources, copies = self.own.resource, self.own.copies
        self.connection.execute(
            update(resources)
            .where(resources.c.name == name)
            .values(state=state, code=code, details=details)
        )
        self.connection.execute(delete(copies).where(copies.c.name == name))
        if copy is not None:
            progress = json.dumps(copy._asdict())
            self.connection.execute(insert(copies).values(name=name, progress=progress))

    def suspend(self, error: Suspend) -> None:
        """See ResourceStore.suspend."""
        name, holes = error.resource, self.own.holes
        details = json.dumps(error.plain_values(), ensure_ascii=False, default=str)
        with self.guarded():
            copy = Copy(republish=True) if self._republishes(name) else None
            self._move(name, "suspended", copy, error.code, details)
            self.connection.execute(delete(holes).where(holes.c.name == name))
            self.connection.commit()

    def start_copy(self, resource: str, copy: Copy) -> None:
        """See ResourceStore.start_copy."""
        with self.guarded():
            republish = copy.republish or self._republishes(resource)
            self._move(resource, "copying", copy._replace(republish=republish))
            self.connection.commit()

    def begin_generation(self, resource: str, copy: Copy) -> None:
        """See ResourceStore.begin_generation."""
        resources = self.own.resource
        with self.guarded():
            self.connection.execute(
                update(resources)
                .where(resources.c.name == resource)
                .values(generation=resources.c.generation + 1, seq=0)
            )
            self._move(resource, "copying", copy)
            self.connection.commit()

    def _republishes(self, name: str) -> bool:
        """Whether the copy of a table publishes every row again."""
        copies = self.own.copies
        progress = self.connection.execute(
            select(copies.c.progress).where(copies.c.name == name)
        ).scalar_one_or_none()
        return progress is not None and copy_of(json.loads(progress)).republish

    # ---- keys

    def note_holes(self, resource: str, holes: Collection[Key], filled: Collection[Key]) -> None:
        """See ResourceStore.note_holes."""
        rows = [_keyed(resource, key) for key in holes]
        self._exchange(self.own.holes, resource, (*filled, *holes), rows)

    def withhold(
        self, resource: str, withheld: Mapping[Key, bool], released: Collection[Key]
    ) -> None:
        """See ResourceStore.withhold."""
        rows = [{**_keyed(resource, key), "told": int(told)} for key, told in withheld.items()]
        self._exchange(self.own.withheld, resource, (*released, *withheld), rows)

    def refuse(
        self, resource: str, refused: Mapping[Key, Refused], healed: Collection[Key]
    ) -> None:
        """See ResourceStore.refuse."""
        rows = [{**_keyed(resource, key), **row._asdict()} for key, row in refused.items()]
        self._exchange(self.own.refused, resource, (*healed, *refused), rows)

    def keep_shared_keys(self, resource: str, texts: Mapping[Key, str]) -> None:
        """See ResourceStore.keep_shared_keys."""
        rows = [{**_keyed(resource, key), "held": text} for key, text in texts.items() if text]
        self._exchange(self.own.occupants, resource, texts, rows)

    def shared_keys(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """See ResourceStore.shared_keys."""
        held = self.own.occupants
        digests = [_digest(key) for key in keys]
        rows = self.query(
            select(held.c.row_key, held.c.held).where(
                held.c.name == resource, held.c.digest.in_(digests)
            )
        )
        return {tuple(json.loads(key)): text for key, text in rows}

    def forget_shared_keys(self, resource: str) -> None:
        """See ResourceStore.forget_shared_keys."""
        held = self.own.occupants
        with self.guarded():
            self.connection.execute(delete(held).where(held.c.name == resource))

    def _exchange(
        self,
        table: Table,
        resource: str,
        keys: Collection[Key],
        rows: Sequence[Mapping[str, object]],
    ) -> None:
        """Removes a resource's rows of these keys from one of our tables, and adds others."""
        with self.guarded():
            if keys:
                mine = table.c.name == bindparam("n"), table.c.digest == bindparam("d")
                digests = [{"n": resource, "d": _digest(key)} for key in keys]
                self.connection.execute(delete(table).where(*mine), digests)
            if rows:
                self.connection.execute(insert(table), rows)

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """See ResourceStore.topic_keys."""
        keys = self.own.topic_keys
        rows = self.query(select(keys.c.row_key).where(keys.c.name == resource).limit(limit))
        return [str(row[0]) for row in rows]

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """See ResourceStore.forget_topic_keys."""
        kept = self.own.topic_keys
        digests = [text_digest(key) for key in keys]
        with self.guarded():
            self.connection.execute(
                delete(kept).where(kept.c.name == resource, kept.c.digest.in_(digests))
            )

    # ---- the source's catalogue, and requests

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """See ResourceStore.keep_fingerprint."""
        kept = self.own.fingerprints
        with self.joined():
            self.connection.execute(delete(kept).where(kept.c.name == resource))
            self.connection.execute(insert(kept).values(name=resource, parts=json.dumps(parts)))

    def requests(self) -> list[Request]:
        """See ResourceStore.requests."""
        asked = self.own.requests.c
        rows = self.query(
            select(
                asked.id, asked.kind, asked.resource, asked.allow_deletes, asked.report, asked.state
            )
            .where(asked.state.in_(("asked", "running")))
            .order_by(asked.asked_us)
        )

        found = []
        for number, kind, resource, allow_deletes, report, state in rows:
            values = json.loads(report) if kind == "suspend" else {}
            running = state == "running"
            found.append(Request(number, kind, resource, bool(allow_deletes), values, running))
        return found

    def answer(self, request: str, state: str, report: Mapping[str, Any]) -> bool:
        """See ResourceStore.answer."""
        requests = self.own.requests
        text = json.dumps(report, ensure_ascii=False)
        with self.joined():
            found = self.connection.execute(
                update(requests).where(requests.c.id == request).values(state=state, report=text)
            ).rowcount
        return bool(found)


def _keyed(resource: str, key: Key) -> dict[str, object]:
    """Returns the columns that every one of our tables with a row per key begins with."""
    return {"name": resource, "digest": _digest(key), "row_key": json.dumps(key)}


def _digest(key: Key) -> str:
    return text_digest(json.dumps(key))
