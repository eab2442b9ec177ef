"""Somebody alters front-end tables while they are live.

What makes one unfit suspends it by name, and what may have changed rows is verified and repaired.
No row is wrong in silence.
"""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import make_url

from tests.agent_process import Agent, Installation
from tests.checker.front import at_front
from tests.checker.table import in_mariadb
from tests.reconcile.system import Ground, equal, execute, report, wait_state
from tests.reconcile.tables import INTEGERS, MIXED, NUMERICS, PAIRS, TEXTS, UUIDS
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.mariadb import MariaDbAddress
from tests.services.mariadb import execute as grant
from tests.services.postgres import PostgresAddress
from tests.waiting import eventually

SOON = 40.0  # seconds until the change is noticed and dealt with, on a busy machine
ROWS = 100
TABLES = [INTEGERS, NUMERICS, PAIRS, TEXTS, UUIDS, MIXED]
DIFFERENT = """UPDATE "业务"."成对" SET "值" = '值' || "编号"::text || '/' || "部门"::text"""


class Altered(NamedTuple):
    """An agent under which each front-end table has been altered in another way."""

    kind: str
    place: Installation
    agent: Agent


ALTER = {
    "mariadb": [
        'ALTER TABLE "整数" DROP PRIMARY KEY',
        'ALTER TABLE "长号" MODIFY "额" decimal(10,1)',
        'DELETE FROM "文本"',  # keys that this collation takes for one
        'ALTER TABLE "文本" CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci',
        'CREATE UNIQUE INDEX "唯一" ON "成对" ("值"(20))',
        """CREATE TRIGGER "改写" BEFORE INSERT ON "标识" FOR EACH ROW SET NEW."值" = '改写'""",
    ],
    "postgres": [
        'ALTER TABLE "整数" DROP CONSTRAINT "整数_pkey"',
        'ALTER TABLE "长号" ALTER "额" TYPE numeric(12,1)',
        (
            'ALTER TABLE "文本" ADD CONSTRAINT "父" '
            'FOREIGN KEY ("代码") REFERENCES "文本" ("代码") ON DELETE CASCADE'
        ),
        'CREATE UNIQUE INDEX "唯一" ON "成对" ("值")',
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        'CREATE TRIGGER "吞" BEFORE INSERT ON "标识" FOR EACH ROW EXECUTE FUNCTION swallow()',
    ],
    "sqlite": [
        'ALTER TABLE "整数" RENAME TO moved',
        'ALTER TABLE "长号" RENAME COLUMN "额" TO moved',
        'ALTER TABLE "文本" ADD COLUMN more INTEGER REFERENCES "文本" ON DELETE CASCADE',
        'CREATE UNIQUE INDEX "唯一" ON "成对" ("值")',
        'CREATE TRIGGER "吞" BEFORE INSERT ON "标识" BEGIN SELECT RAISE(IGNORE); END',
    ],
}
REASONS = {
    "mariadb": ("no primary key or unique index", "额 is decimal(10,1)", "utf8mb4_general_ci"),
    "postgres": ("no primary key or unique index", "numeric(12,1), narrower", "foreign key 父"),
    "sqlite": ("does not exist", "column 额 is missing", "foreign key (more)"),
}


@pytest.fixture(scope="module", params=["mariadb", "postgres", "sqlite"])
def altered(
    request: pytest.FixtureRequest,
    postgres18: PostgresAddress,
    kafka: KafkaAddress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Altered]:
    """Makes all the changes at once.

    In the pairs' table two rows get the same value afterwards, in the UUIDs' there is a new row.
    """
    kind: str = request.param
    with fresh_database(postgres18) as source:
        opening = fronts(kind, request)
        front = next(opening)
        directory = tmp_path_factory.mktemp("front") / "agent"
        name = f"f{uuid.uuid4().hex[:12]}"
        place = Ground(directory, source, front, kafka.bootstrap, name).installed(
            TABLES, ROWS, before=lambda conninfo: execute(conninfo, DIFFERENT)
        )
        with place.start() as agent:
            wait_state(place, agent, "live")
            for statement in [*ALTER[kind], *again(place.places.front)]:
                at_front(place.places.front, statement)
            eventually(
                lambda: agent.log.count("front_table_changed") >= 2, SOON, "the look has noticed"
            )
            yield Altered(kind, place, agent)
        next(opening, None)


