"""The rows that front-end tables refuse (脏数据).

Of each is known since when, and what was last published of it.
"""

import hashlib
import logging
import time
from collections.abc import Iterator

from agent.capture.rows import Outcome, Rows
from agent.capture.table_state import TableStates
from agent.errors import RowRefused
from agent.front.base import Front, Refused, Written
from agent.resource import FrontRow, Resource
from agent.values.lines import line_of
from agent.values.rows import Key

log = logging.getLogger(__name__)

_MOST_WAITING = 10_000  # rows of one source transaction that may wait for its end, each in memory


def digest(row: FrontRow) -> str:
    """Stands for a row, so that it is known again."""
    line = line_of(row)
    return hashlib.blake2b(line, digest_size=16).hexdigest()


class Refusals:
    """Decides which rows count as refused, and when they are too many. Commits nothing."""

    def __init__(self, front: Front, tables: TableStates, most: int) -> None:
        """`most`: rows of one table that may be refused before it is suspended."""
        self._front = front
        self._tables = tables
        self.most = most

    def settle(self, outcome: Outcome) -> None:
        """Notes what a write was refused, and what it has healed.

        Raises RowRefused when a table has too many refused rows.
        """
        self._heal(outcome)
        for key, code in outcome.refused.items():
            row = outcome.rows[key].row
            self._note(outcome.resource, key, code, row)

    def _heal(self, outcome: Outcome) -> None:
        """Forgets refused rows that the table has taken now."""
        table = self._tables[outcome.resource.name]
        taken = outcome.rows.keys() - outcome.refused.keys()
        for key in table.refused.keys() & taken:
            table.heal(key)

    def _note(
        self,
        resource: Resource,
        key: Key,
        code: str,
        row: FrontRow | None,
    ) -> None:
        """Notes a row that its table refuses."""
        table = self._tables[resource.name]
        before = table.refused.get(key)
        shown = resource.key_json(key)
        if before is None:
            since = time.time_ns() // 1000
            hashed = hashlib.sha256(shown).hexdigest()
            log.warning(
                "row_refused resource=%s hash=%s reason=%s",
                resource.name,
                hashed[:16],
                code,
            )
        else:
            since = before.since_us

        published = "" if row is None else digest(row)
        refused = Refused(code, since, published, shown.decode())
        if refused != before:
            table.refuse(key, refused)
        if len(table.refused) > self.most:
            table_name = resource.target.name
            raise RowRefused(resource=resource.name, table=table_name, reason=code)

    # ---- within a source transaction

    def write_some(self, rows: Rows) -> Iterator[tuple[Resource, Key, Written]]:
        """Writes what was given and yields the rows that must wait.

        The front end cannot hold those before the source transaction is complete.
        A child's parent may still come. Where rows may share a key for a moment, there may be two
        under spellings of one key, of which the front end can hold one.
        """
        shared = {}
        for resource, given in rows.given():
            target = resource.target
            if resource.table.deferrable and self._front.spellings(target):
                shared[resource.name] = self._front.fetch(target, list(given))

        for outcome in rows.write(_MOST_WAITING):
            resource = outcome.resource
            self._heal(outcome)
            for key in outcome.refused:
                yield resource, key, outcome.rows[key]
            if resource.name in shared:
                before = shared[resource.name]
                yield from self._displaced(outcome, before)

    def _displaced(
        self,
        outcome: Outcome,
        before: dict[Key, FrontRow],
    ) -> Iterator[tuple[Resource, Key, Written]]:
        """Yields rows whose place others have taken that have an equal key of another spelling."""
        resource = outcome.resource
        given = outcome.rows
        keys = [*given, *before]
        after = self._front.fetch(resource.target, keys)

        last = next(iter(given.values()))
        for key, row in before.items():
            if key not in given and key not in after:
                restored = last._replace(row=row, operation="U")
                yield resource, key, restored
        for key, written in given.items():
            taken = written.row is not None and key not in outcome.refused
            if taken and key not in after:
                yield resource, key, written
