"""The front-end rows of one set of changes: as they stood, and the last state each was given, until it is written."""

from collections.abc import Sequence

from agent.front.base import Front, Written
from agent.resource import FrontRow, Key, Resource


class Rows:
    """The rows of one set: as they stood before, and the last state each was given, until it is written."""

    def __init__(self, front: Front, stood: dict[str, dict[Key, FrontRow]], batch: int) -> None:
        self._front = front
        self._stood = stood
        self._batch = batch
        self._given: dict[str, tuple[Resource, dict[Key, Written]]] = {}

    def standing(self, resource: Resource, key: Key) -> FrontRow | None:
        """The row under the key as the changes so far have left it; None if there is none (or it was not looked up)."""
        given = self._given.get(resource.name)
        if given is not None and key in given[1]:
            return given[1][key].row
        return self._stood.get(resource.name, {}).get(key)

    def put(self, resource: Resource, key: Key, written: Written) -> None:
        """Gives the row under the key its new state."""
        given = self._given.get(resource.name)
        if given is None:
            given = self._given[resource.name] = (resource, {})
        given[1][key] = written

    def look_up(self, resource: Resource, keys: Sequence[Key]) -> None:
        """Finds out what stands under these keys."""
        self._stood.setdefault(resource.name, {}).update(self._front.fetch(resource.target, keys))

    def forget(self, resource: Resource) -> None:
        """What stood in the table stands there no more."""
        self._stood.pop(resource.name, None)

    def write(self) -> None:
        """Writes each table once; afterwards what was given stands."""
        for resource, given in self._given.values():
            self._front.write(resource.target, given, self._batch)
            stood = self._stood.setdefault(resource.name, {})
            for key, written in given.items():
                if written.row is None:
                    stood.pop(key, None)
                else:
                    stood[key] = written.row
        self._given.clear()
