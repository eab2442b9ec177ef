"""The reader of the binary log, judged by two others on logs that real servers have written.

What a judge gives for a value must be what it is known to give for our text of it: `EXPLAINED` is
the closed list of how their representations differ from ours. Anything else fails.
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.source.judging_logs import NO_TEXT, Judged, Recorded, recorded
from tests.source.logging_mysql import KINDS, MARIADB, MYSQL, Logging, logging_server
from tests.source.values_of_mysql import (
    BYTES,
    EDGES,
    INTEGERS,
    MICROSECOND,
    TEXTS,
    few_examples,
    literals,
)

# The library calls Python and PyMySQL in ways that they warn of
pytestmark = [
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'db' is deprecated:DeprecationWarning"),
]

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the library gives times without a zone


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Logging]:
    with logging_server(request.param) as found:
        yield found


class Explanation(NamedTuple):
    """How a judge writes what ours writes in another way."""

    judge: str  # program or library
    types: Sequence[str]  # how the declarations of the columns begin
    why: str
    given: Callable[["Known", str], Any]  # what the judge gives for our text
    kinds: Sequence[str] = KINDS  # the servers with which it does so


class Known(NamedTuple):
    """What is known of a column apart from the log."""

    kind: str  # of its server
    declared: str


Columns = dict[str, list[Known]]  # of each table


# ---- how the programs write values


def negative_both_ways(column: Known, ours: str) -> bytes:
    bits = {"TINYINT": 8, "SMALLINT": 16, "MEDIUMINT": 24, "INT": 32, "BIGINT": 64}
    size = bits[column.declared.split()[0]]
    number = int(ours)
    signed = number - (1 << size) if number >= 1 << size - 1 else number
    unsigned = number % (1 << size)
    if signed >= 0:
        return str(signed).encode()
    return f"{signed} ({unsigned})".encode()


def six_digits(column: Known, ours: str) -> bytes:
    return f"{four_bytes(column, ours):<20.6g}".encode()


def twenty_digits(column: Known, ours: str) -> bytes:
    return f"{float(ours):.20g}".encode()


def bits(column: Known, ours: str) -> bytes:
    size = int(column.declared.removeprefix("BIT(").removesuffix(")"))
    number = {"t": 1, "f": 0}[ours] if size == 1 else int(ours)
    return f"b'{number:0{size}b}'".encode()


def colons(column: Known, ours: str) -> bytes:
    return f"'{ours.replace('-', ':')}'".encode()


def every_digit(column: Known, ours: str) -> bytes:
    return f"'{padded(ours, digits_of(column))}'".encode()


def since_1970(column: Known, ours: str) -> bytes:
    moment = datetime.fromisoformat(padded(ours.removesuffix("+00"), 6)).replace(tzinfo=UTC)
    seconds, micros = divmod((moment - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND, 1_000_000)
    digits = digits_of(column)
    fraction = f"{micros:06d}"[:digits]
    return f"{seconds}.{fraction}".rstrip(".").encode()


def year_of_program(column: Known, ours: str) -> bytes:
    return str(year_of_library(column, ours)).encode()


def place_in_list(column: Known, ours: str) -> bytes:
    return str(["", *choices(column)].index(ours)).encode()


def bits_of_choices(column: Known, ours: str) -> bytes:
    chosen = ours.split(",") if ours else []
    number = sum(1 << choices(column).index(one) for one in chosen)
    return f"b'{number:08b}'".encode()


def quoted(raw: bytes, column: Known) -> bytes:
    """MySQL's program marks quotes and backslashes, MariaDB's does not."""
    found = b""
    for code in raw:
        one = bytes((code,))
        if column.kind not in MARIADB and one in MARKED:
            found += MARKED[one]
        else:
            found += f"\\x{code:02x}".encode() if code < 32 else one
    return b"'" + found + b"'"


MARKED = {
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
    b"'": b"\\'",
    b"\\": b"\\\\",
}


def quoted_letters(column: Known, ours: str) -> bytes:
    return quoted(ours.encode(charset(column)), column)


def quoted_octets(column: Known, ours: str) -> bytes:
    return quoted(octets(column, ours), column)


def quoted_document(column: Known, ours: str) -> bytes:
    return quoted_letters(column, json.loads(ours) if ours.startswith('"') else ours)


# ---- how the library gives values


def four_bytes(column: Known, ours: str) -> float:
    (found,) = struct.unpack("<f", struct.pack("<f", float(ours)))
    return float(found)


def truth(column: Known, ours: str) -> str:
    return bits(column, ours).decode()[2:-1]


def year_of_library(column: Known, ours: str) -> int:
    return int(ours) or 1900


def day(column: Known, ours: str) -> date:
    return date.fromisoformat(ours)


def moment(column: Known, ours: str) -> datetime:
    return datetime.fromisoformat(padded(ours.removesuffix("+00"), 6))


def duration(column: Known, ours: str) -> timedelta:
    hours, minutes, seconds = padded(ours, 6).split(":")
    whole, micros = seconds.split(".")
    return timedelta(
        hours=int(hours), minutes=int(minutes), seconds=int(whole), microseconds=int(micros)
    )


def chosen(column: Known, ours: str) -> set[str] | None:
    return set(ours.split(",")) if ours else None


def document(column: Known, ours: str) -> Any:
    return with_octets(json.loads(ours))


def with_octets(value: Any) -> Any:
    """Returns a document whose texts are bytes."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [with_octets(one) for one in value]
    if isinstance(value, dict):
        return {name.encode(): with_octets(one) for name, one in value.items()}
    return value


