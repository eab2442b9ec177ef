"""The trigger log in DM8: Oracle's, with types and functions of its own.

Not tried on a real server.
"""

from agent.connectors.trigger.databases.base import KeyPart
from agent.connectors.trigger.databases.oracle import OracleLog


class DmLog(OracleLog):
    """See TriggerLog."""

    identity = "id VARCHAR(36) DEFAULT SYS_GUID() PRIMARY KEY"
    text_type = "VARCHAR"
    time_type = "TIMESTAMP(6) DEFAULT SYSTIMESTAMP"
    length = "CHAR_LENGTH"

    def _value(self, column: str, part: KeyPart) -> str:
        if part.form == "date":
            return f"TO_CHAR({column}, 'YYYY-MM-DD')"
        if part.form == "moment":
            return f"TO_CHAR({column}, 'YYYY-MM-DD HH24:MI:SS.FF6')"
        if part.form == "bytes":
            return f"RAWTOHEX({column})"
        return f"CAST({column} AS VARCHAR(2000))"
