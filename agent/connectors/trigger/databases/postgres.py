"""The trigger log in PostgreSQL.

One function of each table writes its notes, with the rights of whoever has made it: the application
needs none. The identity of a note is no sequence's number, for `lastval()` of the application's
session must stay what the application has made it.
"""

from collections.abc import Mapping
from typing import ClassVar

from sqlalchemy import Connection, text

from agent.connectors.trigger.databases.base import (
    LOG,
    KeyPart,
    LoggedTable,
    TriggerLog,
    literal,
    names,
    note_statements,
)

_ROW, _TRUNCATE = "row", "all"

_INSTALLED = text("""
    SELECT t.tgname, concat(t.oid, t.tgenabled, pg_get_triggerdef(t.oid), f.prosrc)
      FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
     WHERE t.tgrelid = to_regclass(:place)
       AND t.tgname IN (:row, :all)
       AND t.tgenabled IN ('A', 'O')
""")

_FOUND = text("""
    SELECT f.proname, f.prosrc
      FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
     WHERE n.nspname = :schema AND f.proname LIKE 'sync\\_agent\\_%'
""")


class PostgresLog(TriggerLog):
    """See TriggerLog."""

    notes_truncate: ClassVar[bool] = True

    # What fills in the identity of a note, and how a trigger calls its function
    identity: ClassVar[str] = "id uuid DEFAULT gen_random_uuid() PRIMARY KEY"
    calls: ClassVar[str] = "EXECUTE FUNCTION"

    def __init__(self, log: str = LOG, schema: str = "") -> None:
        """The function has no search path of a session: it names the schema of the log."""
        super().__init__(log, schema or "public")

    def quoted(self, name: str) -> str:
        """See TriggerLog.quoted."""
        return '"' + name.replace('"', '""') + '"'

    def create_log(self) -> list[str]:
        """See TriggerLog.create_log. An index finds the few notes of TRUNCATE."""
        return [
            f"""CREATE TABLE {self.log_name} (
    {self.identity},
    source_table text NOT NULL,
    operation text NOT NULL,
    key_now text,
    key_before text,
    noted_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
)""",
            f"CREATE INDEX ON {self.log_name} (source_table) WHERE operation = 'T'",
        ]

    def create_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.create_triggers.

        They fire for rows that a subscription or a restore writes, too.
        """
        place = self.qualified(table.schema, table.name)
        function = self._function(table)
        made = [
            f"""CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $sync_agent${self._body(table)}$sync_agent$""",
            # Whoever may make triggers could else write notes of rows that are none of his
            f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
        ]
        fired = {_ROW: ("INSERT OR UPDATE OR DELETE", "ROW"), _TRUNCATE: ("TRUNCATE", "STATEMENT")}
        for what, (event, level) in fired.items():
            trigger = self.quoted(self.trigger(table, what))
            made.append(
                f"""CREATE TRIGGER {trigger} AFTER {event} ON {place}
FOR EACH {level} {self.calls} {function}()"""
            )
            made.append(f"ALTER TABLE {place} ENABLE ALWAYS TRIGGER {trigger}")
        return made

    def _body(self, table: LoggedTable) -> str:
        name = literal(table.noted)
        now, before = self._key("NEW", table.key), self._key("OLD", table.key)
        notes = note_statements(self.log_name, name, now, before)
        return f"""
BEGIN
    IF TG_OP = 'INSERT' THEN
        {notes["insert"]};
    ELSIF TG_OP = 'UPDATE' THEN
        {notes["update"]};
    ELSIF TG_OP = 'DELETE' THEN
        {notes["delete"]};
    ELSE
        {notes["truncate"]};
    END IF;
    RETURN NULL;
END
"""

    def drop_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.drop_triggers: with the function goes what calls it."""
        return [_drop_function(self._function(table))]

    def installed(self, connection: Connection, table: LoggedTable) -> Mapping[str, str]:
        """See TriggerLog.installed."""
        asked = {
            "place": self.qualified(table.schema, table.name),
            _ROW: self.trigger(table, _ROW),
            _TRUNCATE: self.trigger(table, _TRUNCATE),
        }
        return names(connection.execute(_INSTALLED, asked).all())

    def drop_found(self, connection: Connection) -> list[str]:
        """See TriggerLog.drop_found."""
        found = []
        for name, body in connection.execute(_FOUND, {"schema": self.schema}).all():
            if self.writes(body):
                found.append(_drop_function(self.qualified(self.schema, name)))
        return found

    def expected(self, table: LoggedTable) -> frozenset[str]:
        """See TriggerLog.expected."""
        return frozenset([self.trigger(table, _ROW), self.trigger(table, _TRUNCATE)])

    def _function(self, table: LoggedTable) -> str:
        return self.qualified(self.schema, self.trigger(table, "note"))

    def _key(self, row: str, key: tuple[KeyPart, ...]) -> str:
        """Writes a key."""
        written = []
        for part in key:
            value = self._value(f"{row}.{self.quoted(part.name)}", part)
            written.append(f"pg_catalog.length({value}) || ':' || {value}")
        return " || ".join(written)

    def _value(self, column: str, part: KeyPart) -> str:
        """Writes a part. JSON has dates in one form, whatever the session's form of them is."""
        if part.form == "bytes":
            return f"pg_catalog.encode({column}, 'hex')"
        return f"(pg_catalog.to_json({column}) #>> '{{}}')"


def _drop_function(function: str) -> str:
    return f"DROP FUNCTION IF EXISTS {function}() CASCADE"
