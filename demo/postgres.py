"""A unit with PostgreSQL, whose log the agent reads."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg

from demo.unit import DATABASE
from tests.agent_process import Installation, Lines, url
from tests.checker.inputs import big_number, name, sometimes, text_key
from tests.checker.plan import relation
from tests.checker.unit import SCHEMA, TABLES, UnitTable, create_tables, insert_many
from tests.services.postgres import PostgresServer

# Shared only while the demonstration runs; until then its rows and changes are nobody's business.
ADDED = UnitTable(
    "permits",
    "许可证",
    """ ("证号" bigint PRIMARY KEY, "持证人" text, "发证机关" text, "备注" text)""",
    {"证号": big_number},
    {"持证人": sometimes(name), "发证机关": sometimes(name), "备注": sometimes(text_key)},
)
# Statements that fill a table with so many rows; their keys are met by none of the random workload.
FILLING: Mapping[str, str] = {
    "居民": """
        INSERT INTO {}
            ("编号", "姓名", "证件号", "余额", "有效", "出生日期", "登记时间", "标签")
        SELECT
            -n,
            (array['王','李','张','刘','陈','欧阳'])[1 + n % 6]
                || (array['伟','芳','娜','秀英','敏','静'])[1 + n / 6 % 6],
            '11010119' || to_char(n % 40 + 60, 'FM00') || lpad(n::text, 8, '0'),
            n / 7.0,
            n % 2 = 0,
            date '1960-01-01' + n % 20000,
            timestamp '2026-01-01' + n * interval '1 minute',
            jsonb_build_object('街道', '第' || n % 12 || '街道', '序号', n)
        FROM generate_series(1, %s) n""",
    "订单明细": """
        INSERT INTO {} ("订单号", "行 号", "品名", "数量", "下单时间")
        SELECT
            '订单-' || lpad((n / 5)::text, 6, '0'),
            1 + n % 5,
            (array['大米','食用油','口罩','打印纸'])[1 + n % 4],
            n / 8.0,
            timestamptz '2026-01-01 00:00+08' + n * interval '1 minute'
        FROM generate_series(1, %s) n""",
    'Audit"Log': """
        INSERT INTO {} ("Id", "ActorName", "事项", "Detail", "Score", "签名")
        SELECT
            md5('日志' || n)::uuid,
            '经办人' || n % 50,
            (array['查询','修改','导出'])[1 + n % 3],
            jsonb_build_object('次数', n),
            n / 3.0,
            decode(md5(n::text), 'hex')
        FROM generate_series(1, %s) n""",
    "文书": """
        INSERT INTO {} ("文书号", "标题", "版次", "正文")
        SELECT
            -n,
            '通知第' || n || '号',
            1 + n % 9,
            (SELECT string_agg(md5((n * 1000 + i)::text), '') FROM generate_series(1, 100) i)
        FROM generate_series(1, %s) n""",
    "企业": """
        INSERT INTO {} ("信用代码", "名称", "状态", "注册资本")
        SELECT
            '91320000' || lpad(n::text, 10, '0'),
            '第' || n || '号有限公司',
            (array['在营','迁入','在营','注销'])[1 + n % 4],
            n * 10000
        FROM generate_series(1, %s) n""",
    "户籍": """
        INSERT INTO {} ("区号", "户号", "户主")
        SELECT 1 + n % 9, -n, (array['王伟','李芳','张娜','刘静'])[1 + n % 4]
        FROM generate_series(1, %s) n""",
    "测量": """
        INSERT INTO {}
            ("编号", "单精", "时刻", "时长", "金额", "地址", "数组", "文组", "区间", "等级", "时组")
        SELECT
            -n,
            n / 7.0,
            time '08:00' + n % 600 * interval '1 minute',
            n * interval '1 second',
            n::money,
            '10.0.0.0'::inet + n,
            array[n, NULL, n % 3],
            array['第' || n || '站', 'a,"b"'],
            int4range(n, n + 5),
            '甲',
            array[timestamptz '2026-01-01 00:00+08' + n * interval '1 minute']
        FROM generate_series(1, %s) n""",
    "许可证": """
        INSERT INTO {} ("证号", "持证人", "发证机关", "备注")
        SELECT
            -n,
            (array['王伟','李芳','张娜','刘静'])[1 + n % 4],
            '第' || n % 12 || '街道办事处',
            '第' || n || '号'
        FROM generate_series(1, %s) n""",
}


class PostgresUnit:
    """See Unit."""

    way = ""
    tables: Sequence[UnitTable] = TABLES
    added = ADDED
    prepared = "role, publication, replication slot"
    streams_deletes = True

    def __init__(self) -> None:
        self._database = "not started"

    @property
    def database(self) -> str:
        """See Unit.database."""
        return self._database

    def open(self, everything: ExitStack, rows: Mapping[str, int]) -> str:
        """See Unit.open."""
        server = everything.enter_context(
            PostgresServer.start(18, {"max_slot_wal_keep_size": "2GB"})
        )
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
            version = connection.info.server_version
        self._database = server.dsn(DATABASE)
        every = (*self.tables, self.added)
        create_tables(self._database, every)
        with psycopg.connect(self._database) as connection:
            for table in every:
                statement = (
                    FILLING[table.name]
                    .replace("%", "%%")
                    .replace("%%s", "%s")
                    .format(relation(table).as_string())
                )
                connection.execute(statement.encode(), [rows[table.resource]])
        return f"PostgreSQL {version // 10000}.{version % 10000}, schema {SCHEMA}"

    def place(
        self,
        directory: Path,
        bootstrap: str,
        name: str,
        front: str | None,
        sections: Mapping[str, Lines],
    ) -> Installation:
        """See Unit.place."""
        return Installation(
            directory, self._database, bootstrap, name, self.tables, front, sections=sections
        )

    def insert_many(self, rows: int, first: int) -> None:
        """See Unit.insert_many."""
        insert_many(self._database, rows, first=first)

    def show_deletes(self, place: Installation) -> str:
        """See Unit.show_deletes: there were some all the time."""
        return ""

    def shell(self) -> str:
        """See Unit.shell."""
        return f"psql {url(self._database)}"
