"""Literals for a column of each type of MySQL and MariaDB: at the edges, and drawn."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

Literals = st.SearchStrategy[str]

INTEGERS = ("TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT")
TEXTS = ("CHAR", "VARCHAR", "TEXT", "LONGTEXT")
BYTES = ("BINARY", "VARBINARY", "BLOB", "LONGBLOB")
MICROSECOND = timedelta(microseconds=1)
SECONDS_FIT = (datetime(1971, 1, 1), datetime(2037, 12, 31))  # noqa: DTZ001 - columns have no zone
EVERY_YEAR = (datetime(1, 1, 1), datetime(9999, 12, 30))  # noqa: DTZ001

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


def few_examples(count: int) -> settings:
    """So many examples, the same in each run: each takes statements on a real server."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def literals(declared: str) -> Literals:
    """Returns literals for a column: NULL, values at the edges, and others."""
    found = st.just("NULL") | st.sampled_from(EDGES[declared])
    name = declared.partition("(")[0].partition(" ")[0]
    drawn = _DRAWN.get(name)
    return found if drawn is None else found | drawn(declared)


def _integers(declared: str) -> Literals:
    size = INTEGER_BITS[declared.partition(" ")[0]]
    if "UNSIGNED" in declared:
        return st.integers(0, (1 << size) - 1).map(str)
    return st.integers(-(1 << size - 1), (1 << size - 1) - 1).map(str)


def _decimals(declared: str) -> Literals:
    precision, scale = sizes(declared)
    largest = 10**precision - 1

    def literal(number: int) -> str:
        digits = f"{abs(number):0{precision + 1}d}"
        sign = "-" if number < 0 else ""
        return f"{sign}{digits[: len(digits) - scale]}.{digits[len(digits) - scale :]}0"

    return st.integers(-largest, largest).map(literal)


def sizes(declared: str) -> list[int]:
    """Returns the numbers in the parentheses of a type."""
    return [int(size) for size in declared.partition("(")[2].partition(")")[0].split(",")]


def _floats(declared: str) -> Literals:
    width: Literal[32, 64] = 32 if declared == "FLOAT" else 64
    return st.floats(width=width, allow_nan=False, allow_infinity=False).map(repr)


def _bits(declared: str) -> Literals:
    (size,) = sizes(declared)
    return st.integers(0, (1 << size) - 1).map(str)


def _moments(declared: str) -> Literals:
    first, last = SECONDS_FIT if declared.startswith("TIMESTAMP") else EVERY_YEAR
    days = 10 if declared == "DATE" else None
    return st.datetimes(first, last).map(lambda moment: f"'{str(moment)[:days]}'")


def _texts(declared: str) -> Literals:
    letters = {"latin1": "aZ \x7fé€", "gbk": "a中丂", "ucs2": "a中"}
    chosen = letters.get(declared.partition("CHARACTER SET ")[2])
    every = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    alphabet = st.sampled_from(chosen or "a'\\\n\r\x01中𠀀\xff ") | every
    if chosen:
        alphabet = st.sampled_from(chosen)
    return st.text(alphabet, max_size=5).map(_utf8)


def _utf8(text: str) -> str:
    return f"_utf8mb4 x'{text.encode().hex()}'"


def _octets(_declared: str) -> Literals:
    return st.binary(max_size=3).map(lambda raw: f"x'{raw.hex()}'")


def _documents(_declared: str) -> Literals:
    texts = st.text(st.sampled_from('aé"\\\n中𠀀 '), max_size=5)
    leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts
    found = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    )
    return found.map(lambda document: _utf8(json.dumps(document)))


_DRAWN: dict[str, Callable[[str], Literals]] = {
    **dict.fromkeys(INTEGER_BITS, _integers),
    "DECIMAL": _decimals,
    "FLOAT": _floats,
    "DOUBLE": _floats,
    "BIT": _bits,
    **dict.fromkeys(("DATE", "DATETIME", "TIMESTAMP"), _moments),
    "TIME": lambda _: st.times().map(lambda clock: f"'{clock}'"),
    "YEAR": lambda _: st.integers(1901, 2155).map(str),
    **dict.fromkeys(TEXTS, _texts),
    **dict.fromkeys(BYTES, _octets),
    "JSON": _documents,
}
