"""Tests what changes rows, or what is shared, without a row in the stream.

The catalogue is read every ten seconds.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from agent import failpoints
from tests.agent_process import Agent, Installation
from tests.checker.front import at_front
from tests.checker.unit import PARTITIONED, RESIDENTS, insert_resident
from tests.reconcile.system import Ground, equal, execute, operations, states, verified, wait_state
from tests.reconcile.tables import INTEGERS, NUMERICS, PAIRS, TEXTS, UUIDS
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.waiting import eventually

HALTED = 78
SOON = 30.0  # seconds until the change is noticed and dealt with, on a busy machine
ALTER = 'ALTER TABLE "业务".'


class Changed(NamedTuple):
    """An agent under which each table has been changed in another way."""

    place: Installation
    agent: Agent


@pytest.fixture(scope="module")
def changed(
    postgres18: PostgresAddress, kafka: KafkaAddress, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Changed]:
    """All the changes at once."""
    with fresh_database(postgres18) as source:
        directory = tmp_path_factory.mktemp("catalogue") / "agent"
        name = f"c{uuid.uuid4().hex[:12]}"
        place = Ground(directory, source, None, kafka.bootstrap, name).installed(
            [INTEGERS, NUMERICS, PAIRS, TEXTS, UUIDS, RESIDENTS], 200
        )
        with place.start() as agent:
            wait_state(place, agent, "live")
            equal(place)
            execute(
                source,
                f"""{ALTER}"整数" DROP "值"; {ALTER}"整数" ADD "值" text DEFAULT '新的'; """
                f"""{_grant(place, "整数", "值")}""",
            )
            execute(source, f"""{ALTER}"长号" ALTER "额" TYPE numeric(12,2) USING "额" / 2""")
            execute(source, f"""{ALTER}"成对" ADD "备注" text""")
            execute(source, f"""{ALTER}"文本" DROP "额\"""")
            execute(source, f"""ALTER PUBLICATION "{place.slot}" DROP TABLE "业务"."标识\"""")
            yield Changed(place, agent)


def test_a_column_dropped_and_added_again_is_copied(changed: Changed) -> None:
    """It has its old name and type, and other values."""
    eventually(
        lambda: (
            at_front(changed.place.places.front, """SELECT DISTINCT "值" FROM "整数" """)
            == [("新的",)]
        ),
        SOON,
        "the new values are in the front end",
        0.2,
    )
    wait_state(changed.place, changed.agent, "live", "integers")
    equal(changed.place, INTEGERS)


def test_a_column_rewritten_in_place_is_verified_and_copied(changed: Changed) -> None:
    """ALTER TYPE to the same type, with other values."""
    eventually(
        lambda: operations(changed.place, NUMERICS)["u"], SOON, "the new values are published", 0.5
    )
    wait_state(changed.place, changed.agent, "live", "numerics")
    equal(changed.place, NUMERICS)


def test_a_new_column_is_a_warning_only(changed: Changed) -> None:
    """The table stays live, nothing is read again."""
    eventually(
        lambda: "catalogue_changed resource=pairs parts=others" in changed.agent.log,
        SOON,
        "the warning is in the log",
        0.2,
    )
    assert states(changed.place)["pairs"] == "live"
    assert changed.agent.log.count("reconcile_begins resource=pairs") == 1
    equal(changed.place, PAIRS)


def test_a_shared_column_dropped_suspends_its_table(changed: Changed) -> None:
    """Until it is there again, may be read, and somebody says so."""
    wait_state(changed.place, changed.agent, "suspended", "texts", timeout=SOON)
    assert _code(changed.place, "texts") == "TABLE_CHANGED"
    assert_the_others_go_on(changed.place, -1)
    execute(changed.place.source, f"""{ALTER}"文本" ADD "额" numeric(12,2) DEFAULT 5""")
    changed.place.command("resume", "texts")
    eventually(
        lambda: _code(changed.place, "texts") == "READ_REFUSED",
        SOON,
        "the right to read went with the old column",
    )
    execute(changed.place.source, _grant(changed.place, "文本", "额"))
    changed.place.command("resume", "texts")
    wait_state(changed.place, changed.agent, "live", "texts")
    equal(changed.place, TEXTS)


def test_a_table_taken_out_of_the_publication_is_suspended(changed: Changed) -> None:
    """What is written meanwhile is read when it is published again and somebody says so."""
    wait_state(changed.place, changed.agent, "suspended", "uuids", timeout=SOON)
    assert _code(changed.place, "uuids") == "TABLE_UNPUBLISHED"
    assert_the_others_go_on(changed.place, -2)
    execute(
        changed.place.source,
        """DELETE FROM "业务"."标识"
        WHERE "编号" = (SELECT min("编号"::text)::uuid FROM "业务"."标识")""",
    )
    execute(
        changed.place.source,
        f"""ALTER PUBLICATION "{changed.place.slot}" ADD TABLE "业务"."标识\"""",
    )
    changed.place.command("resume", "uuids")
    wait_state(changed.place, changed.agent, "live", "uuids")
    equal(changed.place, UUIDS)
    assert operations(changed.place, UUIDS)["d"] == 1


def _grant(place: Installation, table: str, column: str) -> str:
    """What `check` tells the owner to run: a new column is not granted, whatever its name."""
    return f"""GRANT SELECT ("{column}") ON "业务"."{table}" TO "{place.name}\""""


def _code(place: Installation, resource: str) -> str:
    return str(
        next(table["code"] for table in place.status()["tables"] if table["name"] == resource)
    )


