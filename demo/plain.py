"""Tables of types that every database has, and what they hold before the agent comes."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from random import Random

from tests.checker.inputs import big_number, large, money, name, one_of, sometimes, text_key
from tests.checker.unit import UnitTable

CHANGED = "更新时间"  # when a row was last changed; the database itself keeps it
LONG_AGO = datetime(2025, 1, 1)  # noqa: DTZ001 - as a column holds it
FAMILY = ("王", "李", "张", "刘", "陈", "欧阳")
GIVEN = ("伟", "芳", "娜", "秀英", "敏", "静")
GOODS = ("大米", "食用油", "口罩", "打印纸")
STATES = ("在营", "迁入", "在营", "注销")

Row = Mapping[str, object]


def day(random: Random) -> str:
    """Returns a date."""
    return (date(1930, 1, 1) + timedelta(days=random.randrange(36_500))).isoformat()


def moment(random: Random) -> str:
    """Returns a date and time."""
    return f"{day(random)} {random.randrange(24):02d}:{random.randrange(60):02d}:00"


def real(random: Random) -> str:
    """Returns a number."""
    return repr(random.gauss(0, 1e6))


# In each definition, {changed} stands for the column CHANGED
TABLES = (
    UnitTable(
        "residents",
        "居民",
        """ ("编号" BIGINT NOT NULL PRIMARY KEY, "姓名" TEXT, "证件号" VARCHAR(18),
            "余额" DECIMAL(16,2), "有效" BOOLEAN, "出生日期" DATE, "登记时间" DATETIME,
            "评分" REAL, "内部口令" TEXT, {changed})""",
        {"编号": big_number},
        {
            "姓名": sometimes(name),
            "证件号": sometimes(lambda random: f"{random.randint(10**16, 10**17)}X"),
            "余额": sometimes(money),
            "有效": sometimes(one_of("1", "0")),
            "出生日期": sometimes(day),
            "登记时间": sometimes(moment),
            "评分": sometimes(real),
            "内部口令": sometimes(name),
        },
        secret=("内部口令",),
        schema="",
    ),
    UnitTable(
        "order_lines",
        "订单明细",
        """ ("订单号" VARCHAR(64) NOT NULL, "行 号" INTEGER NOT NULL, "品名" TEXT,
            "数量" DECIMAL(12,3), "下单时间" DATETIME, {changed},
            PRIMARY KEY ("订单号", "行 号"))""",
        {"订单号": text_key, "行 号": lambda random: str(random.randint(1, 9))},
        {
            "品名": sometimes(name),
            "数量": sometimes(money),
            "下单时间": sometimes(moment),
        },
        settings='delete = "soft"\n[resource.technical]\n'
        'operation = "ex_op"\ndeleted = "ex_deleted"\n'
        'sequence = "ex_seq"\nsync_time = "ex_sync_time"\n',
        deleted="ex_deleted",
        schema="",
    ),
    UnitTable(
        "documents",
        "文书",
        """ ("文书号" BIGINT NOT NULL PRIMARY KEY, "标题" TEXT, "版次" INTEGER NOT NULL,
            "正文" TEXT, {changed})""",
        {"文书号": big_number},
        {
            "标题": sometimes(name),
            "版次": lambda random: str(random.randint(1, 99)),
            "正文": sometimes(large),
        },
        large=("正文",),
        schema="",
    ),
    UnitTable(
        "enterprises",
        "企业",
        """ ("信用代码" VARCHAR(64) NOT NULL PRIMARY KEY, "名称" TEXT, "状态" VARCHAR(8),
            "注册资本" DECIMAL(20,4), {changed})""",
        {"信用代码": text_key},
        {
            "名称": sometimes(name),
            "状态": sometimes(one_of("在营", "迁入", "注销", "吊销")),
            "注册资本": sometimes(money),
        },
        rename={"信用代码": "统一社会信用代码"},
        settings='[[resource.filter]]\ncolumn = "状态"\nis_in = ["在营", "迁入"]\n',
        condition="""coalesce("状态" in ('在营', '迁入'), false)""",
        schema="",
    ),
)
ADDED = UnitTable(
    "permits",
    "许可证",
    """ ("证号" BIGINT NOT NULL PRIMARY KEY, "持证人" TEXT, "发证机关" TEXT, {changed})""",
    {"证号": big_number},
    {"持证人": sometimes(name), "发证机关": sometimes(name)},
    schema="",
)


def resident(n: int) -> Row:
    """Returns the n-th row of the residents."""
    return {
        "编号": -n,
        "姓名": FAMILY[n % 6] + GIVEN[n // 6 % 6],
        "证件号": f"11010119{n % 40 + 60}{n:08d}",
        "余额": f"{n // 7}.{n % 100:02d}",
        "有效": n % 2,
        "出生日期": str(date(1960, 1, 1) + timedelta(days=n % 20_000)),
        "登记时间": str(LONG_AGO + timedelta(minutes=n)),
    }


def order_line(n: int) -> Row:
    """Returns the n-th row of the order lines."""
    return {
        "订单号": f"订单-{n // 5:06d}",
        "行 号": 1 + n % 5,
        "品名": GOODS[n % 4],
        "数量": f"{n // 8}.{n % 8 * 125:03d}",
        "下单时间": str(LONG_AGO + timedelta(minutes=n)),
    }


def document(n: int) -> Row:
    """Returns the n-th row of the documents."""
    return {
        "文书号": -n,
        "标题": f"通知第{n}号",
        "版次": 1 + n % 9,
        "正文": "正文" + large(Random(n)),
    }


def enterprise(n: int) -> Row:
    """Returns the n-th row of the enterprises."""
    return {
        "信用代码": f"91320000{n:010d}",
        "名称": f"第{n}号有限公司",
        "状态": STATES[n % 4],
        "注册资本": n * 10_000,
    }


def permit(n: int) -> Row:
    """Returns the n-th row of the permits."""
    return {
        "证号": -n,
        "持证人": FAMILY[n % 4] + GIVEN[n % 4],
        "发证机关": f"第{n % 12}街道办事处",
    }


# By resource: what a table holds; these keys are met by none of the random workload
HELD: Mapping[str, Callable[[int], Row]] = {
    "residents": resident,
    "order_lines": order_line,
    "documents": document,
    "enterprises": enterprise,
    "permits": permit,
}