# ---- what both need

WITHOUT_ZEROS = "our text has no zeros at the end of a fraction"


def digits_of(column: Known) -> int:
    head = column.declared.split()[0]
    return int(head[-2]) if head.endswith(")") else 0


def padded(text: str, digits: int) -> str:
    """Writes a time with so many digits of a second."""
    if not digits:
        return text
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<{digits}}"


def choices(column: Known) -> list[str]:
    return column.declared.partition("(")[2].rstrip(")").replace("'", "").split(",")


def charset(column: Known) -> str:
    name = column.declared.partition("CHARACTER SET ")[2]
    return {"latin1": "cp1252", "gbk": "gbk", "ucs2": "utf-16-be"}.get(name, "utf-8")


def octets(column: Known, ours: str) -> bytes:
    raw = bytes.fromhex(ours.removeprefix("\\x"))
    if column.declared.startswith("BINARY"):
        return raw.rstrip(b"\0")
    return raw


def octets_or_text(column: Known, ours: str) -> bytes | str:
    return octets(column, ours) or ""


MOMENTS = ("DATETIME", "TIMESTAMP")

EXPLAINED = (
    Explanation(
        "program",
        INTEGERS,
        "it does not look at UNSIGNED: below zero it prints both numbers",
        negative_both_ways,
    ),
    Explanation("program", ["FLOAT"], "it prints six digits, up to twenty letters", six_digits),
    Explanation("program", ["DOUBLE"], "it prints twenty digits, not the fewest", twenty_digits),
    Explanation("program", ["BIT"], "it prints each bit", bits),
    Explanation("program", ["DATE("], "it has colons between the parts of a date", colons),
    Explanation("program", ["DATETIME", "TIME("], WITHOUT_ZEROS, every_digit),
    Explanation("program", ["TIMESTAMP"], "it prints the seconds since 1970", since_1970),
    Explanation("program", ["ENUM"], "it prints the place in the list", place_in_list),
    Explanation("program", ["SET"], "it prints a bit for each choice", bits_of_choices),
    Explanation("program", TEXTS, "it prints the bytes of the character set", quoted_letters),
    Explanation("program", ["JSON"], "it prints a text in quotes", quoted_letters, MARIADB),
    Explanation(
        "program",
        ["JSON"],
        "of a document that is a text alone it prints that text",
        quoted_document,
        MYSQL,
    ),
    Explanation("program", BYTES, "it prints bytes, not their digits", quoted_octets),
    Explanation("program", ["YEAR"], "it counts the zero year from 1900, too", year_of_program),
    Explanation("library", INTEGERS, "it gives numbers", lambda _, ours: int(ours)),
    Explanation("library", ["YEAR"], "it counts the zero year from 1900, too", year_of_library),
    Explanation("library", ["FLOAT"], "it gives all digits of the four bytes", four_bytes),
    Explanation("library", ["DOUBLE"], "it gives numbers", lambda _, ours: float(ours)),
    Explanation("library", ["DECIMAL"], "it gives numbers", lambda _, ours: Decimal(ours)),
    Explanation("library", ["BIT"], "it gives each bit, of one bit, too", truth),
    Explanation("library", ["DATE("], "it gives dates", day),
    Explanation("library", MOMENTS, "it gives times without a zone", moment),
    Explanation("library", ["TIME("], "it gives durations", duration),
    Explanation("library", ["SET"], "it gives sets, and None for an empty one", chosen),
    Explanation("library", ["JSON"], "it gives Python's values with bytes", document, MYSQL),
    Explanation(
        "library",
        ["VARCHAR(50) CHARACTER SET ucs2"],
        "it knows no codec of this name, and gives bytes",
        lambda column, ours: ours.encode(charset(column)) or "",
        ["mariadb", *MYSQL],
    ),
    Explanation(
        "library",
        ["VARCHAR(50) CHARACTER SET ucs2"],
        "it does not know the number of this version's collation, and takes the bytes for UTF-8",
        lambda column, ours: ours.encode(charset(column)).decode(),
        ["mariadb11"],
    ),
    Explanation("library", BYTES, "it gives bytes, and an empty text for none", octets_or_text),
)


