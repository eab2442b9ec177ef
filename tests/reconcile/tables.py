"""Tables of every kind of key, and rows to fill them with before an agent comes."""

from collections.abc import Callable, Iterable, Sequence
from random import Random

import psycopg
from psycopg import sql

from tests.checker.inputs import hostile_key, identity, money, name, sometimes, text_key
from tests.checker.plan import columns, hot_keys, relation
from tests.checker.unit import UnitTable

VALUES = {"值": sometimes(name), "额": sometimes(money)}

INTEGERS = UnitTable(
    "integers",
    "整数",
    """ ("编号" integer PRIMARY KEY, "值" text, "额" numeric(12,2))""",
    {"编号": lambda random: str(random.randint(-(2**31), 2**31 - 1))},
    VALUES,
)
NUMERICS = UnitTable(
    "numerics",
    "长号",
    """ ("编号" numeric(20,0) PRIMARY KEY, "值" text, "额" numeric(12,2))""",
    {"编号": lambda random: str(random.randint(-(10**20) + 1, 10**20 - 1))},
    VALUES,
)
PAIRS = UnitTable(
    "pairs",
    "成对",
    # The key's columns come in another order than the table's.
    """ ("部门" smallint, "编号" bigint, "值" text, "额" numeric(12,2),
        PRIMARY KEY ("编号", "部门"))""",
    {
        "编号": lambda random: str(random.randint(-40, 40)),
        "部门": lambda random: str(random.randint(-100, 100)),
    },
    VALUES,
)
TEXTS = UnitTable(
    "texts",
    "文本",
    """ ("代码" text PRIMARY KEY, "值" text, "额" numeric(12,2))""",
    {"代码": text_key},
    VALUES,
    hot={"代码": hostile_key},
)
MIXED = UnitTable(
    "mixed",
    "混合",
    """ ("代码" varchar(40), "行" integer, "值" text, "额" numeric(12,2),
        PRIMARY KEY ("代码", "行"))""",
    {"代码": text_key, "行": lambda random: str(random.randint(1, 9))},
    VALUES,
    hot={"代码": hostile_key},
)
UUIDS = UnitTable(
    "uuids",
    "标识",
    """ ("编号" uuid PRIMARY KEY, "值" text, "额" numeric(12,2))""",
    {"编号": identity},
    VALUES,
)
KEYED = (INTEGERS, NUMERICS, PAIRS, TEXTS, MIXED, UUIDS)
NUMBERS = """SELECT n, md5(n::text), n FROM generate_series(%s::int, %s::int) n"""


def fill(conninfo: str, tables: Iterable[UnitTable], rows: int, seed: int = 1) -> None:
    """About so many rows in each table, the keys on which writers meet among them."""
    for table in tables:
        random = Random(f"{seed}/{table.name}")
        keys = [
            *hot_keys(table),
            *(tuple(make(random) or "" for make in table.key.values()) for _ in range(rows)),
        ][:rows]
        insert(
            conninfo,
            table,
            [[*key, *(make(random) for make in table.values.values())] for key in keys],
        )


def insert(conninfo: str, table: UnitTable, rows: Sequence[Sequence[str | None]]) -> None:
    """Rows in one transaction; a key that is there already keeps its row."""
    listed = [*table.key, *table.values]
    places = sql.SQL(", ").join([sql.Placeholder()] * len(listed))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
        relation(table), columns(listed), places
    )
    with psycopg.connect(conninfo) as connection, connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def numbered(first: int, last: int) -> Callable[[str], None]:
    """Makes rows in INTEGERS, at the source with that conninfo: the number is key and amount."""

    def make(conninfo: str) -> None:
        with psycopg.connect(conninfo) as connection:
            connection.execute(
                sql.SQL("INSERT INTO {} ").format(relation(INTEGERS)) + sql.SQL(NUMBERS),
                [first, last],
            )

    return make
