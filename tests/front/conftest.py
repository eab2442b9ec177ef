"""The front ends under test, each freshly initialised with the same three tables."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from agent.connectors.resume import CommitMark
from agent.front.base import Front, Progress, Written
from agent.front.durable import empty_store
from agent.front.mariadb.front import MariaDbFront
from agent.front.memory import MemoryFront
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.resource import FrontColumn, FrontRow, Target
from agent.values import column_types as v
from agent.values.rows import Key

TYPES = {
    "id": (v.INT8, "bigint"),
    "名称": (v.TEXT, "text"),
    "amount": (v.NUMERIC, "numeric(30,10)"),
    "ok": (v.BOOL, "boolean"),
    "day": (v.DATE, "date"),
    "at": (v.TIMESTAMPTZ, "timestamp with time zone"),
    "f": (v.FLOAT8, "double precision"),
    "raw": (v.BYTEA, "bytea"),
    "doc": (v.JSONB, "jsonb"),
    "code": (v.BPCHAR, "character(5)"),
}


def target(name: str, columns: tuple[str, ...], key: tuple[int, ...], **more: object) -> Target:
    """Returns a front-end table with some of the columns of TYPES."""
    listed = tuple(
        FrontColumn(c, *TYPES[c], builtin=True, not_null=i in key) for i, c in enumerate(columns)
    )
    return Target(
        name,
        None,
        name,
        listed,
        key,
        bool(more.get("soft_delete")),
        dict(more.get("technical", {})),  # type: ignore[call-overload]
    )


PLAIN = target('订单 "Q" %s', tuple(TYPES), (0,))
WORDS = target("words", ("名称", "id"), (0, 1))
TECHNICAL = {
    role: f"ex_{role}"
    for role in ("operation", "deleted", "sequence", "batch", "source_time", "sync_time")
}
SOFT = target("soft", ("id", "名称"), (0,), soft_delete=True, technical=TECHNICAL)
TARGETS = (PLAIN, WORDS, SOFT)
IDENTITY = {
    "agent_uuid": "00000000-0000-0000-0000-000000000001", "agent_name": "unit",
    "source_id": "source",
    "identity": {"system_id": "1", "timeline": 1, "slot": "slot", "publication": ""}, "epoch": 0,
    "nonce": "", "initialised": 1, "position": "0/10", "position_time_us": 0, "commit_position": "",
    "commit_transaction": 0, "commit_time_us": 0, "number": 0, "batch": 0,
}  # fmt: skip


class Fronts(NamedTuple):
    """One front-end database and how to reach it again, as a second process would."""

    kind: str
    new: Callable[[], Front]


@pytest.fixture
def postgres_url(database: str) -> str:
    """SQLAlchemy URL of a fresh PostgreSQL database."""
    return sqlalchemy_url(database)


def sqlalchemy_url(conninfo: str) -> str:
    """Returns the same database as SQLAlchemy names it."""
    p = conninfo_to_dict(conninfo)
    return URL.create(
        "postgresql+psycopg",
        str(p["user"]),
        host=str(p["host"]),
        port=int(str(p["port"])),
        database=str(p["dbname"]),
    ).render_as_string()


@pytest.fixture
def mariadb_url(mariadb_database: str) -> str:
    """SQLAlchemy URL of a fresh MariaDB database."""
    return mariadb_database.replace("mariadb://", "mariadb+pymysql://", 1)


def initialise(front: SqlFront) -> None:
    """What `init --apply` does to the front end."""
    front.initialise(IDENTITY, {t.resource: f"p.{i}" for i, t in enumerate(TARGETS)})
    for one in TARGETS:
        front.create(one)


@pytest.fixture(params=["memory", "sqlite", "postgres", "mariadb"])
def fronts(request: pytest.FixtureRequest, tmp_path: Path) -> Fronts:
    """Returns each kind of front end, initialised."""
    if request.param == "memory":
        durable = empty_store(
            {t.resource: "p" for t in TARGETS},
            [t.name for t in TARGETS if not t.soft_delete],
            "0/10",
        )
        # As init leaves them
        states = {
            name: state._replace(state="copying")
            for name, state in durable.stored.resources.items()
        }
        durable.stored = durable.stored._replace(resources=states)
        return Fronts("memory", lambda: MemoryFront(durable))
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/front.db"
        initialise(SqliteFront(url, 5.0, "unit"))
        return Fronts("sqlite", lambda: SqliteFront(url, 0.3, "unit"))
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb_url")
        initialise(MariaDbFront(url, None, 5.0, "unit"))
        return Fronts("mariadb", lambda: MariaDbFront(url, None, 1.0, "unit"))
    url = request.getfixturevalue("postgres_url")
    initialise(PostgresFront(url, None, 5.0, "unit"))
    return Fronts("postgres", lambda: PostgresFront(url, None, 0.3, "unit"))


@pytest.fixture
def front(fronts: Fronts) -> Iterator[Front]:
    """Yields the front end, open."""
    opened = fronts.new()
    opened.open("nonce")
    yield opened
    opened.close()


def progress(
    position: str,
    number: int = 0,
    batch: int = 0,
    seqs: dict[str, tuple[int, int]] | None = None,
    transactions: tuple[int, ...] = (),
) -> Progress:
    """Returns what a front-end transaction moves."""
    return Progress(
        position, 5, CommitMark(position, 9, 5), number, batch, seqs or {}, transactions
    )


def put(row: FrontRow, seq: int = 1) -> Written:
    """Returns a row as an insert leaves it."""
    return Written(row, "I", seq, 1_700_000_000_000_000)


def gone(seq: int = 2) -> Written:
    """Returns a row as a delete leaves it."""
    return Written(None, "D", seq, 1_700_000_000_000_000)


def fetch(front: Front, one: Target, *keys: Key) -> dict[Key, FrontRow]:
    """Returns what stands under the keys, read in a transaction of its own."""
    front.begin()
    found = front.fetch(one, keys)
    front.rollback()
    return found


def write(front: Front, one: Target, rows: dict[Key, Written], position: str = "0/20") -> None:
    """Writes rows in a transaction of its own."""
    front.begin()
    front.write(one, rows, 1)
    front.commit(progress(position))


def remedy(error: BaseException) -> str:
    """Returns the statement that an error names for the owner of a front-end table."""
    text = str(error)
    assert text.endswith(";")
    return text[text.index("ALTER TABLE") :]


def sql(database: str, statement: str) -> list[tuple[object, ...]]:
    """Runs a statement beside the front and returns its rows, if it has any."""
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
