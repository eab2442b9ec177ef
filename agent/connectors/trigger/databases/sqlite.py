"""The trigger log in SQLite.

Numbers of notes are never used twice, so that a delete that is repeated deletes no other note.
"""

from collections.abc import Mapping
from typing import ClassVar

from sqlalchemy import Connection, text

from agent.connectors.trigger.databases.base import (
    PREFIX,
    KeyPart,
    LoggedTable,
    TriggerPerEvent,
    literal,
    note_statements,
)


class SQLiteLog(TriggerPerEvent):
    """See TriggerLog."""

    # Unless the application has set recursive_triggers in its session
    notes_replaced: ClassVar[bool] = False

    def quoted(self, name: str) -> str:
        """See TriggerLog.quoted."""
        return '"' + name.replace('"', '""') + '"'

    def create_log(self) -> list[str]:
        """See TriggerLog.create_log."""
        return [
            f"""CREATE TABLE {self.log_name} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source_table TEXT NOT NULL,
    operation TEXT NOT NULL,
    key_now TEXT,
    key_before TEXT,
    noted_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
)"""
        ]

    def create_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.create_triggers: names within a trigger are of the table's own file."""
        name = literal(table.noted)
        now, before = _key(self, "NEW", table.key), _key(self, "OLD", table.key)
        notes = note_statements(self.quoted(self.log), name, now, before)
        made = []
        for what, event in self.EVENTS.items():
            trigger = self.qualified(table.schema, self.trigger(table, what))
            body = notes[what]
            made.append(
                f"CREATE TRIGGER {trigger} AFTER {event} ON {self.quoted(table.name)}\n"
                f"FOR EACH ROW BEGIN {body}; END"
            )
        return made

    def grants(self, account: str) -> list[str]:
        """See TriggerLog.grants: who may write the file may do everything."""
        return []

    def account(self, connection: Connection) -> str:
        """See TriggerLog.account."""
        return ""

    def installed(self, connection: Connection, table: LoggedTable) -> Mapping[str, str]:
        """See TriggerLog.installed."""
        schema = self.quoted(table.schema or "main")
        asked = f"SELECT name, sql FROM {schema}.sqlite_master WHERE type = 'trigger'"
        rows = connection.execute(text(f"{asked} AND tbl_name = :name"), {"name": table.name})
        return self.ours(table, rows.all())

    def drop_found(self, connection: Connection) -> list[str]:
        """See TriggerLog.drop_found."""
        schema = self.quoted(self.schema or "main")
        asked = f"SELECT name, sql FROM {schema}.sqlite_master WHERE type = 'trigger'"
        found = []
        for name, body in connection.exec_driver_sql(asked).all():
            if name.startswith(PREFIX) and self.writes(body):
                found.append(f"DROP TRIGGER IF EXISTS {self.qualified(self.schema, name)}")
        return found

    def writes(self, body: str) -> bool:
        """See TriggerLog.writes: a trigger knows no other file than its own."""
        return f"INSERT INTO {self.quoted(self.log)} (source_table, " in body


def _key(log: SQLiteLog, row: str, key: tuple[KeyPart, ...]) -> str:
    written = []
    for part in key:
        column = f"{row}.{log.quoted(part.name)}"
        value = f"CAST({column} AS TEXT)"
        if part.form == "bytes":
            value = f"hex({column})"
        written.append(f"length({value}) || ':' || {value}")
    return " || ".join(written)
