"""The ways back of a table whose business database has no log: the whole agent, one database each.

Damage is found and repaired, a refused row is tried again, a suspended table resumed, and a topic
published anew.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent_process import in_this_process
from tests.checker.front import at_front
from tests.services.kafka import KafkaAddress
from tests.source.databases import Place, place_of
from tests.source.unit_without_log import Rows, Unit
from tests.waiting import eventually

POLLING = 'type = "polling"\nevery = "1s"'
TRIGGER = 'type = "trigger"\nlook_seconds = 0.2'
BY_TIME = 'poll = { mode = "timestamp", column = "changed" }'
KEY = 1000
# A text that no front end holds, where the database holds it; PostgreSQL does not
SPOILT = {
    "mariadb": "CONCAT('x', CHAR(0))",
    "mysql8": "CONCAT('x', CHAR(0))",
    "sqlite": "'x' || char(0)",
    "firebird": "'x' || ASCII_CHAR(0)",
}
EVENTS = "SELECT generation, seq FROM sync_agent_resource"
REFUSING = """
    CREATE TRIGGER refusing BEFORE UPDATE ON permit WHEN new.amount = 666
    BEGIN SELECT RAISE(ABORT, 'no such amount'); END"""


class Life:
    """A unit whose agent runs, and what somebody does at both ends."""

    def __init__(self, place: Place, unit: Unit) -> None:
        self._place = place
        self._unit = unit

    def change(self, setting: str) -> None:
        """Changes the row KEY at the source."""
        later = "2030-01-01 00:00:00"
        self._place.execute(f"UPDATE permit SET {setting}, changed = '{later}' WHERE id = {KEY}")

    def spoil(self) -> None:
        """Suspends the table: by a text that no front end holds, or a column that is gone."""
        spoilt = SPOILT.get(self._place.kind)
        if spoilt is None:
            self._place.execute("ALTER TABLE permit RENAME COLUMN amount TO price")
        else:
            self.change(f"holder = {spoilt}")

    def mend(self) -> None:
        """Takes it back."""
        if self._place.kind not in SPOILT:
            self._place.execute("ALTER TABLE permit RENAME COLUMN price TO amount")
        self.change("holder = '李芳'")

    def at_front(self, *statements: str) -> None:
        """Changes the front end by hand."""
        with closing(sqlite3.connect(self._unit.front_file, timeout=60)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    def asked(self, *arguments: str, code: int = 0) -> str:
        """Runs a command that ends with this code."""
        done = in_this_process(self._unit.config, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    @property
    def state(self) -> str:
        """The state of the table."""
        told = in_this_process(self._unit.config, "status", "--json").stdout
        (table,) = json.loads(told)["tables"]
        return str(table["state"])

    @property
    def refused(self) -> int:
        """How many rows the front-end table refuses."""
        return len(json.loads(self.asked("refused", "permit", "--json")))

    def await_equal(self) -> None:
        """Waits until the front end holds what the business database does."""
        unit = self._unit
        eventually(lambda: unit.front == unit.business, what="both sides are equal")


@pytest.mark.parametrize(
    ("kind", "source", "resource"),
    [
        ("mysql8", POLLING, BY_TIME),
        ("mariadb", POLLING, BY_TIME),
        ("postgresql", TRIGGER, ""),
        ("sqlite", TRIGGER, ""),
        ("firebird", TRIGGER, ""),
    ],
    ids=[
        "polling mysql8",
        "polling mariadb",
        "trigger postgresql",
        "trigger sqlite",
        "trigger firebird",
    ],
)
def test_every_way_back(
    request: pytest.FixtureRequest,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
    kind: str,
    source: str,
    resource: str,
) -> None:
    """In the end both sides and the topic are equal."""
    with place_of(kind, request, tmp_path) as place:
        unit = Unit(place, kafka, topic_prefix, tmp_path, source, resource)
        unit.write(30)
        place.execute(f"INSERT INTO permit (id, holder, amount) VALUES ({KEY}, '王伟', 1)")
        unit.command("init", "--apply")
        with unit.start() as agent:
            agent.wait_ready()
            life = Life(place, unit)
            life.await_equal()

            life.at_front(
                f"DELETE FROM permit WHERE id = {KEY}",
                f"INSERT INTO permit (id, holder, amount) VALUES ({KEY + 1}, '伪造', 1)",
            )
            life.asked("verify", "permit", code=1)
            life.asked("reconcile", "permit")
            life.await_equal()

            life.at_front(REFUSING)
            life.change("amount = 666")
            eventually(lambda: life.refused == 1, what="the front end refuses the row")
            life.at_front("DROP TRIGGER refusing")
            life.asked("retry", "permit")
            assert life.refused == 0
            life.await_equal()

            life.spoil()
            eventually(lambda: life.state == "suspended", what="the table is suspended")
            life.mend()
            life.asked("resume", "permit")
            life.await_equal()

            life.asked("republish", "permit")
            eventually(lambda: life.state == "live", what="every row has its event once more")
            ((generation, events),) = at_front(unit.front_file, EVENTS)
            assert (generation, events >= len(unit.business)) == (2, True)
            life.asked("verify", "permit")
            eventually(lambda: subscribed(unit) == unit.business, what="all is published")
            agent.stop()


def subscribed(unit: Unit) -> Rows:
    """What a subscriber holds."""
    rows: Rows = {}
    for key, _, after in unit.events():
        rows.pop(key, None)
        if after is not None:
            rows[key] = (after["holder"], after["amount"])
    return rows