def assert_the_others_go_on(place: Installation, number: int) -> None:
    """A row written elsewhere arrives."""
    with psycopg.connect(place.source) as connection:
        insert_resident(connection, number)
    eventually(
        lambda: (
            at_front(place.places.front, 'SELECT count(*) FROM "居民" WHERE "编号" = %s', number)
            == [(1,)]
        ),
        SOON,
        "the other tables go on",
    )


def test_a_publication_made_again(ground: Ground) -> None:
    """What was written while there was none is in no stream: every table is compared."""
    place = ground.installed([INTEGERS, TEXTS], 100)
    with place.start() as agent:
        wait_state(place, agent, "live")
        equal(place)
        make_publication_again(place)
        eventually(lambda: operations(place, INTEGERS)["u"], SOON, "the rows are published", 0.5)
        wait_state(place, agent, "live")
        equal(place)


def test_a_publication_made_again_on_15(
    postgres15: PostgresAddress, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """This server cannot decode what was written without it.

    The service halts, and the way back is a new slot.
    """
    with fresh_database(postgres15) as source:
        place = Ground(tmp_path / "agent", source, None, kafka.bootstrap, topic_prefix).installed(
            [INTEGERS, TEXTS], 100
        )
        with place.start(covered=True) as agent:
            wait_state(place, agent, "live")
            equal(place)
            make_publication_again(place)
            assert agent.wait() == HALTED, agent.log[-3000:]
            assert " code=PUBLICATION_WRONG " in agent.log
        execute(source, "SELECT pg_drop_replication_slot(%s)", place.slot)
        place.init()
        with place.start() as agent:
            wait_state(place, agent, "live")
            equal(place)
            assert operations(place, INTEGERS) == {"r": 100, "u": 100}


def make_publication_again(place: Installation) -> None:
    """Drops it, changes rows, makes it as it was."""
    tables = ", ".join(f'"业务"."{table.name}"' for table in place.tables)
    execute(place.source, f'DROP PUBLICATION "{place.slot}"')
    execute(place.source, """UPDATE "业务"."整数" SET "值" = '没人看见'""")
    execute(
        place.source,
        f'CREATE PUBLICATION "{place.slot}" FOR TABLE {tables} '
        "WITH (publish_via_partition_root = true)",
    )


def test_a_partition_emptied_before_the_count(
    postgres18: PostgresAddress,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The copy has its rows already, and the stream tells nothing.

    Every row is compared once more before the table is live.
    """
    monkeypatch.setenv(failpoints.SETTING, "before_page_snapshot:2:stall=4")
    with fresh_database(postgres18) as source:
        place = Ground(tmp_path / "agent", source, None, kafka.bootstrap, topic_prefix).installed(
            [PARTITIONED], 300, reconcile={"max_delete_share": 1.0}
        )
        with place.start() as agent:
            eventually(
                lambda: at_front(place.places.front, 'SELECT count(*) FROM "户籍"') == [(300,)],
                SOON,
                "the rows are copied",
            )
            execute(source, 'TRUNCATE "业务"."户籍_1"')
            assert states(place)["households"] == "copying", "the count came first"
            wait_state(place, agent, "live")
            equal(place)
            assert "rows_compared_again resource=households" in agent.log


@pytest.mark.usefixtures("looks_often")
def test_partitions_that_come_and_go(
    postgres14: PostgresAddress, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """A partition is detached, emptied, and attached with rows that were written before.

    The stream tells nothing of them, but front end and topic follow. 14 makes it hardest.
    """
    with fresh_database(postgres14) as source:
        place = Ground(tmp_path / "agent", source, None, kafka.bootstrap, topic_prefix).installed(
            [PARTITIONED], 300, reconcile={"max_delete_share": 1.0}
        )
        numbers = 'SELECT count(*) FROM "业务"."户籍"'

        def follows(rows: int) -> bool:
            return (
                at_front(place.places.front, 'SELECT count(*) FROM "户籍"')
                == execute(source, numbers)
                == [(rows,)]
            )

        with place.start(covered=True) as agent:
            wait_state(place, agent, "live")
            equal(place)
            assert agent.log.count("reconcile_begins") == 1
            ((rows,),) = execute(source, numbers)
            ((leaving,),) = execute(source, 'SELECT count(*) FROM "业务"."户籍_0"')
            assert 0 < leaving < rows
            execute(source, f'{ALTER}"户籍" DETACH PARTITION "业务"."户籍_0"')
            eventually(
                lambda: follows(rows - leaving), SOON, "the rows of the partition are gone", 0.2
            )
            execute(source, 'TRUNCATE "业务"."户籍_1"')
            eventually(lambda: follows(0), SOON, "the rows of the other are gone too", 0.2)
            agent.stop()
        execute(source, """UPDATE "业务"."户籍_0" SET "户主" = '早先'""")
        execute(
            source,
            f'{ALTER}"户籍" ATTACH PARTITION "业务"."户籍_0" '
            "FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        )
        with place.start() as agent:
            wait_state(place, agent, "live")
            eventually(lambda: follows(leaving), SOON, "the rows are there again", 0.2)
            execute(source, """UPDATE "业务"."户籍_0" SET "户主" = '后来'""")
            later = """SELECT count(*) FROM "户籍" WHERE "户主" = '后来'"""
            eventually(
                lambda: at_front(place.places.front, later) == [(leaving,)],
                SOON,
                "what is written now is followed",
                0.2,
            )
            eventually(
                lambda: states(place)["households"] == "live", SOON, "the table is live", 0.2
            )
            verified(place)
            equal(place)
        ended = operations(place, PARTITIONED)
        assert (ended["d"], ended["r"]) == (rows, rows + leaving)
