"""The closed list of the log's events, by number: which are read, and which are passed over.

An event that is on neither list ends the reading with its number, because it may hold rows.
Sources: MySQL 9.7, libs/mysql/binlog/event/binlog_event.h; MariaDB 11.8, sql/log_event.h.
"""

from typing import Final

STOP: Final = 3
QUERY: Final = 2
ROTATE: Final = 4
FORMAT_DESCRIPTION: Final = 15
XID: Final = 16
EXECUTE_LOAD_QUERY: Final = 18
TABLE_MAP: Final = 19
INCIDENT: Final = 26
GTID: Final = 33
ANONYMOUS_GTID: Final = 34
XA_PREPARE: Final = 38
PARTIAL_UPDATE_ROWS: Final = 39
TRANSACTION_PAYLOAD: Final = 40
GTID_TAGGED: Final = 42
HEARTBEAT: Final = 27
HEARTBEAT_V2: Final = 41

MARIADB_GTID: Final = 162
MARIADB_GTID_LIST: Final = 163
START_ENCRYPTION: Final = 164
QUERY_COMPRESSED: Final = 165
PARTIAL_ROW_DATA: Final = 172

INSERT, UPDATE, DELETE = "I", "U", "D"

# By event: what its rows are, whether it has the extra data of version 2, whether it is compressed
ROWS: Final[dict[int, tuple[str, bool, bool]]] = {
    23: (INSERT, False, False),
    24: (UPDATE, False, False),
    25: (DELETE, False, False),
    30: (INSERT, True, False),
    31: (UPDATE, True, False),
    32: (DELETE, True, False),
    166: (INSERT, False, True),
    167: (UPDATE, False, True),
    168: (DELETE, False, True),
    169: (INSERT, True, True),
    170: (UPDATE, True, True),
    171: (DELETE, True, True),
}

READ: Final = frozenset(
    (
        QUERY,
        ROTATE,
        FORMAT_DESCRIPTION,
        XID,
        EXECUTE_LOAD_QUERY,
        TABLE_MAP,
        GTID,
        ANONYMOUS_GTID,
        XA_PREPARE,
        TRANSACTION_PAYLOAD,
        GTID_TAGGED,
        HEARTBEAT,
        HEARTBEAT_V2,
        MARIADB_GTID,
        MARIADB_GTID_LIST,
        QUERY_COMPRESSED,
        *ROWS,
    )
)

# They hold no rows, and nothing that a reader of rows needs
PASSED_OVER: Final = {
    STOP: "the server was stopped",
    5: "INTVAR, of a statement in the log",
    9: "APPEND_BLOCK, of a file that a statement in the log loads",
    11: "DELETE_FILE, of such a file",
    13: "RAND, of a statement in the log",
    14: "USER_VAR, of a statement in the log",
    17: "BEGIN_LOAD_QUERY, of a file that a statement in the log loads",
    28: "IGNORABLE",
    29: "ROWS_QUERY, the text of a statement",
    35: "PREVIOUS_GTIDS",
    36: "TRANSACTION_CONTEXT, of group replication",
    37: "VIEW_CHANGE, of group replication",
    160: "ANNOTATE_ROWS, the text of a statement",
    161: "BINLOG_CHECKPOINT",
    START_ENCRYPTION: "START_ENCRYPTION: what is sent is never encrypted",
}
