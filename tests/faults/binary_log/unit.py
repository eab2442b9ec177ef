"""The unit's tables in MariaDB or MySQL, and the rows that stand there before the agent runs.

They are those of tests/checker/unit.py, as far as the database has the types.
"""

from collections.abc import Sequence
from contextlib import closing, suppress
from random import Random
from typing import Any

import pymysql
from psycopg import sql
from sqlalchemy import make_url

from tests.checker.inputs import (
    Value,
    big_number,
    hostile_key,
    large,
    money,
    name,
    one_of,
    sometimes,
    text_key,
)
from tests.checker.plan import columns, hot_keys, relation
from tests.checker.unit import ACCOUNTS, ENTERPRISES, LEDGER, UnitTable

# Names in double quotes, as everywhere in the tests; nothing is cut or rounded in silence. Writers
# meet on purpose: who waits too long for another gives up, and nobody waits for gaps between rows
SETTINGS = (
    "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES', time_zone = '+08:00'",
    "SET SESSION innodb_lock_wait_timeout = 2, lock_wait_timeout = 2",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)
ANSWERS = 20  # seconds within which a server answers that is not frozen


def _day(random: Random) -> str:
    if random.random() < 0.1:
        return random.choice(("1000-01-01", "9999-12-31", "2024-02-29"))
    return f"{random.randint(1930, 2030)}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}"


def _clock(random: Random) -> str:
    hour, minute, second = random.randint(0, 23), random.randint(0, 59), random.randint(0, 59)
    fraction = random.choice(("", ".5", ".000001", ".999999"))
    return f"{hour:02d}:{minute:02d}:{second:02d}{fraction}"


def _moment(random: Random) -> str:
    return f"{_day(random)} {_clock(random)}"


def _since_1970(random: Random) -> str:
    """Returns a time that a TIMESTAMP holds."""
    return f"{random.randint(1971, 2037)}-0{random.randint(1, 9)}-11 {_clock(random)}"


def _real(random: Random) -> str:
    return random.choice(("0", "0.1", "1e300", "-2.5e-300", repr(random.gauss(0, 1e6))))


def _number(random: Random) -> str:
    return f"{random.randint(-(10**18), 10**18)}.{random.randint(0, 10**10 - 1):010d}"


def _octets(random: Random) -> str:
    return random.choice(("", "\x00", "ab\x7f\n", "信", f"{random.getrandbits(200):x}"))


RESIDENTS = UnitTable(
    "residents",
    "居民",
    """ ("编号" BIGINT NOT NULL PRIMARY KEY, "姓名" TEXT NOT NULL, "证件号" VARCHAR(18),
        "余额" DECIMAL(16,2), "系数" DECIMAL(38,10), "有效" TINYINT, "出生日期" DATE,
        "登记时间" DATETIME(6), "更新时间" TIMESTAMP(6) NULL, "照片" BLOB, "评分" DOUBLE,
        "内部口令" TEXT)""",
    {"编号": big_number},
    {
        "姓名": name,
        "证件号": sometimes(lambda random: f"{random.randint(10**16, 10**17)}X"),
        "余额": sometimes(money),
        "系数": sometimes(_number),
        "有效": sometimes(one_of("1", "0", "-128", "127")),
        "出生日期": sometimes(_day),
        "登记时间": sometimes(_moment),
        "更新时间": sometimes(_since_1970),
        "照片": sometimes(_octets),
        "评分": sometimes(_real),
        "内部口令": sometimes(name),
    },
    secret=("内部口令",),
    schema="",
)
TABLES: tuple[UnitTable, ...] = (
    RESIDENTS,
    UnitTable(
        "order_lines",
        "订单明细",
        """ ("订单号" VARCHAR(64) NOT NULL, "行 号" INT NOT NULL, "品名" TEXT,
            "数量" DECIMAL(12,3), "下单时间" DATETIME, PRIMARY KEY ("订单号", "行 号"))""",
        {"订单号": text_key, "行 号": lambda random: str(random.randint(1, 9))},
        {
            "品名": sometimes(name),
            "数量": sometimes(
                lambda random: f"{random.randint(0, 10**6)}.{random.randint(0, 999):03d}"
            ),
            "下单时间": sometimes(lambda random: f"{_day(random)} 12:30:59"),
        },
        settings='delete = "soft"\n[resource.technical]\n'
        'operation = "ex_op"\ndeleted = "ex_deleted"\n'
        'sequence = "ex_seq"\nsync_time = "ex_sync_time"\n',
        deleted="ex_deleted",
        hot={"订单号": hostile_key},
        schema="",
    ),
    UnitTable(
        "audit_log",
        'Audit"Log',
        """ ("Id" VARCHAR(36) NOT NULL PRIMARY KEY, "ActorName" TEXT,
            "事项" ENUM('查询', '修改', '导出'), "标记" SET('急', '密', '阅'), "定长" CHAR(6),
            "Score" DOUBLE)""",
        {"Id": lambda random: f"{random.getrandbits(128):032x}"},
        {
            "ActorName": sometimes(name),
            "事项": sometimes(one_of("查询", "修改", "导出")),
            "标记": sometimes(one_of("", "急", "急,阅", "急,密,阅")),
            "定长": sometimes(one_of("a", "", "信", "abcdef")),
            "Score": sometimes(_real),
        },
        schema="",
    ),
    UnitTable(
        "documents",
        "文书",
        """ ("文书号" BIGINT NOT NULL PRIMARY KEY, "标题" VARCHAR(200), "版次" INT NOT NULL,
            "正文" LONGTEXT, "附件" LONGBLOB)""",
        {"文书号": big_number},
        {
            "标题": sometimes(name),
            "版次": lambda random: str(random.randint(1, 99)),
            "正文": sometimes(large),
            "附件": sometimes(large),
        },
        large=("正文", "附件"),
        schema="",
    ),
    ENTERPRISES._replace(
        ddl=""" ("信用代码" VARCHAR(64) NOT NULL PRIMARY KEY, "名称" TEXT, "状态" VARCHAR(8),
            "注册资本" DECIMAL(20,4))""",
        schema="",
    ),
    UnitTable(
        "households",
        "户籍",
        """ ("区号" INT NOT NULL, "户号" BIGINT NOT NULL, "户主" TEXT,
            PRIMARY KEY ("区号", "户号")) PARTITION BY HASH ("区号") PARTITIONS 2""",
        {"区号": lambda random: str(random.randint(1, 9)), "户号": big_number},
        {"户主": sometimes(name)},
        schema="",
    ),
)
SWAPPED = TABLES[5]  # a table that another one replaces under its name
# What an agent shares where the workload writes
JOURNALED: tuple[UnitTable, ...] = (
    *TABLES,
    LEDGER._replace(schema=""),
    ACCOUNTS._replace(schema=""),
)


