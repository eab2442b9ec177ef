"""A unit's tables, and a seeded random workload over them: Chinese names and data, many types, every kind of change and transaction."""

import base64
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from random import Random
from types import TracebackType
from typing import LiteralString, NamedTuple, Self

import psycopg
from psycopg import sql

from tests.comparison import SharedTable

Value = str | None  # PostgreSQL's input text
Key = tuple[str, ...]
Make = Callable[[Random], Value]

SCHEMA = "业务"
LARGE = 12_000  # characters of a large text, incompressible: it is stored out of line, and unchanged it is not in the log
HOT = 150  # rows a writer keeps in each table: few, so that they meet often


class UnitTable(NamedTuple):
    """A table of the unit: how it is made, how its values are made, and how it is shared."""

    resource: str
    name: str  # within SCHEMA
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

    @property
    def shared(self) -> list[str]:
        """The source columns that are shared."""
        return [column for column in (*self.key, *self.values) if column not in self.secret]

    def judged(self, prefix: str, front_schema: str = "") -> SharedTable:
        """The table as the comparison takes it."""
        return SharedTable(
            topic=f"{prefix}.{self.resource}",
            schema=SCHEMA,
            table=self.name,
            columns={column: self.rename.get(column, column) for column in self.shared},
            key=tuple(self.key),
            front=front_schema + self.name,
            condition=sql.SQL(self.condition),
            deleted=self.deleted,
        )

    def toml(self) -> str:
        """The [[resource]] of the agent's configuration."""
        rename = ", ".join(f"{_quoted(old)} = {_quoted(new)}" for old, new in self.rename.items())
        columns = ", ".join(map(_quoted, self.shared))
        return (
            f'[[resource]]\nname = "{self.resource}"\ntable = {_quoted(f"{SCHEMA}.{self.name}")}\n'
            f"columns = [{columns}]\nrename = {{ {rename} }}\n{self.settings}"
        )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# ---- values

SURNAMES, GIVEN = "王李张刘陈杨黄赵周吴欧阳诸葛", "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平𠮷龘"
HOSTILE = ("", " ", "NULL", "'", '"', "\\", "\\N", "a\tb\nc\r", "%s %(x)s", "{}", "😀🀄", "𠮷野家", "\u200b", "é", "ﬀ", "ＡＢＣ", "\x7f\x01", "尾随空格 ")


def name(random: Random) -> str:
    """A person's name, now and then a value that breaks careless code."""
    return random.choice(HOSTILE) if random.random() < 0.15 else random.choice(SURNAMES) + "".join(random.choices(GIVEN, k=random.randint(1, 2)))


def sometimes(make: Make) -> Make:
    """The value, or NULL one time in seven."""
    return lambda random: None if random.random() < 0.15 else make(random)


def one_of(*values: str) -> Make:
    """One of these."""
    return lambda random: random.choice(values)


def number(random: Random) -> str:
    """A number far beyond what a float keeps."""
    if random.random() < 0.1:
        return random.choice(("NaN", "0.000", "-0.10", "12345678901234567890123.45678900", "1e-20", "1e25"))
    return f"{random.randint(-(10**9), 10**9)}.{random.randint(0, 10**6):06d}"


def money(random: Random) -> str:
    """An amount with two digits."""
    return f"{random.randint(-(10**9), 10**9)}.{random.randint(0, 99):02d}"


def real(random: Random) -> str:
    """A double, also an extreme one."""
    return random.choice(("NaN", "Infinity", "-Infinity", "1e300", "5e-324", "0.1")) if random.random() < 0.2 else repr(random.gauss(0, 1e6))


def date(random: Random) -> str:
    """A date, also one before Christ or of the far future."""
    if random.random() < 0.1:
        return random.choice(("infinity", "-infinity", "0044-03-15 BC", "12345-06-07", "0001-01-01", "9999-12-31"))
    return f"{random.randint(1930, 2030)}-{random.randint(1, 12):02d}-{random.randint(1, 28):02d}"


