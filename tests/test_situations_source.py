"""Tests what every place says of values that the business database cannot hand over.

It is on real parts and in both languages.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.agent_process import Installation
from tests.checker.unit import RESIDENTS, SCHEMA
from tests.reconcile.system import wait_state
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.situations import (
    Situation,
    Told,
    assert_commands,
    assert_in_runbooks,
    assert_log,
    assert_stage,
)

NAME = "unreadable"
TABLE = f'{SCHEMA}."{RESIDENTS.name}"'
# Two bytes of EUC_CN that have no counterpart in Unicode
BAD = f"INSERT INTO {TABLE} (\"编号\", \"姓名\") VALUES (-7, convert_from('\\xaaa1', 'EUC_CN'))"
# A type that can be written in no form
SHY = (
    "CREATE TYPE shy",
    "CREATE FUNCTION shy_in(cstring) RETURNS shy LANGUAGE internal IMMUTABLE STRICT AS 'int4in'",
    "CREATE FUNCTION shy_out(shy) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out'",
    (
        "CREATE TYPE shy (INPUT = shy_in, OUTPUT = shy_out, PASSEDBYVALUE, "
        "INTERNALLENGTH = 4, ALIGNMENT = int4)"
    ),
    f'ALTER TABLE {TABLE} ADD COLUMN "羞" shy',
    f'INSERT INTO {TABLE} ("编号", "姓名", "羞") VALUES (-8, \'张三\', \'1\')',
)


def execute(place: Installation, *statements: str) -> None:
    """Statements of the business application."""
    with psycopg.connect(place.source, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode(connection.info.encoding))


SUSPENDED = Situation(
    "text that has no form in UTF-8",
    "VALUE_UNREADABLE",
    lambda place, stack: execute(place, BAD),
    {
        "status": Told(2, "SQLSTATE 22P05 in column 姓名", "列 姓名 的值 SQLSTATE 22P05"),
        "check": Told(
            78, "The encoding of the database is EUC_CN", "数据库的编码为 EUC_CN", "SOURCE_ENCODING"
        ),
    },
)
STANDS = Situation(
    "a value that can be written in no form",
    "STREAM_UNREADABLE",
    lambda place, stack: execute(place, *SHY),
    {"status": Told(2, "SQLSTATE 22P03", "SQLSTATE 22P03")},
    stage="capture",
)


@pytest.fixture
def place(
    postgres18: PostgresAddress, kafka: KafkaAddress, tmp_path: Path
) -> Iterator[Installation]:
    """Yields an agent of a database in EUC_CN."""
    with fresh_database(postgres18, "EUC_CN") as source:
        yield Installation(tmp_path / "agent", source, kafka.bootstrap, NAME, [RESIDENTS]).install()


def test_every_place_says_which_value_cannot_be_read(place: Installation) -> None:
    """First its table is suspended and all else goes on; then the stream itself stands."""
    with place.start() as agent, ExitStack() as stack:
        agent.wait_ready()
        wait_state(place, agent, "live")
        SUSPENDED.bring(place, stack)
        wait_state(place, agent, "suspended")
        assert_in_runbooks(SUSPENDED.code)
        assert_commands(SUSPENDED, place)
        assert f"code={SUSPENDED.code} error=" in agent.log

        STANDS.bring(place, stack)
        assert_in_runbooks(STANDS.code)
        assert_stage(STANDS, "capture", place)
        assert_log(STANDS, "capture", agent.log)
        assert_commands(STANDS, place)
