"""The trigger log in KingbaseES and openGauss: PostgreSQL's, with what their releases have of it.

Not tried on a real server.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, text

from agent.connectors.trigger.databases.base import KeyPart, LoggedTable, names
from agent.connectors.trigger.databases.postgres import PostgresLog

_INSTALLED = text("""
    SELECT t.tgname, t.tgenabled || ' ' || f.prosrc
      FROM pg_trigger t
      JOIN pg_class c ON c.oid = t.tgrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_proc f ON f.oid = t.tgfoid
     WHERE c.relname = :name AND n.nspname = coalesce(:schema, current_schema())
       AND t.tgenabled IN ('A', 'O')
""")
_RANDOM = "md5(random()::text || random()::text || clock_timestamp()::text)"


class PostgresKinLog(PostgresLog):
    """See TriggerLog."""

    # No constraint: two notes of one identity do no harm, they are deleted together
    identity = f"id text NOT NULL DEFAULT {_RANDOM}"
    calls = "EXECUTE PROCEDURE"
    by_statement = False

    def create_log(self) -> list[str]:
        """See TriggerLog.create_log. An index finds the notes that are deleted."""
        return [*super().create_log(), f"CREATE INDEX ON {self.log_name} (id)"]

    def installed(self, connection: Connection, table: LoggedTable) -> Mapping[str, str]:
        """See TriggerLog.installed."""
        asked = {"name": table.name, "schema": table.schema or None}
        expected = self.expected(table)
        found = names(connection.execute(_INSTALLED, asked).all())
        return {name: described for name, described in found.items() if name in expected}

    def _value(self, column: str, part: KeyPart) -> str:
        if part.form == "date":
            return f"to_char({column}, 'YYYY-MM-DD')"
        if part.form == "moment":
            return f"to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')"
        if part.form == "bytes":
            return f"encode({column}, 'hex')"
        return f"{column}::text"
