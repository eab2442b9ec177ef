"""The trigger log in MariaDB and MySQL.

A trigger acts with the rights of the account that has made it: the application needs none. That
account must not be dropped before its triggers are, or every change of their tables fails.
"""

from collections.abc import Mapping
from typing import ClassVar

from sqlalchemy import Connection, text

from agent.connectors.trigger.databases.base import (
    KeyPart,
    LoggedTable,
    TriggerPerEvent,
    note_statements,
)

_INSTALLED = text("""
    SELECT trigger_name,
           concat_ws(' ', event_manipulation, definer, sql_mode, action_statement, created)
      FROM information_schema.triggers
     WHERE event_object_schema = coalesce(nullif(:schema, ''), database())
       AND event_object_table = :name AND trigger_name LIKE 'sync\\_agent\\_%'
""")

# In another schema than the session's, a name without one means another log
_FOUND = text("""
    SELECT trigger_schema, trigger_schema = database(), trigger_name, action_statement
      FROM information_schema.triggers
     WHERE trigger_name LIKE 'sync\\_agent\\_%'
       AND (:schema <> '' OR trigger_schema = database())
""")


class MariaDbLog(TriggerPerEvent):
    """See TriggerLog."""

    notes_cascades: ClassVar[bool] = False

    def quoted(self, name: str) -> str:
        """See TriggerLog.quoted."""
        return "`" + name.replace("`", "``") + "`"

    def create_log(self) -> list[str]:
        """See TriggerLog.create_log."""
        return [
            f"""CREATE TABLE {self.log_name} (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    source_table varchar(200) NOT NULL,
    operation char(1) NOT NULL,
    key_now text,
    key_before text,
    noted_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"""
        ]

    def create_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.create_triggers.

        A trigger keeps the mode in which it was made: within ours no value makes it fail.
        """
        name = _literal(table.noted)
        now, before = _key(self, "NEW", table.key), _key(self, "OLD", table.key)
        notes = note_statements(self.log_name, name, now, before)
        place = self.qualified(table.schema, table.name)
        made = ["SET SESSION sql_mode = ''"]
        for what, event in self.EVENTS.items():
            trigger = self.qualified(table.schema, self.trigger(table, what))
            body = notes[what]
            made.append(f"CREATE TRIGGER {trigger} AFTER {event} ON {place}\nFOR EACH ROW {body}")
        return made

    def account(self, connection: Connection) -> str:
        """See TriggerLog.account: user and host."""
        found = str(connection.exec_driver_sql("SELECT current_user()").scalar())
        user, _, host = found.rpartition("@")
        return f"{self.quoted(user)}@{self.quoted(host)}"

    def installed(self, connection: Connection, table: LoggedTable) -> Mapping[str, str]:
        """See TriggerLog.installed."""
        asked = {"schema": table.schema, "name": table.name}
        return self.ours(table, connection.execute(_INSTALLED, asked).all())

    def drop_found(self, connection: Connection) -> list[str]:
        """See TriggerLog.drop_found: those of tables on which the account may make triggers."""
        found = []
        rows = connection.execute(_FOUND, {"schema": self.schema}).all()
        for schema, own, name, body in rows:
            if self.writes(body):
                trigger = self.qualified("" if own else schema, name)
                found.append(f"DROP TRIGGER IF EXISTS {trigger}")
        return found


def _key(log: MariaDbLog, row: str, key: tuple[KeyPart, ...]) -> str:
    """Writes a key. All parts have one character set, or the server would refuse to join them."""
    written = []
    for part in key:
        column = f"{row}.{log.quoted(part.name)}"
        if part.form == "bytes":
            column = f"HEX({column})"
        value = f"CONVERT({column} USING utf8mb4)"
        written.append(f"CHAR_LENGTH({value}), ':', {value}")
    return f"CONCAT({', '.join(written)})"


def _literal(name: str) -> str:
    """Writes a name as a constant: a backslash means in each mode what it is."""
    if name.isascii() and "'" not in name and "\\" not in name:
        return f"'{name}'"
    return f"_utf8mb4 x'{name.encode().hex()}'"