def moment(random: Random) -> str:
    """A date with a time of up to six digits after the second."""
    base = date(random)
    if "inf" in base or "BC" in base:
        return base
    return f"{base} {random.randint(0, 23):02d}:{random.randint(0, 59):02d}:{random.randint(0, 59):02d}.{random.randint(0, 10**6 - 1):06d}"


def zoned(random: Random) -> str:
    """A moment with a time zone."""
    base = moment(random)
    return base if "inf" in base or "BC" in base else base + random.choice(("+08", "+00", "-03:30", "Z"))


def binary(size: int) -> Make:
    """Random bytes."""
    return lambda random: "\\x" + random.randbytes(random.randint(0, size)).hex()


def document(random: Random) -> str:
    """A JSON object with nested and hostile values."""
    return json.dumps(
        {"标签": random.choices(HOSTILE[2:-2], k=2), "数": random.randint(0, 10**18), "内": {"是": random.random() < 0.5, "空": None}}, ensure_ascii=False
    )


def large(random: Random) -> str:
    """A text that cannot be compressed."""
    return "文" + base64.b64encode(random.randbytes(LARGE * 3 // 4)).decode()


def identity(random: Random) -> str:
    """A UUID."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def big_number(random: Random) -> str:
    """A key of type bigint; large enough never to meet twice."""
    return str(random.getrandbits(62))


def text_key(random: Random) -> str:
    """A text key whose fellows differ by case, blanks or width only."""
    return (
        random.choice(("a", "A", "a ", "à", "ａ", "𠮷", "𠀀", "'", '"', "\\", "信", "")) + f"{random.getrandbits(48):x}" + random.choice(("", " ", "\t", "\\"))
    )


# ---- the tables

TABLES: tuple[UnitTable, ...] = (
    UnitTable(
        "residents",
        "居民",
        """ ("编号" bigint PRIMARY KEY, "姓名" text NOT NULL, "证件号" varchar(18), "余额" numeric(16,2), "系数" numeric, "有效" boolean, "出生日期" date,
            "登记时间" timestamp, "更新时间" timestamptz, "档案号" uuid, "标签" jsonb, "照片" bytea, "评分" float8, "内部口令" text)""",
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
        """ ("订单号" varchar(64), "行 号" integer, "品名" text, "数量" numeric(12,3), "下单时间" timestamptz, PRIMARY KEY ("订单号", "行 号"))""",
        {"订单号": text_key, "行 号": lambda random: str(random.randint(1, 9))},
        {"品名": sometimes(name), "数量": sometimes(lambda random: f"{random.randint(0, 10**6)}.{random.randint(0, 999):03d}"), "下单时间": sometimes(zoned)},
        settings='delete = "soft"\n[resource.technical]\noperation = "ex_op"\ndeleted = "ex_deleted"\nsequence = "ex_seq"\nsync_time = "ex_sync_time"\n',
        deleted="ex_deleted",
    ),
    UnitTable(
        "audit_log",
        'Audit"Log',
        """ ("Id" uuid PRIMARY KEY, "ActorName" text, "事项" varchar(40), "Detail" jsonb, "Score" float8, "签名" bytea)""",
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
        """ ("文书号" bigint PRIMARY KEY, "标题" varchar(200), "版次" integer NOT NULL, "正文" text, "附件" bytea)""",
        {"文书号": big_number},
        {"标题": sometimes(name), "版次": lambda random: str(random.randint(1, 99)), "正文": sometimes(large), "附件": sometimes(binary(9000))},
        large=("正文", "附件"),
    ),
    UnitTable(
        "enterprises",
        "企业",
        """ ("信用代码" text PRIMARY KEY, "名称" text, "状态" varchar(8), "注册资本" numeric(20,4))""",
        {"信用代码": text_key},
        {"名称": sometimes(name), "状态": sometimes(one_of("在营", "迁入", "注销", "吊销")), "注册资本": sometimes(money)},
        rename={"信用代码": "统一社会信用代码"},
        settings='[[resource.filter]]\ncolumn = "状态"\nis_in = ["在营", "迁入"]\n',
        condition="""coalesce("状态" in ('在营', '迁入'), false)""",
    ),
)
RESIDENTS = TABLES[0]


def create_tables(conninfo: str, tables: Iterable[UnitTable] = TABLES) -> None:
    """Makes the unit's tables, empty."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        for table in tables:
            relation = sql.Identifier(SCHEMA, table.name)
            connection.execute(sql.SQL("CREATE TABLE {}").format(relation) + sql.SQL(table.ddl))
            connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY ").format(relation) + sql.SQL(table.identity))
            for column in table.large:
                connection.execute(sql.SQL("ALTER TABLE {} ALTER {} SET STORAGE EXTERNAL").format(relation, sql.Identifier(column)))


def insert_many(conninfo: str, rows: int, first: int = 0, length: int = 40) -> None:
    """One transaction of `rows` new residents, made by the server; `length` characters of name each."""
    statement = sql.SQL(
        """INSERT INTO {}.{} ("编号", "姓名", "余额", "有效", "登记时间")
           SELECT n, left(repeat(md5(n::text), %s::int), %s::int), n / 7.0, n %% 2 = 0, timestamp '2026-01-01' + n * interval '1 second'
           FROM generate_series(%s::bigint, %s::bigint) n"""
    ).format(sql.Identifier(SCHEMA), sql.Identifier(RESIDENTS.name))
    with psycopg.connect(conninfo) as connection:
        connection.execute(statement, [length // 32 + 1, length, -first - rows, -first - 1])


def insert_resident(connection: psycopg.Connection, number: int, name: str = "张三") -> None:
    """One resident; a key below zero is never met by the random workload."""
    statement = sql.SQL('INSERT INTO {}.{} ("编号", "姓名") VALUES (%s, %s)')
    connection.execute(statement.format(sql.Identifier(SCHEMA), sql.Identifier(RESIDENTS.name)), [number, name])


# ---- the workload


class Writer:
    """One application session: random transactions over the tables, reproducible by its seed. It changes only rows it has made itself."""

    def __init__(self, conninfo: str, seed: int, tables: Sequence[UnitTable] = TABLES) -> None:
        self._random = Random(seed)
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._tables = tables
        self._keys: dict[str, list[Key]] = {table.name: [] for table in tables}  # rows of ours that exist
        self.transactions = 0
        self.changes = 0  # rows changed, undone ones included

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def run(self, transactions: int) -> None:
        """So many transactions."""
        for _ in range(transactions):
            self.transaction()

    def transaction(self) -> None:
        """One transaction: plain, with a savepoint that is rolled back, or rolled back as a whole."""
        kind = self._random.choices(("plain", "savepoint", "rollback"), weights=(80, 12, 8))[0]
        with self._transaction(undo=kind == "rollback"):
            self._changes()
            if kind == "savepoint":
                with self._transaction(undo=True):
                    self._changes()
                self._changes()
        self.transactions += 1

    @contextmanager
    def _transaction(self, undo: bool) -> Iterator[None]:
        """A transaction, or a savepoint within one."""
        before = deepcopy(self._keys)
        with self._connection.transaction(force_rollback=undo):
            yield
        if undo:
            self._keys = before

    def _changes(self) -> None:
        for _ in range(self._random.choices((1, 3, 8), weights=(60, 30, 10))[0]):
            table = self._random.choice(self._tables)
            kinds = (self._insert, self._update, self._delete, self._move, self._swap, self._update_many, self._again)
            kind = self._random.choices(kinds, weights=(35, 35, 8, 6, 3, 6, 3))[0]
            kind(table) if len(self._keys[table.name]) > 3 else self._insert(table)

    # ---- kinds of changes

    def _insert(self, table: UnitTable) -> None:
        """New rows; a table with many loses as many."""
        keys = self._keys[table.name]
        for _ in range(self._random.choice((1, 1, 1, 5))):
            while len(keys) >= HOT:
                self._delete(table)
            self._insert_row(table, self._new_key(table))

    def _insert_row(self, table: UnitTable, key: Key) -> None:
        row = dict(zip(table.key, key, strict=True)) | {column: make(self._random) for column, make in table.values.items()}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})")
        places = sql.SQL(", ").join([sql.Placeholder()] * len(row))
        self._execute(statement.format(_relation(table), _list(row), places), list(row.values()))
        self._keys[table.name].append(key)

    def _update(self, table: UnitTable, key: Key | None = None) -> None:
        """Some columns of one row; large values seldom, so that the log leaves them out."""
        often = [column for column in table.values if column not in table.large or self._random.random() < 0.1]
        columns = self._random.sample(often, self._random.randint(1, min(3, len(often))))
        self._set(table, key or self._any(table), {column: table.values[column](self._random) for column in columns})

    def _set(self, table: UnitTable, key: Key, changed: Mapping[str, Value]) -> None:
        assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in changed)
        self._execute(sql.SQL("UPDATE {} SET {} WHERE {}").format(_relation(table), assignments, _match(table)), [*changed.values(), *key])

    def _delete(self, table: UnitTable) -> None:
        key = self._any(table)
        self._execute(sql.SQL("DELETE FROM {} WHERE {}").format(_relation(table), _match(table)), list(key))
        self._keys[table.name].remove(key)

    def _move(self, table: UnitTable, old: Key | None = None, new: Key | None = None) -> Key:
        """The key of a row changes, alone or with other columns."""
        old, new = old or self._any(table), new or self._new_key(table)
        changed = dict(zip(table.key, new, strict=True))
        if self._random.random() < 0.5:
            column = next(iter(table.values))
            changed |= {column: table.values[column](self._random) or ""}
        self._set(table, old, changed)
        keys = self._keys[table.name]
        keys[keys.index(old)] = new
        return new

    def _swap(self, table: UnitTable) -> None:
        """Two rows exchange their keys."""
        one, other = self._random.sample(self._keys[table.name], 2)
        aside = self._move(table, one)
        self._move(table, other, one)
        self._move(table, aside, other)

    def _update_many(self, table: UnitTable) -> None:
        """One statement for many rows."""
        column = self._random.choice([column for column in table.values if column not in table.large])
        keys = self._random.sample(self._keys[table.name], min(20, len(self._keys[table.name])))
        rows = sql.SQL(", ").join([sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(table.key)))] * len(keys))
        statement = sql.SQL("UPDATE {} SET {} = %s WHERE ({}) IN ({})").format(_relation(table), sql.Identifier(column), _list(table.key), rows)
        self._execute(statement, [table.values[column](self._random), *(part for key in keys for part in key)])

    def _again(self, table: UnitTable) -> None:
        """A row is changed, deleted and made again under the same key."""
        key = self._any(table)
        self._update(table, key)
        self._execute(sql.SQL("DELETE FROM {} WHERE {}").format(_relation(table), _match(table)), list(key))
        self._keys[table.name].remove(key)
        self._insert_row(table, key)
        self._update(table, key)

    # ---- pieces

    def _any(self, table: UnitTable) -> Key:
        return self._random.choice(self._keys[table.name])

    def _new_key(self, table: UnitTable) -> Key:
        return tuple(make(self._random) or "" for make in table.key.values())

    def _execute(self, statement: sql.Composed, values: Sequence[Value]) -> None:
        self.changes += self._connection.execute(statement, values).rowcount


def _relation(table: UnitTable) -> sql.Identifier:
    return sql.Identifier(SCHEMA, table.name)


def _list(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _match(table: UnitTable) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in table.key)
