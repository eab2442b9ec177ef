"""Foresees where the records of a Kafka transaction will end. Pure.

The state record says exactly where its events end (docs/decisions/checks.md). It can go along with
them, instead of after them, where that is known before they are stored.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

Place = tuple[str, int]  # topic and partition


class Ends:
    """Counts what is sent, from ends that are known.

    It foresees wrongly where somebody else writes to a topic: the caller compares.
    """

    def __init__(self) -> None:
        self._next: dict[Place, int] = {}  # the offset of the next record
        self._sent: Counter[Place] = Counter()  # records of the open transaction

    def found(self, place: Place, end: int) -> None:
        """Takes the end of a partition as the cluster has described it."""
        self._next[place] = end

    def sent(self, places: Iterable[Place]) -> None:
        """Counts records, each by its partition."""
        self._sent.update(places)

    def foreseen(self) -> dict[Place, int]:
        """Returns the end of each partition of the open transaction once all is stored."""
        ends = {}
        for place, count in self._sent.items():
            ends[place] = self._next.get(place, 0) + count
        return ends

    def visible(self, stored: Mapping[Place, int]) -> None:
        """Takes where the records of the transaction ended, which is committed.

        The marker of the commit follows them.
        """
        for place in self._sent:
            self._next[place] = stored.get(place, 0) + 1
        self._sent.clear()
