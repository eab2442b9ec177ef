"""Databases that are polled, for the contracts of sources."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from agent.config import Settings
from agent.connectors.changes import Message
from agent.connectors.database.identity import identity_of
from agent.connectors.polling.source import PollingSource
from agent.connectors.position import position_number
from agent.connectors.resume import Resume


def polling_settings(url: str, *resources: dict[str, Any], **source: Any) -> Settings:
    """A configuration that polls these tables."""
    return Settings.model_validate(
        {
            "name": "unit",
            "source": {"type": "polling", "url": url, **source},
            "kafka": {"bootstrap_servers": ["nowhere:1"], "prefix": "p"},
            "reconcile": {"max_delete_share": 1},
            "resource": list(resources),
        }
    )


class WatchedSource(PollingSource):
    """A polled source that tells whether what it has looked at is stored."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.looked = False
        self._stored = 0

    def open(self, resume: Resume, front_silent_since: Any) -> None:
        """See Source.open."""
        super().open(resume, front_silent_since)
        self.looked = False
        self._stored = position_number(resume.position)

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge."""
        super().acknowledge(position)
        self._stored = position

    def look_again(self) -> None:
        """Has the next look come at once."""
        self.looked = False
        self._look_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether the tables were looked at, and the front end has what was found."""
        return self.looked and self._stored >= self._position

    def _look(self, connection: Connection) -> list[Message]:
        messages = super()._look(connection)
        self.looked = self._look_at > 0
        return messages


class PolledFile:
    """The tables of a SQLite file, polled by the time of their last change."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._path = folder / "business.db"
        self._ticks = 0
        self.deleted = set(names)  # tables that a look does not show whole: at first, each
        resources = []
        for name in names:
            self.execute(
                f"CREATE TABLE {name} (id TEXT NOT NULL PRIMARY KEY, note TEXT, changed DATETIME)"
            )
            self.execute(f"CREATE INDEX {name}_changed ON {name} (changed, id)")
            poll = {"mode": "timestamp", "column": "changed"}
            table = {"name": name, "table": name, "columns": ["id", "note"], "poll": poll}
            resources.append(table)
        self.settings = polling_settings(f"sqlite:///{self._path}", *resources)
        self.identity = identity_of(self.settings.polling)
        self.source = WatchedSource(self.settings)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Runs a statement and commits."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            return list(connection.execute(statement, values))

    def put(self, table: str, key: str, note: object) -> None:
        """Inserts or changes a row, a second after the last change."""
        self._ticks += 1
        minutes, seconds = divmod(self._ticks, 60)
        now = f"2024-01-01 00:{minutes:02d}:{seconds:02d}"
        self.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", key, note, now)

    def delete(self, table: str, key: str) -> None:
        """Deletes a row, which no look shows."""
        self.execute(f"DELETE FROM {table} WHERE id = ?", key)
        self.deleted.add(table)

    def rows(self, table: str) -> Iterator[tuple[str, str]]:
        """Returns the shared columns."""
        yield from self.execute(f"SELECT id, note FROM {table}")
