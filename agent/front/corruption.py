"""What a database says of its own corruption.

One question for every driver, asked by all who read or write a front end.
"""

import re
from collections.abc import Sequence

# Primary result codes of https://www.sqlite.org/rescode.html: SQLITE_CORRUPT, SQLITE_NOTADB; and an
# extended one of SQLITE_IOERR, SQLITE_IOERR_CORRUPTFS
_SQLITE = frozenset({11, 26})
_SQLITE_FILE_SYSTEM = 8458

# data_corrupted (a page's checksum among others), index_corrupted, undefined_file
_POSTGRES = frozenset({"XX001", "XX002", "58P01"})

# Of MariaDB and MySQL: wrong information in or key file for a table, a crashed table, a corrupt
# index or page, a table or tablespace that the engine lacks though the catalogue has it, one that
# cannot be decrypted
_MARIADB = frozenset({1033, 1034, 1035, 1194, 1195, 1707, 1712, 1812, 1817, 1877, 1932})

# "Got error N from the storage engine", and the numbers N that tell of corruption
_ENGINE = 1030
_ENGINE_ERRORS = frozenset({126, 127, 134, 144, 145, 155, 160, 180, 192, 194})
_ENGINE_ERROR = re.compile(r"[Gg]ot error (\d+)")


def corruption(cause: BaseException) -> str:
    """Returns what is damaged, without a value of any row; '' where the error is another one."""
    sqlite = getattr(cause, "sqlite_errorcode", None)
    if sqlite is not None:
        primary = sqlite & 0xFF
        damaged = primary in _SQLITE or sqlite == _SQLITE_FILE_SYSTEM
        return str(cause) if damaged else ""

    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate in _POSTGRES:
        return f"SQLSTATE {sqlstate} {type(cause).__name__}"

    if not cause.args:
        return ""
    number, *texts = cause.args
    if not isinstance(number, int):
        return ""
    if number in _MARIADB or (number == _ENGINE and _of_engine(texts)):
        return f"error {number}"
    return ""


def _of_engine(texts: Sequence[object]) -> bool:
    """Whether a storage engine's own number, in the text of error 1030, tells of corruption."""
    if not texts:
        return False
    text = str(texts[0])
    found = _ENGINE_ERROR.search(text)
    return found is not None and int(found[1]) in _ENGINE_ERRORS
