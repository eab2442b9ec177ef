"""Defines the types that columns of a drawn table may have.

Each has values for keys, values for filters, and equal values of other spellings.

A type is SQL with `{app}` in place of the quoted schema of what the unit has made itself:
extensions, domains, enums ...
"""

import re
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

Spelled = tuple[
    str, str | int | bool
]  # a value as the source is given it, and as a person writes it in a filter


class Kind(NamedTuple):
    """A type of a column."""

    name: str
    type: str
    key: Callable[[int], str]  # the n-th value; no two of them are equal to the source
    respelled: Callable[[str], str] | None = (
        None  # the same value to the source's `=`, in another text
    )
    made: tuple[str, ...] = ()  # statements that make the type
    few: tuple[Spelled, ...] = ()  # values for a filter; without any it is in no filter
    utf8: bool = False  # whether values need a database in UTF8
    versions: tuple[int, ...] = (14, 15, 16, 17, 18)
    bounded: int = 1 << 40  # so many keys there are


EXTENSION = "CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {{app}}"
ICU = (14, 15, 16, 17)  # the 18 of the tests is built without it
LABELS = ("新", "Old", "old", "it's", 'say "x"', "Zz", "a,b", "删")


def mixed(number: int) -> str:
    """Letters of mixed case whose order hangs on whether case counts."""
    letters = "".join("abcdefghij"[int(digit)] for digit in f"{number:05d}")
    return "".join(
        letter.upper() if (number >> place) & 1 else letter for place, letter in enumerate(letters)
    )


def dotted(number: int) -> str:
    """Returns a path whose order by labels differs from that of its text."""
    return f"a{number % 7}.B{number % 3 or ''}.{number}"


def longer(text: str) -> str:
    """Returns the same numbers with one more digit after the point."""
    return re.sub(r"(\d+\.\d+)", r"\g<1>0", text)


def days(text: str) -> str:
    """Hours written as days: equal to PostgreSQL, which takes a day for 24 hours."""
    hours = int(text.partition(":")[0])
    return f"{hours // 24} days"


