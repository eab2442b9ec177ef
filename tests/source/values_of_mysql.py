"""Literals for a column of each type of MySQL and MariaDB: at the edges, and drawn at random."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

INTEGERS = ("TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT")
TEXTS = ("CHAR", "VARCHAR", "TEXT", "LONGTEXT")
BYTES = ("BINARY", "VARBINARY", "BLOB", "LONGBLOB")
MICROSECOND = timedelta(microseconds=1)
SECONDS_FIT = (datetime(1971, 1, 1), datetime(2037, 12, 31))  # noqa: DTZ001 - columns have no zone
EVERY_YEAR = (datetime(1000, 1, 1), datetime(9999, 12, 30))  # noqa: DTZ001

INTEGER_BITS = {"TINYINT": 8, "SMALLINT": 16, "MEDIUMINT": 24, "INT": 32, "BIGINT": 64}
EDGES: dict[str, list[str]] = {
    "DECIMAL(65,30)": ["0", "-0.5", f"{'9' * 35}.{'9' * 30}", f"-{'9' * 35}.{'9' * 30}", "1e-30"],
    "DECIMAL(10,0)": ["0", "-1", "9999999999", "1000000000"],
    "DECIMAL(5,5)": ["0", "0.00001", "-0.99999"],
    "DECIMAL(9,2)": ["0.01", "-0.01", "1234567.89", "-1000000"],
    "FLOAT": ["0", "-0e0", "0.1", "16777216", "3.4028235e38", "-1.4e-45", "3.1415927"],
    "DOUBLE": ["0", "-0e0", "0.1", "1.7976931348623157e308", "-4.9e-324", "1e15", "123456789.5"],
    "BIT(1)": ["b'0'", "b'1'"],
    "BIT(10)": ["b'0'", "b'1000000001'", "b'1111111111'"],
    "BIT(64)": ["0", "18446744073709551615", "9223372036854775808"],
    "DATE": ["'0001-01-01'", "'2024-02-29'", "'9999-12-31'"],
    "DATETIME": ["'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'"],
    "DATETIME(1)": ["'2024-02-29 23:59:59.9'", "'2024-02-29 00:00:00.0'"],
    "DATETIME(6)": ["'2024-02-29 03:04:05.000001'", "'0001-01-01 00:00:00.999999'"],
    "TIMESTAMP NULL": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"],
    "TIMESTAMP(3) NULL": ["'2024-02-29 03:04:05.120'", "'2024-02-29 03:04:05.999'"],
    "TIMESTAMP(6) NULL": ["'2024-02-29 03:04:05.000001'", "'1970-01-01 00:00:01.5'"],
    "TIME": ["'00:00:00'", "'23:59:59'", "'12:34:56'"],
    "TIME(2)": ["'23:59:59.99'", "'00:00:00.01'"],
    "TIME(6)": ["'23:59:59.999999'", "'00:00:00.000001'", "'10:00:00.5'"],
    "YEAR": ["1901", "2155", "2024", "0"],
    "CHAR(5)": ["''", "'中 '", "'a'"],
    "CHAR(200)": ["''", "REPEAT('中', 200)"],
    "VARCHAR(255) CHARACTER SET latin1": ["''", "'é€ÿ'", "REPEAT('ü', 255)"],
    "VARCHAR(300) CHARACTER SET gbk": ["'中文'", "REPEAT('丂', 300)"],
    "VARCHAR(50) CHARACTER SET ucs2": ["'中a'"],
    "VARCHAR(20)": ["'𠀀 '", "'it''s'", "'a\\\\b'", "'NULL'", "'\\n\\r\\t'", "'###   @1=5'"],
    "TEXT": ["''", "REPEAT('x', 65535)"],
    "LONGTEXT": ["'a\\nb'", "REPEAT('中', 30000)"],
    "ENUM('x','y','中')": ["'x'", "'中'", "''"],
    "SET('x','y','z')": ["''", "'x'", "'z,x'", "'x,y,z'"],
    "BINARY(3)": ["x''", "x'00ff'", "x'ff0000'", "x'414243'"],
    "VARBINARY(9)": ["x''", "x'00'", "x'0a0d27225c'", "x'ff00'"],
    "BLOB": ["x''", "x'00ff'", "REPEAT(x'ff', 300)"],
    "LONGBLOB": ["x''", "REPEAT(x'00', 70000)"],
    "JSON": ["'{}'", "'[]'", "'null'", '\'{"a": [1, -1, 1.5, true, null, "é中"]}\'', "'\"\"'"],
}
for name, size in INTEGER_BITS.items():
    half = 1 << size - 1
    EDGES[name] = [str(-half), "-1", "0", str(half - 1)]
    EDGES[f"{name} UNSIGNED"] = ["0", str(half - 1), str(half), str(2 * half - 1)]


def drawn(random: Random, declared: str) -> str:
    """Returns a literal of a column, or NULL."""
    if random.random() < 0.1:
        return "NULL"
    name = declared.partition("(")[0].partition(" ")[0]
    if name in INTEGER_BITS:
        bits = random.randrange(1, INTEGER_BITS[name])
        number = random.getrandbits(bits)
        return str(number if "UNSIGNED" in declared else number - random.getrandbits(bits))
    if name in _DRAWN:
        return _DRAWN[name](random, declared)
    return random.choice(EDGES[declared])


def drawn_decimal(random: Random, declared: str) -> str:
    precision, scale = map(int, declared.removeprefix("DECIMAL(").removesuffix(")").split(","))
    number = Decimal(random.getrandbits(216) % 10 ** random.randint(1, precision)).scaleb(-scale)
    return f"{random.choice(['', '-'])}{number:f}"


def drawn_float(random: Random, declared: str) -> str:
    exponent = 37 if declared == "FLOAT" else 300
    return repr(random.uniform(-10, 10) * 10.0 ** random.randint(-exponent, exponent))


def drawn_moment(random: Random, declared: str) -> str:
    first, last = SECONDS_FIT
    if not declared.startswith("TIMESTAMP"):
        first, last = EVERY_YEAR
    micros = random.randrange((last - first) // MICROSECOND)
    found = f"{first + micros * MICROSECOND}"
    if declared == "DATE":
        return f"'{found[:10]}'"
    if declared.startswith("TIME("):
        return f"'{found[11:19]}.{micros % 1_000_000:06d}'"
    return f"'{found}'"


def drawn_text(random: Random, declared: str) -> str:
    letters = {"latin1": "aZ \x7fé", "gbk": "a中丂", "ucs2": "a中"}
    chosen = letters.get(declared.partition("CHARACTER SET ")[2], "a'\\\n\r\x01中𠀀\xff")
    text = "".join(random.choices(chosen, k=random.randrange(20 if "20" in declared else 5)))
    return f"_utf8mb4 x'{text.encode().hex()}'"


def drawn_octets(random: Random, declared: str) -> str:
    return f"x'{random.randbytes(random.randrange(4)).hex()}'"


_DRAWN: dict[str, Callable[[Random, str], str]] = {
    "DECIMAL": drawn_decimal,
    "FLOAT": drawn_float,
    "DOUBLE": drawn_float,
    **dict.fromkeys(("DATE", "DATETIME", "TIMESTAMP", "TIME"), drawn_moment),
    **dict.fromkeys(TEXTS, drawn_text),
    **dict.fromkeys(BYTES, drawn_octets),
}
