"""What a code of PostgreSQL or SQLite means: an answer is never silence."""

import sqlite3

import psycopg
import pytest

from agent.errors import (
    AgentError,
    FrontBusy,
    FrontDamaged,
    FrontFull,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    LoginRefused,
    RowRefused,
)
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.errors import KINDS
from agent.front.sqlite.front import SqliteFront
from tests.front.conftest import WORDS

POSTGRES = {
    FrontUnreachable: ["08006", "57P01", "57P02", "57P03", "57P04", "57P05"],
    LoginRefused: ["28P01", "28000", "3D000"],
    FrontBusy: ["40001", "40P01", "53200", "53300", "55P03", "57014", "58030", "25P03", "25P04"],
    FrontFull: ["53100"],
    FrontUnfit: ["25006", "26000", "3F000", "55P02", "F0000"],
    FrontDamaged: ["XX001", "XX002", "58P01"],
    FrontTableWrong: ["0A000", "42501", "42703", "42P01", "55000", "XX000"],
    RowRefused: [
        "22001", "22P02", "23502", "23503", "23505", "23514", "44000", "54000", "P0001", "U0001",
    ],
}  # fmt: skip
SQLITE = {
    FrontUnreachable: ["SQLITE_CANTOPEN"],
    FrontBusy: [
        "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_IOERR", "SQLITE_IOERR_FSYNC",
        "SQLITE_BUSY_SNAPSHOT",
    ],
    FrontFull: ["SQLITE_FULL", "SQLITE_IOERR_WRITE"],
    FrontUnfit: ["SQLITE_READONLY", "SQLITE_READONLY_DBMOVED", "SQLITE_PERM"],
    FrontDamaged: ["SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CORRUPT_INDEX"],
    RowRefused: [
        "SQLITE_CONSTRAINT_CHECK", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_NOTNULL",
        "SQLITE_CONSTRAINT_TRIGGER", "SQLITE_TOOBIG", "SQLITE_MISMATCH",
    ],
    FrontTableWrong: ["SQLITE_ERROR"],
}  # fmt: skip


def _judged(front: PostgresFront | SqliteFront, cause: Exception) -> tuple[type, type]:
    return type(front.error(cause, WORDS)), type(front.error(cause, None))


@pytest.mark.parametrize(("kind", "codes"), POSTGRES.items())
def test_sqlstates(kind: type[AgentError], codes: list[str]) -> None:
    """Connections, the server's state and its settings concern all tables.

    Every other error concerns the statement's table.
    """
    front = PostgresFront("postgresql+psycopg://u@127.0.0.1:1/d", None, 1.0, "unit")
    for code in codes:
        error = type("Sent", (psycopg.OperationalError,), {"sqlstate": code})("geheim")
        found, alone = _judged(front, error)
        assert found is kind, code
        assert alone is (FrontUnfit if kind in (RowRefused, FrontTableWrong) else kind), code
        assert "geheim" not in str(front.error(error, WORDS))


@pytest.mark.parametrize(("kind", "names"), SQLITE.items())
def test_result_codes(kind: type[AgentError], names: list[str]) -> None:
    """Extended codes count as their primary one."""
    front = SqliteFront("sqlite:////nowhere/front.db", 1.0, "unit")
    for name in names:
        error = sqlite3.OperationalError("text")
        error.sqlite_errorcode = getattr(sqlite3, name)
        error.sqlite_errorname = name
        found, alone = _judged(front, error)
        assert found is kind, name
        assert alone is (FrontUnfit if kind in (RowRefused, FrontTableWrong) else kind), name


def test_every_primary_code_of_sqlite_was_thought_of() -> None:
    """What is in no table concerns a statement, or is no error."""
    primary = {
        value: name
        for name in dir(sqlite3)
        if name.startswith("SQLITE_") and isinstance(value := getattr(sqlite3, name), int)
        if name in _PRIMARY
    }
    assert set(primary) - set(KINDS) == {getattr(sqlite3, name) for name in _OF_STATEMENTS}


_OF_STATEMENTS = (
    "SQLITE_OK", "SQLITE_INTERNAL", "SQLITE_ABORT", "SQLITE_NOTFOUND", "SQLITE_EMPTY",
    "SQLITE_TOOBIG", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_MISUSE", "SQLITE_RANGE",
    "SQLITE_NOTICE", "SQLITE_WARNING", "SQLITE_ROW", "SQLITE_DONE",
)  # fmt: skip
_PRIMARY = (
    *_OF_STATEMENTS, "SQLITE_ERROR", "SQLITE_PERM", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM",
    "SQLITE_READONLY", "SQLITE_INTERRUPT", "SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_FULL",
    "SQLITE_CANTOPEN", "SQLITE_PROTOCOL", "SQLITE_SCHEMA", "SQLITE_NOLFS", "SQLITE_AUTH",
    "SQLITE_FORMAT", "SQLITE_NOTADB",
)  # fmt: skip
