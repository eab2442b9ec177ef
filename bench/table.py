"""The table that every bench fills: ten columns, about 400 bytes a row as JSON."""

import psycopg

from tests.checker.inputs import one_of
from tests.checker.unit import UnitTable

COLUMNS = """ ("id" bigint PRIMARY KEY, "name" text, "number" varchar(18), "district" varchar(6),
    "address" text, "balance" numeric(16,2), "valid" boolean, "born" timestamptz,
    "changed" timestamptz, "version" integer)"""
NAMES = (
    "name",
    "number",
    "district",
    "address",
    "balance",
    "valid",
    "born",
    "changed",
    "version",
)
TABLE = UnitTable(
    "bench", "bench", COLUMNS, {"id": one_of("1")}, {name: one_of("") for name in NAMES}
)

# The row of number n
ROW = """n, '张三' || n, lpad(n::text, 18, '3101'), '310105', '长宁区' || repeat(md5(n::text), 5),
    n / 7.0, n % 2 = 0, timestamptz '1970-01-01' + n * interval '1 hour',
    timestamptz '2026-01-01' + n * interval '1 second', n % 100"""

_FILL = """DO $$ BEGIN FOR t IN 0 .. ({count} - 1) / {size} LOOP
    INSERT INTO "业务"."{table}" SELECT {row} FROM generate_series(
        {first} + t * {size}, {first} + least((t + 1) * {size}, {count}) - 1) n;
    COMMIT; END LOOP; END $$"""


def fill(source: str, first: int, count: int, size: int, table: str = "bench") -> None:
    """Inserts rows of numbers from `first` on, in transactions of `size` rows."""
    statement = _FILL.format(count=count, size=size, first=first, row=ROW, table=table)
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(statement.encode())


def say(text: str) -> None:
    """Prints one line at once."""
    print(text, flush=True)