def identity(number: int) -> str:
    """Returns a UUID that follows no order."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def moment(number: int) -> str:
    """Returns a moment, every eleventh long ago or far away."""
    if number % 11 == 0:
        return f"{number % 4000 + 1:04d}-03-04 05:06:07.{number:06d} BC"
    return f"{2000 + number % 60}-04-03 {number % 24:02d}:{number // 24 % 60:02d}:07.{number:06d}"


def day(number: int) -> str:
    """Returns a date."""
    return f"{1000 + number // 300:04d}-{number // 25 % 12 + 1:02d}-{number % 25 + 1:02d}"


KINDS: tuple[Kind, ...] = (
    Kind("bigint", "bigint", str, few=(("1", 1), ("20", "20"), ("300", " 300"))),
    Kind("smallint", "smallint", str, few=(("1", 1), ("20", "020")), bounded=30_000),
    Kind("oid", "oid", str),
    Kind("text", "text", lambda n: f"{('a', 'A', 'b ', '甲', 'Z')[n % 5]}{n}",
         few=(("甲", "甲"), ("A ", "A "), ("a", "a"))),
    Kind("wide text", "text", lambda n: f"{('𠮷', 'à', 'ß', '｡', 'a')[n % 5]}{n}", utf8=True,
         few=(("𠮷", "𠮷"), ("à", "à"))),
    Kind("varchar(40)", "varchar(40)", lambda n: f"{n}{' ' * (n % 3)}",
         few=(("x", "x"), ("x ", "x "))),
    Kind("char(8)", "char(8)", lambda n: f"{n:06d}",
         few=(("000000", "000000"), ("310101", "310101"), ("3101", "3101"))),
    Kind("name", "name", mixed, few=(("Ab", "Ab"), ("c", "c"))),
    Kind("boolean", "boolean", lambda n: "tf"[n], bounded=2, few=(("t", "true"), ("f", "no"))),
    Kind("boolean said in TOML", "boolean", lambda n: "tf"[n], bounded=2,
         few=(("t", True), ("f", False))),
    Kind("numeric", "numeric", lambda n: f"{n}.5", longer,
         few=(("1.5", "1.5"), ("1.50", "1.50"), ("7", 7))),
    Kind("numeric(6,2)", "numeric(6,2)", lambda n: f"{n / 100:.2f}", bounded=90_000,
         few=(("12.5", "12.5"), ("100", 100), ("0.25", ".25"))),
    Kind("double precision", "double precision", lambda n: f"{n}.1" if n else "0",
         lambda text: "-0" if text == "0" else text,
         few=(("1.5", "1.50"), ("1e10", "10000000000"))),
    Kind("real", "real", lambda n: f"{n}.5"),
    Kind("money", "money", lambda n: f"{n}.25"),
    Kind("date", "date", day, few=(("2026-01-02", "2026-1-2"), ("2025-12-31", "20251231"))),
    Kind("time", "time", lambda n: f"{n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d}",
         bounded=80_000),
    Kind("time with time zone", "timetz",
         lambda n: f"{n % 24:02d}:00:{n // 24 % 60:02d}.{n:06d}+08"),
    Kind("timestamp", "timestamp", moment,
         few=(("2026-01-02 03:04:00", "2026-01-02 03:04"),
              ("2026-01-02 03:05:00", "2026-01-02T03:05:00"))),
    Kind("timestamp with time zone", "timestamptz",
         lambda n: f"{2000 + n % 60}-04-03 {n % 24:02d}:07:07.{n:06d}+08",
         few=(("2026-01-02 03:04:00+00", "2026-01-02 11:04:00+08"),
              ("2026-05-05 00:00:00Z", "2026-05-05 00:00Z"))),
    Kind("interval", "interval", lambda n: f"{24 * (n + 1)}:00:00", days,
         few=(("24:00:00", "24:00:00"), ("1 mon", "1 month"))),
    Kind("uuid", "uuid", identity,
         few=((identity(1), identity(1).upper()), (identity(2), identity(2).replace("-", "")))),
    Kind("bytea", "bytea", lambda n: f"\\x{n:06x}", few=(("\\x00ff", "\\x00FF"), ("\\x61", "a"))),
    Kind("bit(24)", "bit(24)", lambda n: f"{n:024b}"),
    Kind("inet", "inet", lambda n: f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}",
         few=(("10.0.0.1", "10.0.0.1/32"), ("10.0.0.0/8", "10.0.0.0/8"))),
    Kind("macaddr", "macaddr",
         lambda n: f"08:00:2b:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}",
         few=(("08:00:2b:01:02:03", "08-00-2B-01-02-03"),)),
    Kind("jsonb", "jsonb", lambda n: f'{{"n": {n}.5, "甲": null}}', longer),
    Kind("pg_lsn", "pg_lsn", lambda n: f"0/{n:X}"),
    Kind("tsvector", "tsvector", lambda n: f"'w{n}':1 'x':2"),
    Kind("integer[]", "integer[]", lambda n: f"{{{n % 5},{n}}}"),
    Kind("numeric[]", "numeric[]", lambda n: f"{{{n}.5,NULL}}", longer),
    Kind("text[]", "text[]", lambda n: f'{{"a b{n}",NULL,"q\\"{n}"}}'),
    Kind("int4range", "int4range", lambda n: f"[{n},{n + 5})"),
    Kind("numrange", "numrange", lambda n: f"[{n}.5,{n + 1}.5)", longer),
    Kind("tstzrange", "tstzrange", lambda n: f"[2026-01-01 00:00:00.{n:06d}+08,)"),
    Kind("nummultirange", "nummultirange", lambda n: f"{{[{n}.5,{n + 1}.5)}}", longer),
    Kind("enum", '{app}."Status"', lambda n: LABELS[n], bounded=len(LABELS),
              made=(('CREATE TYPE {app}."Status" AS ENUM '
                    "('新', 'Old', 'old', 'it''s', 'say \"x\"', 'Zz', 'a,b', '删')"),),
         few=tuple((label, label) for label in LABELS[:4])),
    Kind("composite", "{app}.place", lambda n: f'("区 {n % 9}",{n}.5)', longer,
         made=("CREATE TYPE {app}.place AS (region text, no numeric)",)),
    Kind("range of the unit's", "{app}.price", lambda n: f"[{n}.5,{n + 1}.5)", longer,
         made=("CREATE TYPE {app}.price AS RANGE (subtype = numeric)",)),
    Kind("domain of numeric", "{app}.amount", lambda n: f"{n}.5", longer,
         made=("CREATE DOMAIN {app}.amount AS numeric CHECK (VALUE > -1)",),
         few=(("1.5", "1.5"), ("2.5", "2.5"))),
    Kind("domain of boolean", "{app}.flag", lambda n: "tf"[n],
         made=("CREATE DOMAIN {app}.flag AS boolean",), bounded=2, few=(("t", "true"), ("f", "f"))),
    Kind("domain of char(6)", "{app}.area", lambda n: f"{n:05d}",
         made=("CREATE DOMAIN {app}.area AS char(6)",),
         few=(("3101", "3101"), ("000000", "000000"))),
    Kind("domain of citext", "{app}.account", mixed, str.swapcase,
         made=(EXTENSION.format(name="citext"), "CREATE DOMAIN {app}.account AS {app}.citext")),
    Kind("citext", "{app}.citext", mixed, str.swapcase, made=(EXTENSION.format(name="citext"),),
         few=(("Ab", "Ab"), ("aB", "aB"), ("c", "c"))),
    Kind("citext[]", "{app}.citext[]", lambda n: f"{{{mixed(n)},x}}", str.swapcase,
         made=(EXTENSION.format(name="citext"),)),
    Kind("ltree", "{app}.ltree", dotted, made=(EXTENSION.format(name="ltree"),),
         few=(("a.b", "a.b"), ("a.B", "a.B"))),
    Kind("hstore", "{app}.hstore", lambda n: f'"n"=>"{n}", "b"=>NULL',
         made=(EXTENSION.format(name="hstore"),), versions=(14, 15, 16, 17)),
    Kind("cube", "{app}.cube", lambda n: f"({n}, 1)", made=(EXTENSION.format(name="cube"),)),
    Kind("text in an ICU order", "text COLLATE {app}.numbers", lambda n: f"{'aB'[n % 2]}{n}",
         versions=ICU, utf8=True,
         made=("CREATE COLLATION {app}.numbers (provider = icu, locale = 'und-u-kn-true')",),
         few=(("a1", "a1"), ("A1", "A1"))),
    Kind("text in a Chinese order", 'text COLLATE "zh-Hans-CN-x-icu"',
         lambda n: f"{'丙甲乙'[n % 3]}{n}", versions=ICU, few=(("甲", "甲"),), utf8=True),
    Kind("text that knows no case", "text COLLATE {app}.nocase", mixed, str.swapcase,
         versions=ICU, utf8=True,
         made=(("CREATE COLLATION {app}.nocase "
               "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"),),
         few=(("Ab", "Ab"), ("aB", "aB"))),
)  # fmt: skip

BY_NAME = {kind.name: kind for kind in KINDS}


def kinds(version: int, utf8: bool) -> Sequence[Kind]:
    """Returns what a server of a version offers in a database of an encoding."""
    return [kind for kind in KINDS if version in kind.versions and (utf8 or not kind.utf8)]
