"""A unit's tables: Chinese names, many types, every kind of key and replica identity."""

import json
from collections.abc import Iterable, Mapping
from typing import LiteralString, NamedTuple

import psycopg
from psycopg import sql

from tests.checker.inputs import (
    Make,
    big_number,
    binary,
    date,
    document,
    hostile_key,
    identity,
    large,
    moment,
    money,
    name,
    number,
    one_of,
    real,
    sometimes,
    text_key,
    zoned,
)
from tests.checker.journal import LEDGER_COLUMNS
from tests.checker.table import SharedTable

Key = tuple[str, ...]

SCHEMA = "业务"


class UnitTable(NamedTuple):
    """A table of the unit: how it is made, how its values are made, and how it is shared."""

    resource: str
    name: str  # within its schema
    ddl: LiteralString  # columns and what follows, without CREATE TABLE
    key: Mapping[str, Make]  # a new key each time, unique together
    values: Mapping[str, Make]
    large: tuple[str, ...] = ()  # columns of `values` an update seldom touches
    secret: tuple[str, ...] = ()  # columns that are not shared
    identity: LiteralString = "DEFAULT"
    rename: Mapping[str, str] = {}
    settings: str = ""  # further lines of the [[resource]]
    condition: LiteralString = "true"
    deleted: str | None = None
    hot: Mapping[
        str, Make
    ] = {}  # makes the keys many writers meet on, where `key` would hardly ever repeat itself
    before: LiteralString = ""  # statements before the table is made
    further: LiteralString = ""  # statements after it is made
    deferrable: bool = False  # rows may share a key until their statement ends
    schema: str = SCHEMA  # '': the database has none

    @property
    def shared(self) -> list[str]:
        """The source columns that are shared."""
        return [column for column in (*self.key, *self.values) if column not in self.secret]

    def judged(self, prefix: str, front_schema: str = "") -> SharedTable:
        """Returns the table as the judge takes it."""
        return SharedTable(
            topic=f"{prefix}.{self.resource}",
            schema=self.schema,
            table=self.name,
            columns={column: self.rename.get(column, column) for column in self.shared},
            key=tuple(self.key),
            front=front_schema + self.name,
            condition=sql.SQL(self.condition),
            deleted=self.deleted,
        )

    def toml(self) -> str:
        """Returns the [[resource]] of the agent's configuration."""
        rename = ", ".join(f"{_quoted(old)} = {_quoted(new)}" for old, new in self.rename.items())
        columns = ", ".join(map(_quoted, self.shared))
        place = f"{self.schema}.{self.name}" if self.schema else self.name
        return (
            f'[[resource]]\nname = "{self.resource}"\ntable = {_quoted(place)}\n'
            f"columns = [{columns}]\nrename = {{ {rename} }}\n{self.settings}"
        )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# ---- the tables

