"""Holds what the demonstration's tables have before the agent comes.

It holds the table that is added later, and the damage done by hand, too.
"""

from collections.abc import Mapping

import psycopg

from tests.checker.front import at_front
from tests.checker.inputs import big_number, name, sometimes, text_key
from tests.checker.plan import relation
from tests.checker.table import Front
from tests.checker.unit import TABLES, UnitTable

# Shared only while the demonstration runs; until then its rows and changes are nobody's business.
ADDED = UnitTable(
    "permits",
    "许可证",
    """ ("证号" bigint PRIMARY KEY, "持证人" text, "发证机关" text, "备注" text)""",
    {"证号": big_number},
    {"持证人": sometimes(name), "发证机关": sometimes(name), "备注": sometimes(text_key)},
)
EVERY_TABLE = (*TABLES, ADDED)

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
SHARES: Mapping[str, float] = {  # of the rows of the largest table
    "居民": 1.0, "订单明细": 0.3, 'Audit"Log': 0.1, "文书": 0.03, "企业": 0.2, "户籍": 0.2,
    "测量": 0.05, "许可证": 0.2,
}  # fmt: skip

# By resource: what is done to the front end, and what `verify` must find afterwards (missing,
# different, extra).
DAMAGE: Mapping[str, tuple[str, tuple[int, int, int]]] = {
    "residents": ('DELETE FROM "居民" WHERE "编号" BETWEEN -7 AND -1', (7, 0, 0)),
    "enterprises": (
        """UPDATE "企业" SET "名称" = '被人改动' WHERE "统一社会信用代码"
        BETWEEN '913200000000000004' AND '913200000000000009'""",
        (0, 5, 0),
    ),
    "documents": (
        """INSERT INTO "文书" ("文书号", "标题", "版次")
        VALUES (-900001, '伪造', 1), (-900002, '伪造', 1), (-900003, '伪造', 1)""",
        (0, 0, 3),
    ),
}


def fill(source: str, rows: int) -> dict[str, int]:
    """Fills the tables, the largest with `rows` rows; returns how many each has, by resource."""
    counts = {table.resource: int(rows * SHARES[table.name]) for table in EVERY_TABLE}
    with psycopg.connect(source) as connection:
        for table in EVERY_TABLE:
            statement = (
                FILLING[table.name]
                .replace("%", "%%")
                .replace("%%s", "%s")
                .format(relation(table).as_string())
            )
            connection.execute(statement.encode(), [counts[table.resource]])
    return counts


def damage(front: Front) -> None:
    """Changes the front end by hand, as somebody may do."""
    for resource, (statement, found) in DAMAGE.items():
        changed = at_front(front, statement)
        assert changed == [(sum(found),)], f"{resource}: {changed}"
