"""The front-end rows of one set of changes.

They are kept as they were, with the last state that each was given, until it is written.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.capture.table_state import TableStates
from agent.errors import RowRefused, TableWork
from agent.front.base import Front, Refused, Written
from agent.resource import FrontRow, Resource
from agent.values.rows import Key

# A table, and the rows that it was given, by key
Given = tuple[Resource, dict[Key, Written]]


class Outcome(NamedTuple):
    """What became of the rows given to one table."""

    resource: Resource
    rows: Mapping[Key, Written]
    refused: Mapping[Key, str]  # those that were left out, and what refused them


class RowsOfTable:
    """The rows of one table in the set."""

    __slots__ = ("given", "held", "refused", "resource")

    def __init__(
        self,
        resource: Resource,
        held: dict[Key, FrontRow],
        refused: Mapping[Key, Refused],
    ) -> None:
        self.resource = resource

        # Rows of the front end that were looked up
        self.held = held

        # Rows that the front end refuses (`TableState.refused`)
        self.refused = refused

        # The last state that each row was given, until it is written
        self.given: dict[Key, Written] = {}

    def current(self, key: Key) -> FrontRow | None:
        """Returns the row under the key as the changes so far have left it.

        None if there is none, if it was not looked up, or if the front end has another one than the
        source.
        """
        written = self.given.get(key)
        if written is not None:
            return written.row
        if key in self.refused:
            return None
        return self.held.get(key)

    def published(self, key: Key) -> bool:
        """Returns whether subscribers have a row under the key, as far as it was looked up."""
        known = self.refused.get(key)
        if known is not None and key not in self.given:
            return bool(known.published)
        return self.current(key) is not None

    def untaken(self) -> set[Key]:
        """Returns the keys of which the front end's row is not what the changes have left."""
        return {*self.refused, *self.given}


class Rows:
    """The rows of one set, table by table."""

    def __init__(
        self,
        front: Front,
        held: Mapping[str, dict[Key, FrontRow]],
        batch: int,
        tables: TableStates,
    ) -> None:
        """`held`, by resource: rows of the front end that were looked up."""
        self._front = front
        self._held = held
        self._batch = batch
        self._states = tables
        self._tables: dict[str, RowsOfTable] = {}

        # Of the last write
        self._outcomes: list[Outcome] = []

    def of(self, resource: Resource) -> RowsOfTable:
        """Returns the rows of one table."""
        name = resource.name
        rows = self._tables.get(name)
        if rows is None:
            held = self._held.get(name, {})
            rows = RowsOfTable(resource, held, self._states[name].refused)
            self._tables[name] = rows
        return rows

    def given(self) -> list[Given]:
        """Returns what was given and is not written."""
        found = []
        for rows in self._tables.values():
            if rows.given:
                found.append((rows.resource, rows.given))
        return found

    def look_up(self, resource: Resource, keys: Sequence[Key]) -> None:
        """Looks up the rows of the front end under these keys."""
        found = self._front.fetch(resource.target, keys)
        self.of(resource).held.update(found)

    def forget(self, resource: Resource) -> None:
        """Forgets the rows that were looked up: the table is emptied."""
        self.of(resource).held.clear()

    def write(self, most: int) -> list[Outcome]:
        """Writes each table; the rows that it refuses are left out.

        A table that refuses rows gets its turn after the others: a child's parent may be there.
        Raises RowRefused when one refuses more than `most`. A set that goes on afterwards has to
        `note_written`.
        """
        given = self.given()
        for resource, _ in given:
            self._tables[resource.name].given = {}
        outcomes = []
        later = []
        for resource, rows in given:
            try:
                self._written(resource, rows, 0)
            except RowRefused:
                later.append((resource, rows))
            else:
                outcomes.append(Outcome(resource, rows, {}))
        for resource, rows in later:
            refused = self._written(resource, rows, most)
            outcomes.append(Outcome(resource, rows, refused))

        # A row that one table refuses may wait for a row of another, which is there by now
        while len(outcomes) > 1:
            before = _refused(outcomes)
            if not before:
                break
            outcomes = [self._once_more(outcome, most) for outcome in outcomes]
            if _refused(outcomes) == before:
                break

        self._outcomes = outcomes
        return outcomes

    def note_written(self) -> None:
        """Notes which rows the front end holds since the last write."""
        for outcome in self._outcomes:
            held = self.of(outcome.resource).held
            for key, written in outcome.rows.items():
                if written.row is None or key in outcome.refused:
                    held.pop(key, None)
                else:
                    held[key] = written.row
        self._outcomes = []

    def _once_more(self, outcome: Outcome, most: int) -> Outcome:
        """Tries refused rows again, now that all tables are written."""
        if not outcome.refused:
            return outcome
        rows = {key: outcome.rows[key] for key in outcome.refused}
        refused = self._written(outcome.resource, rows, most)
        return outcome._replace(refused=refused)

    def _written(
        self,
        resource: Resource,
        rows: Mapping[Key, Written],
        most: int,
    ) -> dict[Key, str]:
        """Writes rows of one table and returns those that were refused, and why."""
        with TableWork(resource.name):
            return self._front.write(resource.target, rows, self._batch, most)


def _refused(outcomes: Sequence[Outcome]) -> int:
    """Returns how many rows were refused."""
    return sum(len(outcome.refused) for outcome in outcomes)
