"""What the error numbers of MariaDB and MySQL mean: the same, where both servers have them.

A number that the server sent is an answer. It never means that the server does not answer, but for
those with which it ends a connection. What is in none of these tables concerns the statement, and
so the table that the statement was for.
"""

import re

from agent.errors import (
    AgentError,
    FrontBusy,
    FrontFull,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    RowRefused,
)
from agent.resource import Target

# Refused logins, databases or hosts that are not known. 2059 is the driver's: it does not know the
# way to log in, or lacks a package for it
LOGIN = frozenset({
    1044, 1045, 1049, 1129, 1130, 1133, 1251, 1275, 1524, 1698, 1820, 1862, 1873, 2059, 3118,
    3159, 3955, 4151,
})  # fmt: skip
# The server ends the connection: shut down, killed, or lost on its way
AWAY = frozenset({
    1042, 1043, 1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1189, 1190, 1927,
    3168, 3169, 4031,
})  # fmt: skip
# No room on a disk: of the system, of a table or tablespace, of a temporary file
FULL = frozenset({1021, 1114, 3019})
# These, and the file errors of the server, carry the operating system's number: 28 is a full disk,
# 122 a quota
_FILES = frozenset({
    1, 3, 12, 20, 1004, 1005, 1006, 1016, 1023, 1024, 1026, 1030, 1296,
})  # fmt: skip
_NO_ROOM = re.compile(r"(?:[Ee]rrcode: |[Gg]ot error |errno: )(?:28|122)\b")
# Locks and deadlocks, space and memory, limits of connections and time, a server that is read only
# for a while
BUSY = frozenset({
    1015, 1020, 1037, 1038, 1040, 1041, 1099, 1100, 1105, 1135, 1180, 1181, 1203, 1205, 1206,
    1213, 1223, 1226, 1290, 1297, 1317, 1412, 1613, 1614, 1637, 1684, 1836, 1928, 1969, 3024,
    3058, 3101, 3572, 4020,
})  # fmt: skip
# Settings of the server or the session, rights to set them, features it does not have
UNFIT = frozenset({
    1104, 1115, 1175, 1193, 1227, 1229, 1231, 1235, 1238, 1273, 1286, 1289, 1295, 1298, 1568,
    1592, 1661, 1662, 1663, 1664, 1665, 1666, 1668, 1679, 1694, 1792, 1874, 3098, 3161, 3750,
    4047,
})  # fmt: skip
# The table is not there, is another one, or may not be written to
_TABLE = frozenset({
    1036, 1054, 1109, 1136, 1142, 1143, 1146, 1288, 1347, 1356, 1364, 1423, 1471, 1906,
})  # fmt: skip
# Messages that name tables, columns and constraints, and quote no value
_NAMES_ONLY = frozenset({
    1020, 1040, 1048, 1054, 1104, 1114, 1118, 1142, 1143, 1146, 1153, 1175, 1205, 1206, 1213,
    1227, 1264, 1273, 1286, 1290, 1364, 1406, 1412, 1451, 1452, 1665, 1792, 3750, 3819, 4025,
})  # fmt: skip
_DUPLICATES = frozenset({1022, 1062, 1169, 1586, 1761, 1762})
BAD_NULL = 1048
_INDEX = re.compile(r" for key '([^']+)'$")


def kind(number: int, sqlstate: str, message: str = "") -> str:
    """Returns whom an error of the server concerns.

    away, busy, full and unfit concern all tables; table one, as it is; row its content.
    """
    if number in FULL or (number in _FILES and _NO_ROOM.search(message)):
        return "full"
    if number in BUSY or sqlstate[:2] == "40":
        return "busy"
    if number in AWAY or sqlstate[:2] == "08":
        return "away"
    if number in UNFIT:
        return "unfit"
    return "table" if number in _TABLE or sqlstate[:2] in ("42", "0A") else "row"


def reason(number: int, sqlstate: str, message: str) -> str:
    """Returns what is reported of an error: the server's message where it quotes no value."""
    if number in _NAMES_ONLY:
        return f"error {number}: {message}"
    if number not in _DUPLICATES:
        return f"error {number}, SQLSTATE {sqlstate}"
    index = _INDEX.search(message)
    if index is None:
        return f"error {number}: a duplicate in a unique index"
    return f"error {number}: a duplicate in unique index {index[1]}"


def server_error(
    number: int,
    sqlstate: str,
    message: str,
    target: Target | None,
) -> AgentError:
    """Returns our error for one of the server; `target` is the table written to, if any."""
    reported = reason(number, sqlstate, message)
    match kind(number, sqlstate, message):
        case "full":
            return FrontFull(reason=reported)
        case "away":
            return FrontUnreachable(reason=reported)
        case "busy":
            return FrontBusy(reason=reported)
        case "table" if target is not None:
            return FrontTableWrong(resource=target.resource, table=target.name, reason=reported)
        case "row" if target is not None:
            return RowRefused(resource=target.resource, table=target.name, reason=reported)
    return FrontUnfit(reason=reported)