TABLES: tuple[UnitTable, ...] = (
    UnitTable(
        "residents",
        "居民",
        """ ("编号" bigint PRIMARY KEY, "姓名" text NOT NULL, "证件号" varchar(18),
            "余额" numeric(16,2), "系数" numeric, "有效" boolean, "出生日期" date,
            "登记时间" timestamp, "更新时间" timestamptz, "档案号" uuid, "标签" jsonb, "照片" bytea,
            "评分" float8, "内部口令" text)""",
        {"编号": big_number},
        {
            "姓名": name,
            "证件号": sometimes(lambda random: f"{random.randint(10**16, 10**17)}X"),
            "余额": sometimes(money),
            "系数": sometimes(number),
            "有效": sometimes(one_of("true", "false")),
            "出生日期": sometimes(date),
            "登记时间": sometimes(moment),
            "更新时间": sometimes(zoned),
            "档案号": sometimes(identity),
            "标签": sometimes(document),
            "照片": sometimes(binary(60)),
            "评分": sometimes(real),
            "内部口令": sometimes(name),
        },
        secret=("内部口令",),
    ),
    UnitTable(
        "order_lines",
        "订单明细",
        """ ("订单号" varchar(64), "行 号" integer, "品名" text, "数量" numeric(12,3),
            "下单时间" timestamptz, PRIMARY KEY ("订单号", "行 号"))""",
        {"订单号": text_key, "行 号": lambda random: str(random.randint(1, 9))},
        {
            "品名": sometimes(name),
            "数量": sometimes(
                lambda random: f"{random.randint(0, 10**6)}.{random.randint(0, 999):03d}"
            ),
            "下单时间": sometimes(zoned),
        },
        settings='delete = "soft"\n[resource.technical]\n'
        'operation = "ex_op"\ndeleted = "ex_deleted"\n'
        'sequence = "ex_seq"\nsync_time = "ex_sync_time"\n',
        deleted="ex_deleted",
        hot={"订单号": hostile_key},
    ),
    UnitTable(
        "audit_log",
        'Audit"Log',
        """ ("Id" uuid PRIMARY KEY, "ActorName" text, "事项" varchar(40), "Detail" jsonb,
            "Score" float8, "签名" bytea)""",
        {"Id": identity},
        {
            "ActorName": sometimes(name),
            "事项": sometimes(one_of("查询", "修改", "导出")),
            "Detail": sometimes(document),
            "Score": sometimes(real),
            "签名": binary(30),
        },
        identity="FULL",
    ),
    UnitTable(
        "documents",
        "文书",
        """ ("文书号" bigint PRIMARY KEY, "标题" varchar(200), "版次" integer NOT NULL,
            "正文" text, "附件" bytea)""",
        {"文书号": big_number},
        {
            "标题": sometimes(name),
            "版次": lambda random: str(random.randint(1, 99)),
            "正文": sometimes(large),
            "附件": sometimes(binary(9000)),
        },
        large=("正文", "附件"),
    ),
    UnitTable(
        "enterprises",
        "企业",
        """ ("信用代码" text PRIMARY KEY, "名称" text, "状态" varchar(8),
            "注册资本" numeric(20,4))""",
        {"信用代码": text_key},
        {
            "名称": sometimes(name),
            "状态": sometimes(one_of("在营", "迁入", "注销", "吊销")),
            "注册资本": sometimes(money),
        },
        rename={"信用代码": "统一社会信用代码"},
        settings='[[resource.filter]]\ncolumn = "状态"\nis_in = ["在营", "迁入"]\n',
        condition="""coalesce("状态" in ('在营', '迁入'), false)""",
        hot={"信用代码": hostile_key},
    ),
    UnitTable(
        "households",
        "户籍",
        """ ("区号" integer, "户号" bigint, "户主" text, PRIMARY KEY ("区号", "户号"))
            PARTITION BY HASH ("区号")""",
        {"区号": lambda random: str(random.randint(1, 9)), "户号": big_number},
        {"户主": sometimes(name)},
        further="""
            CREATE TABLE "业务"."户籍_0" PARTITION OF "业务"."户籍"
                FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE "业务"."户籍_1" PARTITION OF "业务"."户籍"
                FOR VALUES WITH (MODULUS 2, REMAINDER 1)
        """,
    ),
    UnitTable(
        "measurements",
        "测量",
        """ ("编号" bigint PRIMARY KEY, "单精" real, "时刻" time, "带区时刻" timetz,
            "时长" interval, "定长" char(6), "金额" money, "地址" inet, "数组" int[],
            "文组" text[], "区间" int4range, "位" bit varying(8), "等级" "业务"."等级",
            "等级组" "业务"."等级"[], "价" "业务"."价", "时组" timestamptz[], "实组" float8[])""",
        {"编号": big_number},
        {
            "单精": sometimes(one_of("1.1", "NaN", "-0", "3e38", "1e-40")),
            "时刻": sometimes(one_of("00:00", "24:00", "23:59:59.999999")),
            "带区时刻": sometimes(one_of("10:15:04+08", "00:00-15:59", "24:00+00")),
            "时长": sometimes(one_of("1 year -2 mons +3 days 04:05:06.7", "0", "-1 day")),
            "定长": sometimes(one_of("a", "a  ", "", "信")),
            "金额": sometimes(one_of("12.50", "-0.01", "12345.6")),
            "地址": sometimes(one_of("10.0.0.1", "10.0.0.0/8", "::1")),
            "数组": sometimes(one_of("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={1,2}")),
            "文组": sometimes(
                one_of("{}", '{"a b","",NULL,"NULL","\\""}', '{{"{","\\\\"},{张三,"x,y"}}')
            ),
            "区间": sometimes(one_of("empty", "[1,5)", "(,)")),
            "位": sometimes(one_of("", "101")),
            "等级": sometimes(one_of("甲", "乙 等", '{"')),
            "等级组": sometimes(one_of("{}", '{甲,"乙 等",NULL,"{\\""}')),
            "价": sometimes(one_of("0.5", "999.999")),
            "时组": sometimes(
                one_of('{"2026-11-24 10:15:04+08",infinity,NULL}', '{"0044-03-15 12:00+08 BC"}')
            ),
            "实组": sometimes(one_of("{1,0.1,NaN,-Infinity}", "{{1e300},{5e-324}}")),
        },
        before="""
            CREATE TYPE "业务"."等级" AS ENUM ('甲', '乙 等', '{"');
            CREATE DOMAIN "业务"."价" AS numeric(6,3) CHECK (value >= 0)
        """,
    ),
)
RESIDENTS = TABLES[0]
ENTERPRISES = TABLES[4]
PARTITIONED = TABLES[5]

