"""Holds every kind of PostgreSQL type with values as its input text.

The round trips through the agent are made of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

Texts = st.SearchStrategy[str]

MADE = (
    """CREATE TYPE mood AS ENUM ('高兴', 'so so', '{"}', '')""",
    'CREATE TYPE pair AS (x int, "y 尺" text)',
    "CREATE TYPE span AS RANGE (subtype = float8)",
    "CREATE DOMAIN price AS numeric(12,3) CHECK (value >= 0)",
    "CREATE DOMAIN low AS price CHECK (value < 1000)",
    "CREATE DOMAIN words AS text[]",
)  # fmt: skip

LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
AWKWARD = st.text(st.sampled_from("a张😀 \t\n\\\"'{},;()NUL"), max_size=6)
text = (
    AWKWARD
    | st.text(LETTERS, max_size=12)
    | st.sampled_from(["NULL", "null", "\\N", "\\x00", "{}"])
)
binary = st.binary(max_size=30).map(lambda data: "\\x" + data.hex())
special = ["NaN", "Infinity", "-Infinity"]
numbers = st.decimals(-(10**12), 10**12, places=6).map(str) | st.sampled_from(
    [*special, "0.000", "-0.10", "1e30", "1e-30"]
)
dates = st.dates().map(str) | st.sampled_from(
    [
        "infinity",
        "-infinity",
        "0044-03-15 BC",
        "4714-11-24 BC",
        "12345-06-07",
        "5874897-12-31",
        "0001-01-01",
    ]
)
times = st.times().map(str) | st.sampled_from(["24:00:00", "00:00:00.000001"])
moments = st.datetimes().map(str) | st.sampled_from(
    [
        "infinity",
        "-infinity",
        "0044-03-15 12:00:00.25 BC",
        "294276-12-31 23:59:59.999999",
        "12026-01-01",
    ]
)
zones = st.sampled_from(["+00", "+08", "-03:30", "+15:59", "-15:59:59"])
zoned = st.tuples(st.datetimes().map(str), zones).map("".join) | st.sampled_from(
    ["infinity", "-infinity", "0044-03-15 12:00:00.25+08 BC"]
)
intervals = st.tuples(*[st.integers(-20_000, 20_000)] * 3, st.integers(-(10**12), 10**12)).map(
    lambda p: f"{p[0]} years {p[1]} mons {p[2]} days {p[3] / 1e6:.6f} secs"
) | st.sampled_from(
    [
        "0",
        "1 year 2 mons 3 days 04:05:06.7",
        "-1 day +00:00:00.000001",
        "500000000:00:54.775807",
        "-178000000 years",
    ]
)
coordinates = st.floats(-1e9, 1e9).map(repr)
points = st.tuples(coordinates, coordinates).map(lambda p: f"({p[0]},{p[1]})")
json = st.recursive(
    st.sampled_from(["null", "true", "-1.50", "1e3", '"\\u5f20 \\\\ \\" x"', '"{}"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[ {','.join(parts)}]")
        | inner.map(lambda part: f'{{"键 k":  {part}, "a": {part}}}')
    ),
    max_leaves=4,
)
networks = st.sampled_from(
    ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0", "255.255.255.255/32"]
)
moods = st.sampled_from(["高兴", "so so", '{"}', ""])
prices = st.decimals(0, 999, places=3).map(str)


def quoted(part: str) -> str:
    """As an element of an array or a field of a row."""
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'


pairs = st.tuples(st.integers(-9, 9).map(str) | st.just(""), st.just("") | text.map(quoted)).map(
    lambda p: f"({p[0]},{p[1]})"
)


def ranges(bound: Texts) -> Texts:
    """Ranges of a type whose every value may stand first, for the second is left open."""
    opened = st.tuples(st.sampled_from("[("), bound).map(
        lambda p: f"{p[0]}{quoted(p[1])},)"
    ) | bound.map(lambda b: f"(,{quoted(b)}]")
    return (
        opened
        | bound.map(lambda b: f"[{quoted(b)},{quoted(b)}]")
        | st.sampled_from(["empty", "(,)"])
    )


def arrays(element: Texts, delimiter: str = ",") -> Texts:
    """Arrays of one to three dimensions, empty ones, NULL elements, other bounds."""
    parts = st.just("NULL") | element.map(quoted)
    flat = st.lists(parts, min_size=1, max_size=3)
    square = st.lists(st.tuples(parts, parts), min_size=1, max_size=2).map(
        lambda rows: [f"{{{delimiter.join(row)}}}" for row in rows]
    )
    whole = (flat | square | square.map(lambda rows: [f"{{{delimiter.join(rows)}}}"])).map(
        lambda inner: f"{{{delimiter.join(inner)}}}"
    )
    return (
        whole
        | st.just("{}")
        | flat.map(lambda inner: f"[-1:{len(inner) - 2}]={{{delimiter.join(inner)}}}")
    )


class Kind(NamedTuple):
    """A type and values of it."""

    name: str
    values: Texts


finite = dates.filter(lambda day: "inf" not in day)
KINDS: Sequence[Kind] = [
    Kind(name, values)
    for name, values in {
        "bool": st.sampled_from("tf"),
        "int2": st.integers(-(2**15), 2**15 - 1).map(str),
        "int4": st.integers(-(2**31), 2**31 - 1).map(str),
        "int8": st.integers(-(2**63), 2**63 - 1).map(str),
        "oid": st.integers(0, 2**32 - 1).map(str),
        "float4": st.floats(width=32).map(repr)
        | st.sampled_from([*special, "-0", "1e-45", "3.4028235e38"]),
        "float8": st.floats().map(repr)
        | st.sampled_from([*special, "-0", "5e-324", "1.7976931348623157e308"]),
        "numeric": numbers,
        "numeric(20,4)": st.decimals(-(10**15), 10**15, places=4).map(str) | st.just("NaN"),
        "money": st.decimals(-(10**13), 10**13, places=2).map(str)
        | st.sampled_from(["-0.01", "0"]),
        "text": text,
        "varchar(20)": text,
        "char(6)": st.text(st.sampled_from("a张 "), max_size=6),
        '"char"': st.sampled_from(["", "a", "'", " "]),
        "name": text,
        "bytea": binary,
        "date": dates,
        "time": times,
        "time(2)": times,
        "timetz": st.tuples(times, zones).map("".join),
        "timestamp": moments,
        # (rounded up, the last moment is one that PostgreSQL itself does not read back)
        "timestamp(3)": moments.filter(lambda moment: "294276" not in moment),
        "timestamptz": zoned,
        "interval": intervals,
        "uuid": st.uuids().map(str),
        "json": json,
        "jsonb": json,
        "bit(5)": st.text("01", min_size=5, max_size=5),
        "varbit(9)": st.text("01", max_size=9),
        "inet": networks,
        "cidr": networks,
        "macaddr": st.just("08:00:2b:01:02:03"),
        "macaddr8": st.just("08:00:2b:01:02:03:04:05"),
        "point": points,
        "line": st.just("{1,-2.5,3}"),
        "lseg": st.tuples(points, points).map(lambda p: f"[{p[0]},{p[1]}]"),
        "box": st.tuples(points, points).map(",".join),
        "path": st.lists(points, min_size=1, max_size=3).map(lambda p: f"[{','.join(p)}]")
        | points.map(lambda p: f"({p})"),
        "polygon": st.lists(points, min_size=1, max_size=3).map(lambda p: f"({','.join(p)})"),
        "circle": points.map(lambda p: f"<{p},2.5>"),
        "int4range": ranges(st.integers(-9, 9).map(str)),
        "numrange": ranges(numbers.filter(lambda n: n != "NaN")),
        "daterange": ranges(finite.filter(lambda day: "58748" not in day)),
        "tstzrange": ranges(zoned),
        "int8multirange": st.sampled_from(["{}", "{[1,5),[7,9]}", "{(,)}"]),
        "span": ranges(coordinates),
        "tsvector": st.sampled_from(["", "'a':1A,3 'b c':2", "'\\\\':1"]),
        "tsquery": st.sampled_from(["", "'a' & !'b' <-> 'c':A"]),
        "jsonpath": st.just('$."a"[*] ? (@ > 1)'),
        "pg_lsn": st.just("16/B374D848"),
        "xid8": st.just("18446744073709551615"),
        "int2vector": st.just("1 2 3"),
        "regclass": st.sampled_from(["pg_class", "-"]),
        "mood": moods,
        "pair": pairs,
        "low": prices,
        "words": arrays(text),
        "bool[]": arrays(st.sampled_from("tf")),
        "int4[]": arrays(st.integers(-99, 99).map(str)),
        "float8[]": arrays(st.floats().map(repr)),
        "numeric(20,4)[]": arrays(prices),
        "text[]": arrays(text),
        "char(4)[]": arrays(st.text(st.sampled_from("a张 "), max_size=4)),
        "bytea[]": arrays(binary),
        "timestamptz[]": arrays(zoned),
        "timetz[]": arrays(st.tuples(times, zones).map("".join)),
        "interval[]": arrays(intervals),
        "jsonb[]": arrays(json),
        "money[]": arrays(prices),
        "box[]": arrays(st.tuples(points, points).map(",".join), ";"),
        "int4range[]": arrays(ranges(st.integers(-9, 9).map(str))),
        "mood[]": arrays(moods),
        "pair[]": arrays(pairs),
        "low[]": arrays(prices),
        "words[]": arrays(arrays(text)),
    }.items()
]
