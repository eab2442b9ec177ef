"""The trigger log in Oracle, and what DM8 has in common with it.

Not tried on a real server.

The trigger acts with the rights of the account that has made it: the application needs none. Keys
are noted in the national character set, which holds every letter. A key of more than 2000
characters is noted in part: its table is suspended then, and no statement of the application fails.
"""

from collections.abc import Mapping
from typing import ClassVar

from sqlalchemy import Connection, text

from agent.connectors.trigger.databases.base import (
    KeyPart,
    LoggedTable,
    TriggerLog,
    literal,
    names,
    note_statements,
)

_WHAT = "note"
_LONGEST_KEY = 2000  # characters

_INSTALLED = text("""
    SELECT t.trigger_name, t.triggering_event || ' ' || TO_CHAR(o.last_ddl_time, 'YYYYMMDDHH24MISS')
      FROM all_triggers t JOIN all_objects o
        ON o.owner = t.owner AND o.object_name = t.trigger_name AND o.object_type = 'TRIGGER'
     WHERE t.trigger_name = :trigger AND t.table_name = :place AND t.status = 'ENABLED'
       AND o.status = 'VALID'
       AND t.table_owner = COALESCE(:schema, SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA'))
""")

_FOUND = """
    SELECT trigger_name, trigger_body FROM user_triggers
     WHERE trigger_name LIKE 'SYNC\\_AGENT\\_%' ESCAPE '\\'
"""


class OracleLog(TriggerLog):
    """See TriggerLog."""

    # What fills in the identity of a note: no number that a session could miss
    identity: ClassVar[str] = "id RAW(16) DEFAULT SYS_GUID() PRIMARY KEY"
    text_type: ClassVar[str] = "NVARCHAR2"
    time_type: ClassVar[str] = "TIMESTAMP(6) DEFAULT SYSTIMESTAMP"
    length: ClassVar[str] = "LENGTH4"  # in whole characters

    def quoted(self, name: str) -> str:
        """See TriggerLog.quoted: a name without capitals was written without quotes."""
        return '"' + _catalogued(name).replace('"', '""') + '"'

    def create_log(self) -> list[str]:
        """See TriggerLog.create_log."""
        key = f"{self.text_type}({_LONGEST_KEY})"
        return [
            f"""CREATE TABLE {self.log_name} (
    {self.identity},
    source_table {self.text_type}(200) NOT NULL,
    operation CHAR(1) NOT NULL,
    key_now {key},
    key_before {key},
    noted_at {self.time_type} NOT NULL
)"""
        ]

    def drop_log(self) -> list[str]:
        """See TriggerLog.drop_log: it must be there, old servers know no IF EXISTS."""
        return [f"DROP TABLE {self.log_name}"]

    def create_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.create_triggers: one trigger sees all three kinds of changes."""
        notes = note_statements(self.log_name, literal(table.noted), "key_now", "key_before")
        now, before = self._key(":NEW", table.key), self._key(":OLD", table.key)
        trigger = self.quoted(self.trigger(table, _WHAT))
        place = self.qualified(table.schema, table.name)
        return [
            f"""CREATE OR REPLACE TRIGGER {trigger}
AFTER INSERT OR UPDATE OR DELETE ON {place} FOR EACH ROW
DECLARE
    key_now {self.text_type}({_LONGEST_KEY});
    key_before {self.text_type}({_LONGEST_KEY});
BEGIN
    IF NOT DELETING THEN
        key_now := SUBSTR({now}, 1, {_LONGEST_KEY});
    END IF;
    IF NOT INSERTING THEN
        key_before := SUBSTR({before}, 1, {_LONGEST_KEY});
    END IF;
    IF INSERTING THEN
        {notes["insert"]};
    ELSIF UPDATING THEN
        {notes["update"]};
    ELSE
        {notes["delete"]};
    END IF;
END;"""
        ]

    def drop_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.drop_triggers."""
        return [self._drop(_catalogued(self.trigger(table, _WHAT)))]

    def _drop(self, trigger: str) -> str:
        drop = literal(f"DROP TRIGGER {self.quoted(trigger)}")
        there = f"SELECT 1 FROM user_triggers WHERE trigger_name = {literal(trigger)}"
        return f"BEGIN FOR one IN ({there}) LOOP EXECUTE IMMEDIATE {drop}; END LOOP; END;"

    def account(self, connection: Connection) -> str:
        """See TriggerLog.account."""
        return self.quoted(str(connection.exec_driver_sql("SELECT USER FROM DUAL").scalar()))

    def installed(self, connection: Connection, table: LoggedTable) -> Mapping[str, str]:
        """See TriggerLog.installed."""
        asked = {
            "trigger": _catalogued(self.trigger(table, _WHAT)),
            "place": _catalogued(table.name),
            "schema": _catalogued(table.schema) or None,
        }
        return names(connection.execute(_INSTALLED, asked).all())

    def expected(self, table: LoggedTable) -> frozenset[str]:
        """See TriggerLog.expected."""
        return frozenset([_catalogued(self.trigger(table, _WHAT))])

    def drop_found(self, connection: Connection) -> list[str]:
        """See TriggerLog.drop_found: those that the account has made."""
        found = []
        for name, body in connection.exec_driver_sql(_FOUND).all():
            if self.writes(str(body)):
                found.append(self._drop(name))
        return found

    def _key(self, row: str, key: tuple[KeyPart, ...]) -> str:
        """Writes a key. No setting of the application's session changes what is written."""
        written = []
        for part in key:
            value = self._value(f"{row}.{self.quoted(part.name)}", part)
            written.append(f"{self.length}({value}) || ':' || {value}")
        return " || ".join(written)

    def _value(self, column: str, part: KeyPart) -> str:
        if part.form == "number":
            return f"TO_NCHAR({column}, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')"
        if part.form in ("date", "moment"):
            moment = f"CAST({column} AS TIMESTAMP(6))"
            return f"TO_NCHAR({moment}, 'YYYY-MM-DD HH24:MI:SS.FF6', 'NLS_CALENDAR=GREGORIAN')"
        if part.form == "bytes":
            return f"TO_NCHAR(RAWTOHEX({column}))"
        return f"TO_NCHAR({column})"


def _catalogued(name: str) -> str:
    """Returns a name as the catalogue has it, from one as SQLAlchemy has it."""
    return name.upper() if name == name.lower() else name
