"""Units whose database has no log that the agent may read: it looks at what rows are by now."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from psycopg import sql

from demo import plain
from demo.plain import CHANGED, HELD, LONG_AGO, Row
from demo.unit import DATABASE, PATIENCE
from tests.agent_process import Installation, Lines
from tests.checker import Places, compare
from tests.checker.plan import columns, relation
from tests.checker.unit import RESIDENTS, UnitTable
from tests.services.processes import Workspace
from tests.waiting import eventually

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
KEEPS_TIME = f"""
    CREATE TRIGGER "{{name}}_改" AFTER UPDATE ON "{{name}}" WHEN new."{CHANGED}" = old."{CHANGED}"
    BEGIN
        UPDATE "{{name}}" SET "{CHANGED}" = {NOW} WHERE {{key}};
    END"""


# By resource: what an application deletes, which no look shows
DELETES: Mapping[str, str] = {
    "residents": 'DELETE FROM "居民" WHERE "编号" BETWEEN -60 AND -21',
    "permits": 'DELETE FROM "许可证" WHERE "证号" BETWEEN -50 AND -21',
}


class StatesInstallation(Installation):
    """See Installation. `source` is a SQLite file, and nobody asks how far a log is read."""

    @property
    def places(self) -> Places:
        """See Installation.places."""
        return super().places._replace(source=Path(self.source))

    def source_settings(self) -> Lines:
        """See Installation.source_settings: `sections` have the others."""
        return {"url": f"sqlite:///{self.source}"}

    def init(self) -> str:
        """See Installation.init: the agent's own account makes everything."""
        return self.command("init", "--apply").stdout

    def applied(self, position: str = "") -> bool:
        """See Installation.applied: the front end is read and compared."""
        return compare(self.places._replace(bootstrap=None), self.judged).equal


class StatesUnit:
    """See Unit. The database is a SQLite file."""

    way: str
    tables: Sequence[UnitTable] = plain.TABLES
    added = plain.ADDED
    prepared: str
    streams_deletes: bool
    settings: ClassVar[Lines]  # of [source]

    def __init__(self) -> None:
        self._file = Path("nowhere")

    @property
    def database(self) -> Path:
        """See Unit.database."""
        return self._file

    def open(self, everything: ExitStack, rows: Mapping[str, int]) -> str:
        """See Unit.open."""
        workspace = Workspace("unit")
        everything.callback(workspace.close)
        self._file = workspace.path / f"{DATABASE}.db"
        with closing(sqlite3.connect(self._file)) as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for table in (*self.tables, self.added):
                for statement in statements(table):
                    connection.execute(statement)
                insert(connection, table, held(table, rows[table.resource]))
        return f"SQLite {sqlite3.sqlite_version}"

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
        return StatesInstallation(
            directory, str(self._file), bootstrap, name, self.tables, front, sections=given
        )

    def insert_many(self, rows: int, first: int) -> None:
        """See Unit.insert_many."""
        made = map(HELD[RESIDENTS.resource], range(first + 1, first + rows + 1))
        with closing(sqlite3.connect(self._file, timeout=60)) as connection, connection:
            insert(connection, self.tables[0], made)

    def show_deletes(self, place: Installation) -> str:
        """See Unit.show_deletes: there were some all the time."""
        return ""

    def shell(self) -> str:
        """See Unit.shell."""
        return f"sqlite3 {self._file}"


def polled(table: UnitTable) -> UnitTable:
    """Returns the table with the settings that say how it is polled."""
    # The application commits within this time
    poll = f'poll = {{ mode = "timestamp", column = "{CHANGED}", overlap = 20 }}\n'
    return table._replace(settings=poll + table.settings)


class PolledUnit(StatesUnit):
    """See Unit. Looks find new and changed rows, a comparison finds the deleted ones."""

    way = " (SQLite, polling 轮询)"
    tables: Sequence[UnitTable] = tuple(map(polled, plain.TABLES))
    added = polled(plain.ADDED)
    prepared = "nothing in the business database"
    streams_deletes = False
    settings: ClassVar[Lines] = {"type": "polling", "every": "1s"}

    def show_deletes(self, place: Installation) -> str:
        """See Unit.show_deletes: a comparison must find these deletes, and nothing else."""
        eventually(place.applied, PATIENCE, "looks have found what was added and changed")
        deleted = {}
        with closing(sqlite3.connect(self._file, timeout=60)) as connection, connection:
            for resource, statement in DELETES.items():
                deleted[resource] = connection.execute(statement).rowcount

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

    way = " (SQLite, trigger log 触发器日志)"
    prepared = "a table of notes and the triggers"
    streams_deletes = True
    settings: ClassVar[Lines] = {"type": "trigger", "look_seconds": 0.5}


def statements(table: UnitTable) -> Iterable[str]:
    """Yields what makes the table, and has the database keep the time of each row's last change."""
    name = relation(table).as_string()
    changed = f'"{CHANGED}" DATETIME NOT NULL DEFAULT ({NOW})'
    yield f"CREATE TABLE {name}" + table.ddl.replace("{changed}", changed)
    listed = columns([CHANGED, *table.key]).as_string()
    yield f'CREATE INDEX "{table.name}_按时间" ON {name} ({listed})'
    same = [f'"{column}" = new."{column}"' for column in table.key]
    yield KEEPS_TIME.format(name=table.name, key=" AND ".join(same))


def held(table: UnitTable, rows: int) -> Iterable[Row]:
    """Yields the rows that the table holds; they were changed long ago."""
    for n in range(1, rows + 1):
        yield {**HELD[table.resource](n), CHANGED: str(LONG_AGO + timedelta(minutes=n))}


def insert(connection: sqlite3.Connection, table: UnitTable, rows: Iterable[Row]) -> None:
    """Inserts rows that have the same columns."""
    every = list(rows)
    if not every:
        return
    places = sql.SQL(", ").join([sql.SQL("?")] * len(every[0]))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        relation(table), columns(every[0]), places
    )
    connection.executemany(statement.as_string(), [list(row.values()) for row in every])