# Each transaction of the Workload signs here. It is shared like the others, so that its
# completeness can be told from every side.
LEDGER = UnitTable(
    "ledger",
    "流水",
    """ ("txn_no" bigint PRIMARY KEY, "op_count" integer NOT NULL, "digest" text NOT NULL)""",
    {"txn_no": big_number},
    {"op_count": one_of("0"), "digest": text_key},
)
assert tuple(LEDGER.shared) == LEDGER_COLUMNS

# Each transaction of the Workload moves an amount between its accounts
# (tests/checker/transfers.py).
ACCOUNTS = UnitTable(
    "accounts",
    "账户",
    """ ("账号" bigint PRIMARY KEY, "余额" bigint NOT NULL)""",
    {"账号": big_number},
    {"余额": big_number},
)
# What an agent shares where the Workload writes
JOURNALED: tuple[UnitTable, ...] = (
    *TABLES,
    LEDGER,
    ACCOUNTS,
)

# It is not in TABLES: a deferrable key is no arbiter of ON CONFLICT, with which the workload
# inserts. A Writer knows it.
DEFERRED = UnitTable(
    "queue",
    "排队",
    """ ("号" bigint PRIMARY KEY DEFERRABLE, "姓名" text, "事由" text)""",
    {"号": big_number},
    {"姓名": sometimes(name), "事由": sometimes(large)},
    large=("事由",),
    identity="FULL",
    deferrable=True,
)


def create_tables(conninfo: str, tables: Iterable[UnitTable] = TABLES) -> None:
    """Makes the unit's tables, empty."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        for table in tables:
            relation = sql.Identifier(SCHEMA, table.name)
            if table.before:
                connection.execute(table.before)
            connection.execute(sql.SQL("CREATE TABLE {}").format(relation) + sql.SQL(table.ddl))
            connection.execute(
                sql.SQL("ALTER TABLE {} REPLICA IDENTITY ").format(relation)
                + sql.SQL(table.identity)
            )
            for column in table.large:
                connection.execute(
                    sql.SQL("ALTER TABLE {} ALTER {} SET STORAGE EXTERNAL").format(
                        relation, sql.Identifier(column)
                    )
                )
            if table.further:
                connection.execute(table.further)


def insert_many(conninfo: str, rows: int, first: int = 0, length: int = 40) -> None:
    """Inserts `rows` new residents in one transaction; the server makes them.

    Each has a name of `length` characters.
    """
    statement = sql.SQL(
        """INSERT INTO {}.{} ("编号", "姓名", "余额", "有效", "登记时间")
           SELECT n, left(repeat(md5(n::text), %s::int), %s::int), n / 7.0, n %% 2 = 0,
                  timestamp '2026-01-01' + n * interval '1 second'
           FROM generate_series(%s::bigint, %s::bigint) n"""
    ).format(sql.Identifier(SCHEMA), sql.Identifier(RESIDENTS.name))
    with psycopg.connect(conninfo) as connection:
        connection.execute(statement, [length // 32 + 1, length, -first - rows, -first - 1])


def insert_resident(connection: psycopg.Connection, number: int, name: str = "张三") -> None:
    """Inserts one resident; a key below zero is never met by the random workload."""
    statement = sql.SQL('INSERT INTO {}.{} ("编号", "姓名") VALUES (%s, %s)')
    connection.execute(
        statement.format(sql.Identifier(SCHEMA), sql.Identifier(RESIDENTS.name)), [number, name]
    )
