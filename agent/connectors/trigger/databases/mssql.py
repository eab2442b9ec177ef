"""The trigger log in SQL Server.

Not tried on a real server.

A trigger sees all rows of a statement at once. It acts with the rights of the table's owner: the
application needs none. The identity of a note is no IDENTITY, for `@@IDENTITY` of the
application's session must stay what the application has made it.

A statement with OUTPUT and without INTO is refused by the server for a table that has triggers,
whatever they do: who uses such statements cannot have a trigger log.
"""

from collections.abc import Mapping
from typing import ClassVar

from sqlalchemy import Connection, text

from agent.connectors.trigger.databases.base import KeyPart, LoggedTable, TriggerLog, literal, names
from agent.messages import mark

_WHAT = "note"
# A collation in which a character is one, however many units it has
_WHOLE = "Latin1_General_100_CI_AS_SC"

_INSTALLED = text("""
    SELECT t.name, CONCAT(t.modify_date, m.definition)
      FROM sys.triggers t JOIN sys.sql_modules m ON m.object_id = t.object_id
     WHERE t.parent_id = OBJECT_ID(:place) AND t.name = :name AND t.is_disabled = 0
""")

_FOUND = """
    SELECT SCHEMA_NAME(o.schema_id), o.name, m.definition
      FROM sys.objects o JOIN sys.sql_modules m ON m.object_id = o.object_id
     WHERE o.type = 'TR' AND LEFT(o.name, 11) = 'sync_agent_'
"""


class MssqlLog(TriggerLog):
    """See TriggerLog."""

    # TRUNCATE and bulk loads fire no trigger
    notes_truncate: ClassVar[bool] = False

    refused: ClassVar[str] = mark(
        "{resource}: once table {table} has triggers, the server refuses statements that have "
        "OUTPUT without INTO, such as Entity Framework Core 7 and later writes: poll such a table"
    )

    def quoted(self, name: str) -> str:
        """See TriggerLog.quoted."""
        return "[" + name.replace("]", "]]") + "]"

    def create_log(self) -> list[str]:
        """See TriggerLog.create_log."""
        return [
            f"""CREATE TABLE {self.log_name} (
    id uniqueidentifier NOT NULL DEFAULT NEWSEQUENTIALID() PRIMARY KEY,
    source_table nvarchar(200) NOT NULL,
    operation char(1) NOT NULL,
    key_now nvarchar(max),
    key_before nvarchar(max),
    noted_at datetime2(6) NOT NULL DEFAULT SYSUTCDATETIME()
)"""
        ]

    def create_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.create_triggers.

        A row that is updated has two notes, of what it was and of what it is: the server does not
        say which of them belong together.
        """
        name = f"N{literal(table.noted)}"
        trigger = self.qualified(table.schema, self.trigger(table, _WHAT))
        place = self.qualified(table.schema, table.name)
        key = self._key(table.key)
        into = f"INSERT INTO {self.log_name} (source_table, operation"
        return [
            f"""CREATE TRIGGER {trigger} ON {place} WITH EXECUTE AS OWNER
AFTER INSERT, UPDATE, DELETE AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM deleted)
        {into}, key_now) SELECT {name}, 'I', {key} FROM inserted;
    ELSE IF NOT EXISTS (SELECT 1 FROM inserted)
        {into}, key_before) SELECT {name}, 'D', {key} FROM deleted;
    ELSE
    BEGIN
        {into}, key_now) SELECT {name}, 'U', {key} FROM inserted;
        {into}, key_before) SELECT {name}, 'U', {key} FROM deleted;
    END
END"""
        ]

    def drop_log(self) -> list[str]:
        """See TriggerLog.drop_log: servers before 2016 know no IF EXISTS."""
        log = self.log_name
        return [f"IF OBJECT_ID(N{literal(log)}) IS NOT NULL DROP TABLE {log}"]

    def drop_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.drop_triggers."""
        trigger = self.qualified(table.schema, self.trigger(table, _WHAT))
        return [self._drop(trigger)]

    @staticmethod
    def _drop(trigger: str) -> str:
        return f"IF OBJECT_ID(N{literal(trigger)}) IS NOT NULL DROP TRIGGER {trigger}"

    def drop_found(self, connection: Connection) -> list[str]:
        """See TriggerLog.drop_found."""
        found = []
        for schema, name, body in connection.exec_driver_sql(_FOUND).all():
            if self.writes(body):
                found.append(self._drop(self.qualified(schema, name)))
        return found

    def account(self, connection: Connection) -> str:
        """See TriggerLog.account."""
        return str(connection.exec_driver_sql("SELECT QUOTENAME(USER_NAME())").scalar())

    def installed(self, connection: Connection, table: LoggedTable) -> Mapping[str, str]:
        """See TriggerLog.installed."""
        asked = {
            "place": self.qualified(table.schema, table.name),
            "name": self.trigger(table, _WHAT),
        }
        return names(connection.execute(_INSTALLED, asked).all())

    def expected(self, table: LoggedTable) -> frozenset[str]:
        """See TriggerLog.expected."""
        return frozenset([self.trigger(table, _WHAT)])

    def _key(self, key: tuple[KeyPart, ...]) -> str:
        written = []
        for part in key:
            value = _value(self.quoted(part.name), part)
            counted = f"LEN(({value} + N'.') COLLATE {_WHOLE}) - 1"
            written.append(f"CONVERT(nvarchar(10), {counted}) + N':' + {value}")
        return " + ".join(written)


def _value(column: str, part: KeyPart) -> str:
    if part.form in ("date", "moment"):
        return f"CONVERT(nvarchar(40), {column}, 121)"
    if part.form == "bytes":
        return f"CONVERT(nvarchar(max), CONVERT(varbinary(max), {column}), 2)"
    return f"CONVERT(nvarchar(max), {column})"