def explanation(judge: str, column: Known) -> Explanation | None:
    """Returns how a judge's values of a column differ from ours; None where they do not."""
    for one in EXPLAINED:
        begins = any((column.declared + "(").startswith(name) for name in one.types)
        if one.judge == judge and begins and column.kind in one.kinds:
            return one
    return None


def expected_of(judge: str, column: Known, ours: str | None) -> Any:
    """Returns what a judge is known to give for our text."""
    if ours is None:
        return None
    found = explanation(judge, column)
    if found is not None:
        return found.given(column, ours)
    return ours.encode() if judge == "program" else ours


def same(expected: Any, found: Any) -> bool:
    """Whether two values are one: 1 is not True, 0.50 is not 0.5, and 0 is not -0."""
    if type(expected) is not type(found):
        return False
    if isinstance(expected, Decimal | float):
        return str(expected) == str(found)
    return bool(expected == found)


def unexplained(judge: str, columns: Columns, ours: Judged, theirs: Judged) -> Iterator[str]:
    """Yields each value of a row that the judge gives in a way that nothing explains."""
    assert (ours.table, ours.op) == (theirs.table, theirs.op)
    for one, other in ((ours.before, theirs.before), (ours.after, theirs.after)):
        assert (one is None) == (other is None)
        if one is None or other is None:
            continue
        for column, text, found in zip(columns[ours.table], one, other, strict=True):
            expected = expected_of(judge, column, text)
            if not same(expected, found):
                shown = [str(one)[:99] for one in (text, found, expected)]
                yield "{}, {}: ours {!r}, found {!r} and not {!r}".format(judge, column, *shown)


def assert_explained(columns: Columns, found: Recorded, judges: Sequence[str]) -> None:
    """Compares each value of each row with what the judges give."""
    wrong: list[str] = []
    for judge in judges:
        theirs: Sequence[Judged] = getattr(found, judge)
        for one, other in zip(found.ours, theirs, strict=True):
            wrong += unexplained(judge, columns, one, other)
    assert not wrong, "\n".join(wrong[:40])


# Values that have no canonical text: ours refuses them by name. What the judges give for them
WITHOUT_TEXT = (
    ("DATE", "'0000-00-00'", b"'0000:00:00'", None),
    ("DATE", "'2024-00-10'", b"'2024:00:10'", None),
    ("DATETIME(3)", "'0000-00-00 00:00:00'", b"'0000-00-00 00:00:00.000'", None),
    ("DATETIME", "'2024-02-00 01:02:03'", b"'2024-02-00 01:02:03'", None),
    ("TIMESTAMP(2) NULL", "'0000-00-00 00:00:00'", b"0.00", EPOCH),
    ("TIME", "'-00:00:01'", b"'-00:00:01'", -timedelta(seconds=1)),
    # The library turns the bits of the seconds and not those of the fraction: 0.875 for 0.125
    ("TIME(3)", "'-00:00:01.125'", b"'-00:00:01.125'", -timedelta(seconds=1.875)),
    ("TIME", "'838:59:59'", b"'838:59:59'", timedelta(hours=838, minutes=59, seconds=59)),
    ("VARCHAR(9)", "x'610062'", b"'a\\x00b'", "a\0b"),
    ("TEXT", "x'00'", b"'\\x00'", "\0"),
)


