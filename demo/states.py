"""Units whose database is another one than PostgreSQL: it is looked at, or has a binary log."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from demo import plain
from demo.businesses import Business
from demo.plain import CHANGED, HELD, LONG_AGO, Row
from demo.unit import PATIENCE
from tests.agent_process import Installation, Lines
from tests.checker import Places, compare
from tests.checker.table import Database
from tests.checker.unit import RESIDENTS, UnitTable
from tests.waiting import eventually

# By resource: what an application deletes, which no look shows
DELETES: Mapping[str, str] = {
    "residents": 'DELETE FROM "居民" WHERE "编号" BETWEEN -60 AND -21',
    "permits": 'DELETE FROM "许可证" WHERE "证号" BETWEEN -50 AND -21',
}


class StatesInstallation(Installation):
    """See Installation. Nobody asks how far a log is read."""

    business: Business

    @property
    def places(self) -> Places:
        """See Installation.places."""
        return super().places._replace(source=self.business.database)

    def source_settings(self) -> Lines:
        """See Installation.source_settings: `sections` have the others."""
        return {"url": self.business.url}

    def init(self) -> str:
        """See Installation.init: the agent's own account makes everything."""
        return self.command("init", "--apply").stdout

    def applied(self, position: str = "") -> bool:
        """See Installation.applied: the front end is read and compared."""
        return compare(self.places._replace(bootstrap=None), self.judged).equal


class StatesUnit:
    """See Unit. The business database is another one than PostgreSQL."""

    found: ClassVar[str]  # how changes are found
    tables: Sequence[UnitTable] = plain.TABLES
    added = plain.ADDED
    prepared: str
    streams_deletes: bool
    settings: ClassVar[Lines]  # of [source]

    def __init__(self, business: Business) -> None:
        self._business = business

    @property
    def way(self) -> str:
        """See Unit.way."""
        return f" ({self._business.name}, {self.found})"

    @property
    def database(self) -> Database:
        """See Unit.database."""
        return self._business.database

    def open(self, everything: ExitStack, rows: Mapping[str, int]) -> str:
        """See Unit.open."""
        every = (*self.tables, self.added)
        what = self._business.open(everything, every)
        for table in every:
            self._business.insert(table, held(table, rows[table.resource]))
        return what

    def place(
        self,
        directory: Path,
        bootstrap: str,
        name: str,
        front: str | None,
        sections: Mapping[str, Lines],
    ) -> Installation:
        """See Unit.place."""
        given = {**sections, "source": self.settings}
        source = str(self._business.database)
        place = StatesInstallation(
            directory, source, bootstrap, name, self.tables, front, sections=given
        )
        place.business = self._business
        return place

    def insert_many(self, rows: int, first: int) -> None:
        """See Unit.insert_many."""
        made = map(HELD[RESIDENTS.resource], range(first + 1, first + rows + 1))
        self._business.insert(self.tables[0], made)

    def show_deletes(self, place: Installation) -> str:
        """See Unit.show_deletes: there were some all the time."""
        return ""

    def shell(self) -> str:
        """See Unit.shell."""
        return self._business.shell()


def polled(table: UnitTable) -> UnitTable:
    """Returns the table with the settings that say how it is polled."""
    # The application commits within this time
    poll = f'poll = {{ mode = "timestamp", column = "{CHANGED}", overlap = 20 }}\n'
    return table._replace(settings=poll + table.settings)


class PolledUnit(StatesUnit):
    """See Unit. Looks find new and changed rows, a comparison finds the deleted ones."""

    found = "polling 轮询"
    tables: Sequence[UnitTable] = tuple(map(polled, plain.TABLES))
    added = polled(plain.ADDED)
    prepared = "nothing in the business database"
    streams_deletes = False
    settings: ClassVar[Lines] = {"type": "polling", "every": "1s"}

    def show_deletes(self, place: Installation) -> str:
        """See Unit.show_deletes: a comparison must find these deletes, and nothing else."""
        eventually(place.applied, PATIENCE, "looks have found what was added and changed")
        deleted = {}
        for resource, statement in DELETES.items():
            deleted[resource] = self._business.execute(statement)

        reports = json.loads(place.command("reconcile", "--json").stdout)
        found = {}
        for one in reports:
            differences = one["missing"], one["different"], one["extra"]
            if any(differences):
                found[one["resource"]] = differences
        expected = {resource: (0, 0, rows) for resource, rows in deleted.items()}
        assert found == expected, f"the comparison found {found}, it should {expected}"
        rows = sum(deleted.values())
        return f"{rows} rows deleted since were found by comparison 比对找出已删除的 {rows} 行; "


class NotedUnit(StatesUnit):
    """See Unit. Triggers note the key of each row that changes."""

    found = "trigger log 触发器日志"
    prepared = "a table of notes and the triggers"
    streams_deletes = True
    settings: ClassVar[Lines] = {"type": "trigger", "look_seconds": 0.5}


class LoggedUnit(StatesUnit):
    """See Unit. The agent reads the binary log."""

    found = "binary log 二进制日志"
    prepared = "nothing in the business database"
    streams_deletes = True
    settings: ClassVar[Lines] = {"type": "mysql"}


def held(table: UnitTable, rows: int) -> Iterable[Row]:
    """Yields the rows that the table holds; they were changed long ago."""
    for n in range(1, rows + 1):
        yield {**HELD[table.resource](n), CHANGED: str(LONG_AGO + timedelta(minutes=n))}
