"""A copy that is killed three times goes on at its mark, while changes arrive all the time."""

import re
import threading
from collections import Counter
from random import Random
from types import TracebackType
from typing import Self

import psycopg
import pytest
from psycopg import sql

from tests.checker.plan import relation
from tests.faults.service import ArmedAgent
from tests.reconcile.system import Ground, copied, equal, events
from tests.reconcile.tables import INTEGERS, numbered
from tests.waiting import eventually

ROWS = 40_000
KILLS = "after_page_read:3:kill,before_page_merge:3:kill,after_page_merge:3:kill"
# Rows changed in one transaction, seconds between two: 200 changes a second
AT_ONCE, PACE = (
    10,
    0.05,
)


class Changes:
    """Updates of rows drawn from INTEGERS, all the time."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.changed: set[int] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        random = Random(3)
        update = sql.SQL('UPDATE {} SET "值" = "值" || %s WHERE "编号" = ANY(%s)').format(
            relation(INTEGERS)
        )
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            while not self._ended.wait(PACE):
                keys = [random.randint(1, ROWS) for _ in range(AT_ONCE)]
                self.changed.update(keys)
                connection.execute(update, ["+", keys])


@pytest.mark.slow
def test_a_copy_killed_three_times_copies_no_page_twice(ground: Ground) -> None:
    """Every row is read once.

    `r` comes once for each that no change brought before, never twice.
    """
    place = ground.installed([INTEGERS], before=numbered(1, ROWS))
    with Changes(place.source) as changes, ArmedAgent(place, KILLS) as agent:
        eventually(lambda: len(agent.fired()) == KILLS.count("kill"), 120, "three kills", 0.2)
        until = copied(place, agent)
    with place.start() as agent:
        equal(place, until=until)
        read = Counter(
            event.key_object["编号"] for _, event in events(place, INTEGERS) if event.op == "r"
        )
        assert set(read.values()) == {1}
        assert set(range(1, ROWS + 1)) - read.keys() <= changes.changed
        ended = re.findall(
            "reconcile_ends resource=integers repair=True "
            r"rows=(\d+) missing=(\d+) different=(\d+) extra=(\d+)",
            agent.log,
        )
        assert ended == [(str(ROWS), str(len(read)), "0", "0")]
        assert agent.log.count("reconcile_begins") == 1