def test_values_at_the_edges(server: Logging) -> None:
    """Of each type in a table of its own: inserted, updated and deleted."""
    columns: Columns = {}
    setup, statements = [], []
    for place, (declared, edges) in enumerate(EDGES.items()):
        table = f"t{place}"
        columns[table] = [Known(server.kind, "INT"), Known(server.kind, declared)]
        setup.append(f"CREATE TABLE {table} (id int PRIMARY KEY, v {declared})")
        rows = [f"({number}, {literal})" for number, literal in enumerate([*edges, "NULL"])]
        statements += [
            f"INSERT INTO {table} VALUES {', '.join(rows)}",
            f"UPDATE {table} SET id = id + 100",
            f"DELETE FROM {table}",
        ]
    found = recorded(server, statements, setup)
    assert len(found.ours) == 3 * sum(len(edges) + 1 for edges in EDGES.values())
    assert_explained(columns, found, ["program", "library"])


@pytest.mark.parametrize("kind", KINDS)
def test_each_explanation_is_of_a_column(kind: str) -> None:
    """None is left over."""
    columns = [Known(kind, declared) for declared in EDGES]
    used = [explanation(judge, one) for judge in ("program", "library") for one in columns]
    assert [one for one in EXPLAINED if one not in used and kind in one.kinds] == []


def test_values_that_ours_refuses(server: Logging) -> None:
    """They are none of their type's canonical texts: no zero stands for a date that is none."""
    setup, statements = [], []
    for place, (declared, literal, *_) in enumerate(WITHOUT_TEXT):
        setup.append(f"CREATE TABLE t{place} (v {declared})")
        statements.append(f"INSERT INTO t{place} VALUES ({literal})")
    found = recorded(server, statements, setup)
    assert [row.after for row in found.ours] == [(NO_TEXT,)] * len(WITHOUT_TEXT)
    assert [row.after for row in found.program] == [(given,) for _, _, given, _ in WITHOUT_TEXT]
    assert [row.after for row in found.library] == [(given,) for *_, given in WITHOUT_TEXT]


def every_column(server: Logging) -> list[str]:
    """Returns the types of the columns of a table that has all of them."""
    declared = ["INT", *EDGES]
    if server.kind == "mysql8":
        # The library counts a sign of YEAR, which this version's log does not have
        declared.remove("YEAR")
        declared.append("YEAR")
    return declared


@few_examples(8)
@given(data=st.data())
def test_values_drawn(server: Logging, data: st.DataObject) -> None:
    """In one table with columns of all types, in events of several rows."""
    declared = every_column(server)
    columns = {"wide": [Known(server.kind, one) for one in declared]}
    made = ", ".join(f"c{place} {one}" for place, one in enumerate(declared))
    each = [literals(one) for one in declared]
    rows = [", ".join(data.draw(st.tuples(*each), label="row")) for _ in range(data.draw(FEW) + 1)]
    place = data.draw(st.integers(1, len(declared) - 1), label="updated")
    found = recorded(
        server,
        [
            f"INSERT INTO wide VALUES ({'), ('.join(rows)})",
            f"UPDATE wide SET c{place} = {data.draw(each[place])}, c0 = COALESCE(c0, 0) DIV 2 + 1",
            "DELETE FROM wide LIMIT 1",
        ],
        [f"CREATE TABLE wide ({made})"],
    )
    assert [row.op for row in found.ours][: len(rows)] == ["I"] * len(rows)
    assert_explained(columns, found, ["program", "library"])


FEW = st.integers(0, 4)


def test_compressed_rows(server: Logging) -> None:
    """The library passes over them without a word, so the server's own program judges alone."""
    columns = {"t": [Known(server.kind, "INT"), Known(server.kind, "TEXT")]}
    with server.compressing() as switch:
        if switch is None:
            return
        found = recorded(
            server,
            [
                switch,
                "INSERT INTO t VALUES (1, REPEAT('中', 500)), (2, NULL)",
                "UPDATE t SET v = REPEAT('x', 300)",
                "DELETE FROM t",
            ],
            ["CREATE TABLE t (id int PRIMARY KEY, v TEXT)"],
        )
    assert [row.op for row in found.ours] == ["I", "I", "U", "U", "D", "D"]
    assert_explained(columns, found, ["program"])
    assert not found.library