def again(front: Path | str) -> list[str]:
    """Statements that make a table again, or something much like it, without its rows."""
    if isinstance(front, Path):
        sql = at_front(front, "SELECT sql FROM sqlite_master WHERE name = '混合'")[0][0]
        return ['DROP TABLE "混合"', str(sql)]
    if in_mariadb(front):
        return ['DELETE FROM "混合"', """ALTER TABLE "混合" COMMENT = 'again', FORCE"""]
    return ['TRUNCATE "混合"']


def fronts(kind: str, request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A fresh front end; None: SQLite's file."""
    if kind == "sqlite":
        yield None
        return
    server = request.getfixturevalue("mariadb_server" if kind == "mariadb" else "postgres18")
    if isinstance(server, MariaDbAddress):
        with server.fresh_database() as url:
            name = make_url(url).database
            grant(server.url, f"GRANT ALL ON {name}.* TO {name}@'%'")
            yield url
    else:
        with fresh_database(server) as database:
            yield database


def _reason(place: Installation, resource: str) -> str:
    table = next(table for table in place.status()["tables"] if table["name"] == resource)
    return f"{table['code']} {table}"


def _refused(place: Installation, resource: str) -> list[dict[str, str]]:
    listed = json.loads(place.command("refused", resource, "--json").stdout)
    assert isinstance(listed, list)
    return listed


def test_what_makes_a_table_unfit_suspends_it(altered: Altered) -> None:
    """The reason names what it is; the others go on."""
    resources = ("integers", "numerics", "texts")
    wait_state(altered.place, altered.agent, "suspended", *resources, timeout=SOON)
    for resource, expected in zip(resources, REASONS[altered.kind], strict=True):
        told = _reason(altered.place, resource)
        assert "FRONT_TABLE_WRONG" in told
        assert expected in told, told
    wait_state(altered.place, altered.agent, "live", "pairs", "uuids")


def test_a_table_made_again_is_filled(altered: Altered) -> None:
    """Fit, and empty: it is verified and repaired by itself."""
    front = altered.place.places.front
    eventually(
        lambda: at_front(front, 'SELECT count(*) FROM "混合"') == [(ROWS,)],
        SOON,
        "its rows are there again",
        0.2,
    )
    wait_state(altered.place, altered.agent, "live", "mixed")
    equal(altered.place, MIXED)


def test_verify_says_so_and_the_service_lives(altered: Altered) -> None:
    """A table without its key is no reason to end; what can only refuse later is no difference."""
    verified_pairs = report(altered.place, "verify", "pairs")
    assert verified_pairs["pairs"]["different"] == 0
    altered.agent.check()


def test_a_duplicate_in_another_index_is_refused_by_name(altered: Altered) -> None:
    """No row is overwritten for it."""
    front = altered.place.places.front
    before = at_front(front, 'SELECT count(*) FROM "成对"')
    execute(
        altered.place.source,
        """UPDATE "业务"."成对" SET "值" = (SELECT min("值") FROM "业务"."成对")
           WHERE "值" = (SELECT max("值") FROM "业务"."成对")""",
    )
    refused = eventually(lambda: _refused(altered.place, "pairs"), SOON, "it is refused", 0.2)
    assert len(refused) == 1 and refused[0]["code"]
    assert at_front(front, 'SELECT count(*) FROM "成对"') == before


def test_a_row_that_a_trigger_swallows_is_refused(altered: Altered) -> None:
    """Missing for ever in silence before."""
    execute(
        altered.place.source,
        """INSERT INTO "业务"."标识" VALUES (gen_random_uuid(), '新', 1)""",
    )
    (refused,) = eventually(lambda: _refused(altered.place, "uuids"), SOON, "it is refused", 0.2)
    assert "NOT_AS_WRITTEN" in refused["code"]