def session(url: str) -> Any:
    """Opens a session of an application, a connection of PyMySQL. Raises its errors."""
    address = make_url(url)
    connection: Any = pymysql.connect(
        host=address.host, port=address.port or 3306, user=address.username,
        password=address.password or "", database=address.database, charset="utf8mb4",
        connect_timeout=5, read_timeout=ANSWERS, write_timeout=ANSWERS,
    )  # fmt: skip
    try:
        for setting in SETTINGS:
            run(connection, setting)
    except BaseException:
        connection.close()
        raise
    return connection


def run(
    connection: Any, statement: str | sql.Composed, values: Sequence[Value | int] = ()
) -> Sequence[tuple[Any, ...]]:
    """Runs one statement, and returns its rows. Commits nothing; raises the driver's errors."""
    text = statement if isinstance(statement, str) else statement.as_string()
    with connection.cursor() as cursor:
        cursor.execute(text, values or None)
        return list(cursor.fetchall())


def administer(url: str, *statements: str | sql.Composed) -> None:
    """Runs statements of an administrator. Raises the driver's errors."""
    with closing(session(url)) as connection:
        for statement in statements:
            run(connection, statement)


def define(url: str, *statements: str | sql.Composed) -> None:
    """Runs definitions, which may have to wait too long for writers, or have been made already."""
    with suppress(pymysql.err.OperationalError):
        administer(url, *statements)


def create_tables(url: str, tables: Sequence[UnitTable]) -> None:
    """Makes the unit's tables, empty. `url`: of an administrator, with the database."""
    made = sql.SQL("CREATE TABLE {}")
    administer(url, *[made.format(relation(table)) + sql.SQL(table.ddl) for table in tables])


def fill(url: str, seed: int, rows: int) -> None:
    """Writes rows under the keys on which the workload's writers will meet.

    Beside them it writes `rows` residents under keys that nobody touches.
    """
    random = Random(f"{seed}/rows")
    with closing(session(url)) as connection, connection.cursor() as cursor:
        for table in TABLES:
            places = sql.SQL(", ").join([sql.Placeholder()] * (len(table.key) + len(table.values)))
            # MySQL 8.0 takes keys for the same that differ by blanks at their ends
            statement = sql.SQL("INSERT IGNORE INTO {} ({}) VALUES ({})").format(
                relation(table), columns([*table.key, *table.values]), places
            )
            found = [
                [*key, *(make(random) for make in table.values.values())]
                for key in hot_keys(table)[:rows]
            ]
            cursor.executemany(statement.as_string(), found)
        untouched = [
            (-number, f"居民 {number}", f"{number // 7}.{number % 7}")
            for number in range(1, rows + 1)
        ]
        cursor.executemany(
            'INSERT INTO "居民" ("编号", "姓名", "余额") VALUES (%s, %s, %s)', untouched
        )
        connection.commit()
