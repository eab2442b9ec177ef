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
        self,
        name: str,
        state: str,
        copy: Copy | None,
        code: str = "",
        details: str = "{}",
    ) -> None:
        """Brings a resource into a state, and replaces its copy."""
        resources = self.own.resource
        moved = (
            update(resources)
            .where(resources.c.name == name)
            .values(state=state, code=code, details=details)
        )
        self.connection.execute(moved)

        copies = self.own.copies
        self.connection.execute(delete(copies).where(copies.c.name == name))
        if copy is not None:
            progress = json.dumps(copy._asdict())
            row = {"name": name, "progress": progress}
            self.connection.execute(insert(copies), row)

    def suspend(self, error: Suspend) -> None:
        """See ResourceStore.suspend."""
        name = error.resource
        holes = self.own.holes
        details = json.dumps(error.plain_values(), ensure_ascii=False, default=str)

        with self.guarded():
            copy = None
            if self._republishes(name):
                copy = Copy(republish=True)
            self._move(name, "suspended", copy, error.code, details)

            self.connection.execute(delete(holes).where(holes.c.name == name))
            self.connection.commit()

    def start_copy(self, resource: str, copy: Copy) -> None:
        """See ResourceStore.start_copy."""
        with self.guarded():
            republish = copy.republish or self._republishes(resource)
            new = copy._replace(republish=republish)
            self._move(resource, "copying", new)
            self.connection.commit()

    def begin_generation(self, resource: str, copy: Copy) -> None:
        """See ResourceStore.begin_generation."""
        resources = self.own.resource
        begun = (
            update(resources)
            .where(resources.c.name == resource)
            .values(generation=resources.c.generation + 1, seq=0)
        )
        with self.guarded():
            self.connection.execute(begun)
            self._move(resource, "copying", copy)
            self.connection.commit()

    def _republishes(self, name: str) -> bool:
        """Whether the copy of a table publishes every row again."""
        copies = self.own.copies
        stored = select(copies.c.progress).where(copies.c.name == name)
        progress = self.connection.execute(stored).scalar_one_or_none()
        if progress is None:
            return False

        copy = copy_of(json.loads(progress))
        return copy.republish

    # ---- keys

    def note_holes(
        self,
        resource: str,
        holes: Collection[Key],
        filled: Collection[Key],
    ) -> None:
        """See ResourceStore.note_holes."""
        rows = [_keyed(resource, key) for key in holes]
        changed = (*filled, *holes)
        self._exchange(self.own.holes, resource, changed, rows)

    def withhold(
        self,
        resource: str,
        withheld: Mapping[Key, bool],
        released: Collection[Key],
    ) -> None:
        """See ResourceStore.withhold."""
        rows = []
        for key, published in withheld.items():
            row = _keyed(resource, key)
            row["published"] = int(published)
            rows.append(row)

        changed = (*released, *withheld)
        self._exchange(self.own.withheld, resource, changed, rows)

    def refuse(
        self,
        resource: str,
        refused: Mapping[Key, Refused],
        healed: Collection[Key],
    ) -> None:
        """See ResourceStore.refuse."""
        rows = []
        for key, refusal in refused.items():
            row = _keyed(resource, key)
            row |= refusal._asdict()
            rows.append(row)

        changed = (*healed, *refused)
        self._exchange(self.own.refused, resource, changed, rows)

    def keep_shared_keys(self, resource: str, texts: Mapping[Key, str]) -> None:
        """See ResourceStore.keep_shared_keys."""
        rows = []
        for key, text in texts.items():
            if text:
                row = _keyed(resource, key)
                row["held"] = text
                rows.append(row)

        self._exchange(self.own.shared_keys, resource, texts, rows)

    def shared_keys(self, resource: str, keys: Collection[Key]) -> dict[Key, str]:
        """See ResourceStore.shared_keys."""
        held = self.own.shared_keys
        digests = [_digest(key) for key in keys]
        mine = held.c.name == resource
        asked = held.c.digest.in_(digests)
        question = select(held.c.row_key, held.c.held).where(mine, asked)

        found = {}
        for key_text, text in self.query(question):
            key = tuple(json.loads(key_text))
            found[key] = text
        return found

    def forget_shared_keys(self, resource: str) -> None:
        """See ResourceStore.forget_shared_keys."""
        held = self.own.shared_keys
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
        mine = table.c.name == bindparam("n")
        removed = table.c.digest == bindparam("d")
        with self.guarded():
            if keys:
                digests = [{"n": resource, "d": _digest(key)} for key in keys]
                self.connection.execute(delete(table).where(mine, removed), digests)
            if rows:
                self.connection.execute(insert(table), rows)

    def topic_keys(self, resource: str, limit: int) -> list[str]:
        """See ResourceStore.topic_keys."""
        keys = self.own.topic_keys
        some = select(keys.c.row_key).where(keys.c.name == resource).limit(limit)
        return [str(key) for (key,) in self.query(some)]

    def forget_topic_keys(self, resource: str, keys: Collection[str]) -> None:
        """See ResourceStore.forget_topic_keys."""
        kept = self.own.topic_keys
        digests = [text_digest(key) for key in keys]
        mine = kept.c.name == resource
        forgotten = kept.c.digest.in_(digests)
        with self.guarded():
            self.connection.execute(delete(kept).where(mine, forgotten))

    # ---- the source's catalogue, and requests

    def keep_fingerprint(self, resource: str, parts: Mapping[str, str]) -> None:
        """See ResourceStore.keep_fingerprint."""
        kept = self.own.fingerprints
        mine = kept.c.name == resource
        row = {"name": resource, "parts": json.dumps(parts)}
        with self.joined():
            self.connection.execute(delete(kept).where(mine))
            self.connection.execute(insert(kept), row)

    def requests(self) -> list[Request]:
        """See ResourceStore.requests."""
        found = []
        rows = self.query(self.own.statements.unanswered)
        for number, kind, resource, allow_deletes, report, state in rows:
            values = {}
            if kind == "suspend":
                values = json.loads(report)

            request = Request(
                number,
                kind,
                resource,
                allow_deletes=bool(allow_deletes),
                values=values,
                running=state == "running",
            )
            found.append(request)
        return found

    def answer(self, request: str, state: str, report: Mapping[str, Any]) -> bool:
        """See ResourceStore.answer."""
        requests = self.own.requests
        answer = {"state": state, "report": json.dumps(report, ensure_ascii=False)}
        answered = update(requests).where(requests.c.id == request).values(**answer)
        with self.joined():
            result = self.connection.execute(answered)
        return result.rowcount > 0


def _keyed(resource: str, key: Key) -> dict[str, object]:
    """Returns the columns that every one of our tables with a row per key begins with."""
    text = json.dumps(key)
    return {
        "name": resource,
        "digest": text_digest(text),
        "row_key": text,
    }


def _digest(key: Key) -> str:
    """Returns the digest under which our tables keep a row's key."""
    return text_digest(json.dumps(key))
