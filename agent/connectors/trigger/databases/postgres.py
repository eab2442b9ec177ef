"""The trigger log in PostgreSQL.

One function of each table writes its notes, with the rights of whoever has made it: the application
needs none. It is called for each statement and sees its rows as a table, for that costs a statement
of many rows much less. Where triggers of statements would miss some changes it is called for each
row. The identity of a note is no sequence's number, for `lastval()` of the application's
session must stay what the application has made it.
"""

from collections.abc import Collection, Mapping
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

# What a statement's trigger sees, by its event
_TABLES = {
    "insert": "NEW TABLE AS sync_agent_new",
    "update": "OLD TABLE AS sync_agent_old NEW TABLE AS sync_agent_new",
    "delete": "OLD TABLE AS sync_agent_old",
}
_NOTED = 100  # keys of one note, at the most

# Tables of which a statement or a subscription can change rows without their statements' triggers:
# what is in a hierarchy, and what is replicated into
_BY_ROW = """(
    SELECT c.relkind <> 'r'
        OR EXISTS (SELECT FROM pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent))
        OR EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid)
      FROM pg_class c WHERE c.oid = to_regclass(:place)
)"""

# Where temporary files are bounded, for anybody: what a statement's triggers see could go past
# that, and the statement would fail
_BOUNDED = """(
    SELECT current_setting('temp_file_limit') <> '-1'
        OR EXISTS (SELECT FROM pg_db_role_setting r, unnest(r.setconfig) AS given
                    WHERE starts_with(given, 'temp_file_limit=')
                      AND given <> 'temp_file_limit=-1')
)"""

_INSTALLED = text(f"""
    SELECT t.tgname, concat(t.oid, t.tgenabled, pg_get_triggerdef(t.oid), f.prosrc)
      FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
     WHERE t.tgrelid = to_regclass(:place)
       AND t.tgname IN (:row, :all, :insert, :update, :delete)
       AND t.tgenabled IN ('A', 'O')
       AND (coalesce(t.tgoldtable, t.tgnewtable) IS NULL OR NOT {_BY_ROW})
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

    # Whether triggers of statements can see the rows of their statement
    by_statement: ClassVar[bool] = True

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
        by_row = self._by_row(table)
        function = self._function(table)
        made = [
            f"""CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $sync_agent${self._row_body(table) if by_row else self._body(table)}$sync_agent$""",
            # Whoever may make triggers could else write notes of rows that are none of his
            f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
        ]
        fired = {_TRUNCATE: ("TRUNCATE", "FOR EACH STATEMENT")}
        if by_row:
            fired[_ROW] = ("INSERT OR UPDATE OR DELETE", "FOR EACH ROW")
        else:
            for what, tables in _TABLES.items():
                fired[what] = (what.upper(), f"REFERENCING {tables} FOR EACH STATEMENT")
        for what, (event, when) in fired.items():
            trigger = self.quoted(self.trigger(table, what))
            made.append(
                f"""CREATE TRIGGER {trigger} AFTER {event} ON {place}
{when} {self.calls} {function}()"""
            )
            made.append(f"ALTER TABLE {place} ENABLE ALWAYS TRIGGER {trigger}")
        return made

    def _by_row(self, table: LoggedTable) -> bool:
        return table.by_row or not self.by_statement

    def _body(self, table: LoggedTable) -> str:
        """Writes the function that is called for each statement.

        No name but the key's is one of the application's columns: another one could be a variable's
        name, too. The keys of a few rows are one note. Those of many are divided among several.
        """
        name = literal(table.noted)
        into = f"INSERT INTO {self.log_name} (source_table, operation"
        key = self._key("r", table.key)
        new, old = "sync_agent_new", "sync_agent_old"
        return f"""
DECLARE
    keys integer;
    key_now text;
    key_before text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        {into}) VALUES ({name}, 'T');
    ELSIF TG_OP = 'INSERT' THEN
        SELECT count(*), string_agg(s.noted, '') INTO keys, key_now FROM {_few(key, new)};
        IF keys > {_NOTED} THEN
            {into}, key_now) SELECT {name}, 'I', n.noted FROM {_parts(key, new)} n;
        ELSIF keys > 0 THEN
            {into}, key_now) VALUES ({name}, 'I', key_now);
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT count(*), string_agg(s.noted, '') INTO keys, key_before FROM {_few(key, old)};
        IF keys > {_NOTED} THEN
            {into}, key_before) SELECT {name}, 'D', o.noted FROM {_parts(key, old)} o;
        ELSIF keys > 0 THEN
            {into}, key_before) VALUES ({name}, 'D', key_before);
        END IF;
    ELSE
        SELECT count(*), string_agg(s.noted, '') INTO keys, key_now FROM {_few(key, new)};
        IF keys > {_NOTED} THEN
            {into}, key_now, key_before)
            SELECT {name}, 'U', n.noted, nullif(o.noted, n.noted)
              FROM {_parts(key, new)} n FULL JOIN {_parts(key, old)} o ON o.part = n.part;
        ELSIF keys > 0 THEN
            SELECT string_agg(s.noted, '') INTO key_before FROM {_few(key, old)};
            {into}, key_now, key_before)
            VALUES ({name}, 'U', key_now, nullif(key_before, key_now));
        END IF;
    END IF;
    RETURN NULL;
END
"""

    def _row_body(self, table: LoggedTable) -> str:
        """Writes the function that is called for each row."""
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
        }
        for what in (_ROW, _TRUNCATE, *_TABLES):
            asked[what] = self.trigger(table, what)
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
        changes = [_ROW] if self._by_row(table) else list(_TABLES)
        return frozenset([self.trigger(table, what) for what in (_TRUNCATE, *changes)])

    def complete(self, table: LoggedTable, installed: Collection[str]) -> bool:
        """See TriggerLog.complete: triggers of either kind do.

        Older versions have made those of rows; those of statements that would miss changes do not
        count as installed.
        """
        kinds = [self.expected(table._replace(by_row=by_row)) for by_row in (False, True)]
        return any(kind <= set(installed) for kind in kinds)

    def seen(self, connection: Connection, table: LoggedTable) -> LoggedTable:
        """See TriggerLog.seen."""
        if not self.by_statement:
            return table
        asked = {"place": self.qualified(table.schema, table.name)}
        by_row = connection.execute(text(f"SELECT {_BY_ROW} OR {_BOUNDED}"), asked).scalar()
        return table._replace(by_row=bool(by_row))

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
        if part.form == "number":
            return f"{column}::text"
        if part.form == "bytes":
            return f"pg_catalog.encode({column}, 'hex')"
        return f"(pg_catalog.to_json({column}) #>> '{{}}')"


def _few(key: str, rows: str) -> str:
    """Returns the keys of rows, one more than a note may have at the most."""
    return f"(SELECT {key} AS noted FROM {rows} r LIMIT {_NOTED + 1}) s"


def _parts(key: str, rows: str) -> str:
    """Returns the keys of rows, divided among notes."""
    part = f"(row_number() OVER () - 1) / {_NOTED}"
    return f"""(
                SELECT string_agg(s.noted, '') AS noted, s.part
                  FROM (SELECT {key} AS noted, {part} AS part FROM {rows} r) s
                 GROUP BY s.part)"""


def _drop_function(function: str) -> str:
    return f"DROP FUNCTION IF EXISTS {function}() CASCADE"
