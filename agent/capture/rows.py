"""The front-end rows of one set of changes.

They are kept as they were, with the last state that each was given, until it is written.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.capture.table_state import TableStates
from agent.errors import RowRefused, TableWork
from agent.front.base import Front, Written
from agent.resource import FrontRow, Resource
from agent.values.rows import Key

# A table, and the rows that it was given, by key
Given = tuple[Resource, dict[Key, Written]]


class Outcome(NamedTuple):
    """What became of the rows given to one table."""

    resource: Resource
    rows: Mapping[Key, Written]
    refused: Mapping[Key, str]  # those that were left out, and what refused them


class Rows:
    """The rows of one set: as they were before it, and the last state that each was given."""

    def __init__(
        self,
        front: Front,
        held: dict[str, dict[Key, FrontRow]],
        batch: int,
        tables: TableStates,
    ) -> None:
        """`held`, by resource: rows of the front end that were looked up."""
        self._front = front
        self._held = held
        self._batch = batch
        self._tables = tables
        self._given: dict[str, Given] = {}

    def current(self, resource: Resource, key: Key) -> FrontRow | None:
        """Returns the row under the key as the changes so far have left it.

        None if there is none, if it was not looked up, or if the front end has another one than the
        source.
        """
        given = self._given.get(resource.name)
        if given is not None and key in given[1]:
            return given[1][key].row
        if key in self._tables[resource.name].refused:
            return None
        held = self._held.get(resource.name, {})
        return held.get(key)

    def published(self, resource: Resource, key: Key) -> bool:
        """Returns whether subscribers have a row under the key, as far as it was looked up."""
        refused = self._tables[resource.name].refused
        if key in refused and not self.is_given(resource, key):
            return bool(refused[key].told)
        return self.current(resource, key) is not None

    def put(self, resource: Resource, key: Key, written: Written) -> None:
        """Gives the row under the key its new state."""
        given = self._given.get(resource.name)
        if given is None:
            given = (resource, {})
            self._given[resource.name] = given
        given[1][key] = written

    def is_given(self, resource: Resource, key: Key) -> bool:
        """Returns whether the row under the key was given a new state that is not written yet."""
        given = self._given.get(resource.name)
        return given is not None and key in given[1]

    def given(self) -> list[Given]:
        """Returns what was given and is not written."""
        return list(self._given.values())

    def untaken(self, resource: Resource) -> set[Key]:
        """Returns the keys of which the front end's row is not what the changes have left."""
        untaken = set(self._tables[resource.name].refused)
        given = self._given.get(resource.name)
        if given is not None:
            untaken.update(given[1])
        return untaken

    def look_up(self, resource: Resource, keys: Sequence[Key]) -> None:
        """Looks up the rows of the front end under these keys."""
        found = self._front.fetch(resource.target, keys)
        held = self._held.setdefault(resource.name, {})
        held.update(found)

    def forget(self, resource: Resource) -> None:
        """Forgets the rows that were looked up: the table is emptied."""
        self._held.pop(resource.name, None)

    def write(self, most: int) -> list[Outcome]:
        """Writes each table; the rows that it refuses are left out.

        A table that refuses rows gets its turn after the others: a child's parent may be there.
        Raises RowRefused when one refuses more than `most`.
        """
        given = self.given()
        self._given = {}
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

        for outcome in outcomes:
            self._note_held(outcome)
        return outcomes

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

    def _note_held(self, outcome: Outcome) -> None:
        """Notes which rows the front end holds after a write."""
        held = self._held.setdefault(outcome.resource.name, {})
        for key, written in outcome.rows.items():
            if written.row is None or key in outcome.refused:
                held.pop(key, None)
            else:
                held[key] = written.row


def _refused(outcomes: Sequence[Outcome]) -> int:
    """Returns how many rows were refused."""
    return sum(len(outcome.refused) for outcome in outcomes)
