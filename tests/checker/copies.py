"""Finds out until when each table was being copied.

Meanwhile an event need not fit what the topic held, for a subscriber may hold more, or less.
"""

from collections.abc import Mapping
from contextlib import suppress

from tests.checker.front import ERRORS, at_front
from tests.checker.table import Front

Number = tuple[int, int]  # generation and seq of an event
STATES = "SELECT topic, state, generation, seq FROM sync_agent_resource"


class Copies:
    """Reads the states of the tables, as often as it is asked to.

    `until` has each topic's last event when its table was first seen live again.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._copying: set[str] = set()
        self._until: dict[str, Number] = {}

    @property
    def until(self) -> Mapping[str, Number]:
        """By topic; no entry for a table that was always seen live."""
        return self._until

    def look(self) -> set[str]:
        """Reads the states once and returns the topics of the tables that are not live.

        A front end that is locked or away shows what it showed before.
        """
        with suppress(*ERRORS):
            for topic, state, generation, seq in at_front(self._front, STATES):
                if state != "live" or topic in self._copying:
                    self._until[topic] = int(generation), int(seq)
                (self._copying.discard if state == "live" else self._copying.add)(topic)
        return self._copying
