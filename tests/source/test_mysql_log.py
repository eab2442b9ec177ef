"""What real servers of the MySQL family log, as the reader of their log understands it."""

import codecs
import json
from collections.abc import Iterator
from random import Random

import pytest

from agent.connectors.dialects.mariadb import MariaDB
from agent.connectors.dialects.mysql import MySQL
from agent.connectors.mysql import columns, event_types, rows
from agent.connectors.mysql.charsets import NoText, text_decoder
from agent.connectors.mysql.events import gtid, mariadb_gtid, query
from agent.connectors.mysql.rows import Partial
from agent.connectors.mysql.table_map import NotFull, SignsUnknown, table_map, years_have_signs
from tests.source.logging_mysql import KINDS, Logging, logging_server

DOCUMENTS = 300
UNTOLD = ("UUID", "INET4", "INET6", "VECTOR(3)")  # from bytes, by MariaDB's log
VERSIONS = {"mariadb": (10, 11), "mariadb11": (11, 8), "mysql8": (8, 0), "mysql9": (9, 7)}


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Logging]:
    with logging_server(request.param) as found:
        yield found


def test_every_type_has_the_text_of_a_page(server: Logging) -> None:
    """Inserted, updated and deleted; the samples say what a page has."""
    dialect = MariaDB if server.is_mariadb else MySQL
    samples = []
    for sample in dialect.samples:
        told_by_log = not server.is_mariadb or sample.declared not in UNTOLD
        if told_by_log and sample.since <= VERSIONS[server.kind]:
            samples.append(sample)
    columns = ", ".join(f"c{place} {one.declared}" for place, one in enumerate(samples))
    values = ", ".join(one.literal for one in samples)

    found = server.rows(
        [f"INSERT INTO t VALUES (1, {values})", "UPDATE t SET id = 2", "DELETE FROM t"],
        [f"CREATE TABLE t (id int PRIMARY KEY, {columns})"],
    )

    expected = tuple(one.text for one in samples)
    one, two = ("1", *expected), ("2", *expected)
    assert [(row.op, row.before, row.after) for row in found] == [
        ("I", None, one),
        ("U", one, two),
        ("D", two, None),
    ]
    assert found[0].table.key == ("id",)
    assert [column.name for column in found[0].table.columns][1] == "c0"


def test_nulls_and_many_columns(server: Logging) -> None:
    """More columns than a byte of a bitmap has bits, empty ones among them."""
    names = [f"c{place}" for place in range(19)]
    declared = ", ".join(f"{name} int" for name in names)
    values = [str(place) if place % 3 else "NULL" for place in range(19)]
    (row,) = server.rows(
        [f"INSERT INTO t VALUES ({', '.join(values)})"], [f"CREATE TABLE t ({declared})"]
    )
    assert row.after == tuple(None if value == "NULL" else value for value in values)
    assert row.table.key == ()


def test_fractions_of_a_second_and_decimals(server: Logging) -> None:
    """Of every number of digits, below zero too, as the server shows them."""
    declared = []
    values = []
    for digits in range(7):
        for kind in ("DATETIME", "TIMESTAMP", "TIME"):
            declared.append(f"{kind}({digits}) NULL")
            values.append("'12:34:56.789012'" if kind == "TIME" else "'2024-02-29 12:34:56.789012'")
    for precision, scale in ((1, 0), (1, 1), (9, 9), (10, 5), (18, 9), (19, 10), (65, 30), (65, 0)):
        declared += [f"DECIMAL({precision},{scale})"] * 2
        digits_text = ("1234567890" * 7)[:precision]
        whole = digits_text[: precision - scale] or "0"
        number = f"{whole}.{digits_text[precision - scale :]}" if scale else whole
        values += [number, f"-{number}"]

    names = [f"c{place}" for place in range(len(declared))]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, declared, strict=True))
    (row,) = server.rows(
        [f"INSERT INTO t VALUES ({', '.join(values)})"], [f"CREATE TABLE t ({columns})"]
    )
    with server.session() as run:
        shown = ", ".join(f"CAST({name} AS CHAR)" for name in names)
        (expected,) = run(f"SELECT {shown} FROM unit.t")
    assert row.after is not None
    for kind, text, asked in zip(declared, row.after, expected, strict=True):
        assert plainest(kind, str(text)) == plainest(kind, str(asked)), kind


def plainest(kind: str, text: str) -> str:
    """A time without zone and without zeros at the end of its fraction."""
    if kind.startswith("DECIMAL"):
        return text
    text = text.removesuffix("+00")
    return text.rstrip("0").rstrip(".") if "." in text else text


@pytest.mark.parametrize("charset", ["latin1", "gbk", "gb2312", "gb18030", "utf8mb3", "ucs2"])
def test_texts_have_the_letters_that_the_server_converts_them_to(
    server: Logging, charset: str
) -> None:
    """Every letter of one or two bytes; the server's own conversion is the judge."""
    if charset == "gb18030" and server.is_mariadb:
        with server.session() as run:
            assert not run("SHOW CHARACTER SET LIKE 'gb18030'")
        return
    decode = text_decoder(charset)
    assert decode is not None
    raws = [bytes((high,)) for high in range(1, 256)]
    raws += [bytes((high, low)) for high in range(0x81, 0xFF) for low in range(0x40, 0xFF)]
    if charset == "gb18030":
        raws += [bytes.fromhex("8135f437"), "𠀀".encode("gb18030")]
    if charset == "utf8mb3":
        raws = [chr(code).encode() for code in (*range(1, 0xD800, 7), *range(0xE000, 0xFFFF, 7))]
    if charset == "ucs2":
        raws = [code.to_bytes(2, "big") for code in (*range(1, 0xD800), *range(0xE000, 0xFFFF))]

    wrong = []
    with server.session() as run:
        for start in range(0, len(raws), 2000):
            part = raws[start : start + 2000]
            listed = ", ".join(
                f"HEX(CONVERT(CONVERT(x'{raw.hex()}' USING {charset}) USING utf8mb4))"
                for raw in part
            )
            valid = ", ".join(f"HEX(CONVERT(x'{raw.hex()}' USING {charset}))" for raw in part)
            (converted,) = run(f"SELECT {listed}")
            (kept,) = run(f"SELECT {valid}")
            for raw, text, same in zip(part, converted, kept, strict=True):
                if same is None or str(same).lower() != raw.hex() or text is None:
                    continue  # the server has no such letter
                expected = bytes.fromhex(str(text)).decode()
                try:
                    found = decode(raw)
                except NoText:
                    continue  # named, and not another letter
                if expected not in (found, "?"):
                    wrong.append((raw.hex(), found, expected))
    assert not wrong, wrong[:20]


def test_documents_are_those_that_the_server_writes(server: Logging) -> None:
    """MySQL keeps JSON in a form of its own, MariaDB as text."""
    random = Random(20261201)
    documents = [document(random) for _ in range(DOCUMENTS)]
    documents.append("[" + ",".join(['"' + "x" * 1000 + '"'] * 100) + "]")
    depth = 20 if server.is_mariadb else 98
    documents.append('{"a":' + "[" * depth + "]" * depth + "}")
    statements = ["BEGIN"]
    for place, text in enumerate(documents):
        quoted = text.replace("\\", "\\\\").replace("'", "''")
        statements.append(f"INSERT INTO t VALUES ({place}, '{quoted}')")
    for place, value in enumerate(OPAQUE if not server.is_mariadb else ()):
        statements.append(f"INSERT INTO t SELECT {10_000 + place}, JSON_ARRAY({value})")

    found = server.rows([*statements, "COMMIT"], ["CREATE TABLE t (id int PRIMARY KEY, j JSON)"])
    with server.session() as run:
        expected = {str(number): text for number, text in run("SELECT id, j FROM unit.t")}
    read = {row.after[0]: row.after[1] for row in found if row.after is not None}
    assert read == expected


# Values of the server's own types within a document
OPAQUE = (
    "CAST('2024-02-29' AS DATE)",
    "CAST('2024-02-29 03:04:05.12' AS DATETIME(6))",
    "CAST('-30:01:02.5' AS TIME(6))",
    "CAST(-1.50 AS DECIMAL(20,5))",
    "CAST(x'00010203' AS BINARY)",
    f"CAST(x'{'ab' * 100}' AS BINARY)",
    "b'1010'",
)


def document(random: Random, depth: int = 0) -> str:
    """Any JSON."""
    match random.randrange(8 if depth < 4 else 6):
        case 0:
            return random.choice(["null", "true", "false"])
        case 1:
            bits = random.choice([1, 8, 15, 16, 31, 32, 63])
            return str(random.getrandbits(bits) * random.choice([1, -1]))
        case 2 | 3:
            value = random.random() * 10.0 ** random.randrange(-25, 25)
            return repr(random.choice([value, -value, float(int(value)), 10.0**15, 1e-7]))
        case 4 | 5:
            length = random.choice([0, 1, 5, 200])
            letters = random.choices('a"\\\n\t\b\f\r\x01\x1f\x7fé中𠀀/<&\u2028', k=length)
            return json.dumps("".join(letters), ensure_ascii=random.random() < 0.5)
        case 6:
            inner = [document(random, depth + 1) for _ in range(random.randrange(6))]
            return f"[{','.join(inner)}]"
    pairs = []
    for place in range(random.randrange(6)):
        name = json.dumps(random.choice("abé") * random.randrange(4) + str(place))
        pairs.append(f"{name}:{document(random, depth + 1)}")
    return "{" + ",".join(pairs) + "}"


def test_what_a_session_compresses_is_read(server: Logging) -> None:
    """Any session may switch it on."""
    inserts = [f"INSERT INTO t VALUES ({n}, REPEAT('中', 500))" for n in range(100)]
    table = "CREATE TABLE t (id int PRIMARY KEY, v text)"
    with server.compressing() as switch:
        if switch is None:
            return
        kinds = {event.type for event in server.logged([switch, *inserts], [table])}
        found = server.rows(
            [switch, *inserts, "UPDATE t SET v = 'x'", "DELETE FROM t WHERE id < 50"], [table]
        )
    compressed = {166, 167, 168} if server.is_mariadb else {event_types.TRANSACTION_PAYLOAD}
    assert kinds & compressed
    inserted = [row.after for row in found if row.op == "I"]
    assert inserted == [(str(n), "中" * 500) for n in range(100)]
    assert [row.after for row in found if row.op == "U"] == [(str(n), "x") for n in range(100)]
    assert len([row for row in found if row.op == "D"]) == 50


def test_rows_without_all_columns_are_refused(server: Logging) -> None:
    """Any session may ask for fewer."""
    for image in ("MINIMAL", "NOBLOB"):
        found = server.logged(
            [f"SET SESSION binlog_row_image = {image}", "UPDATE t SET v = 'b'"],
            ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')"],
        )
        (event,) = [event for event in found if event.type in event_types.ROWS]
        with pytest.raises(Partial):
            rows.head_of(event.type, event.body)


def test_parts_of_documents_are_an_event_that_is_not_read(server: Logging) -> None:
    """MySQL can log what has changed within a document alone."""
    if server.is_mariadb:
        with server.session() as run:
            assert not run("SHOW VARIABLES LIKE 'binlog_row_value_options'")
        return
    found = server.logged(
        [
            "SET SESSION binlog_row_value_options = PARTIAL_JSON",
            "UPDATE t SET j = JSON_SET(j, '$.a', 2)",
        ],
        [
            "CREATE TABLE t (id int PRIMARY KEY, j JSON)",
            f"""INSERT INTO t VALUES (1, '{{"a": 1, "b": "{"x" * 500}"}}')""",
        ],
    )
    assert event_types.PARTIAL_UPDATE_ROWS in {event.type for event in found}
    assert event_types.PARTIAL_UPDATE_ROWS not in event_types.READ


def test_statements_are_texts(server: Logging) -> None:
    """A session that logs statements changes rows without a row in the log."""
    found = server.logged(
        ["SET SESSION binlog_format = STATEMENT", "INSERT INTO t VALUES (1)"],
        ["CREATE TABLE t (id int PRIMARY KEY)"],
    )
    assert not {event.type for event in found} & {*event_types.ROWS}
    texts = [query(event.body) for event in found if event.type == event_types.QUERY]
    assert b"INSERT INTO t VALUES (1)" in [one.text for one in texts]
    assert {one.schema for one in texts} == {"unit"}


def test_descriptions_without_names_are_refused(server: Logging) -> None:
    """The server's `binlog_row_metadata` may be changed while it runs."""
    switch = "SET GLOBAL binlog_row_metadata = {}"
    minimal = "NO_LOG" if server.is_mariadb else "MINIMAL"
    try:
        found = server.logged(
            [switch.format(minimal), "INSERT INTO t VALUES (1)"], ["CREATE TABLE t (id int)"]
        )
    finally:
        with server.session() as run:
            run(switch.format("FULL"))
    (event,) = [event for event in found if event.type == event_types.TABLE_MAP]
    with pytest.raises(NotFull, match=r"^unit\.t$"):
        table_map(event.body)


def test_signs_charsets_and_choices_of_many_columns(server: Logging) -> None:
    """The log packs them by the columns that have one, so a mistake would move them by one."""
    (row,) = server.rows(
        [
            """INSERT INTO t VALUES (255, 'é', 'b', 65535, _gbk x'D6D0', 'y,x', 1.5, -1,
                '中', x'00', 4294967295, 'ü', 'c')"""
        ],
        [
            """CREATE TABLE t (a tinyint unsigned, b varchar(9) CHARACTER SET latin1,
                c enum('a','b') CHARACTER SET latin1, d smallint unsigned,
                e varchar(9) CHARACTER SET gbk, f set('x','y'), g decimal(5,2) unsigned,
                h bigint, i text, j varbinary(3), k int unsigned,
                l char(3) CHARACTER SET latin1, m enum('中','c') CHARACTER SET gbk)"""
        ],
    )
    assert row.after == (
        "255",
        "é",
        "b",
        "65535",
        "中",
        "x,y",
        "1.50",
        "-1",
        "中",
        "\\x00",
        "4294967295",
        "ü",
        "c",
    )


def test_charsets_behind_a_vector(server: Logging) -> None:
    """MySQL 9 logs a collation of each: a mistake would give those that follow another charset."""
    if server.kind != "mysql9":
        with server.session() as run:
            named = "SELECT 1 FROM information_schema.plugins WHERE plugin_name LIKE '%vector%'"
            assert not run(named)
        return
    columns = "v vector(2), a varchar(9), b varchar(9) CHARACTER SET gbk"
    for others in ("c text, d text, e text", "c varchar(9) CHARACTER SET latin1"):
        names = others.count(",") + 1
        (row,) = server.rows(
            [f"INSERT INTO t VALUES (NULL, '中', '文', {', '.join([LETTER] * names)})"],
            [f"CREATE TABLE t ({columns}, {others})"],
        )
        assert row.after == (None, "中", "文", *["é"] * names)


LETTER = "'é'"


def test_signs_beside_a_year(server: Logging) -> None:
    """Some servers log a sign of a YEAR and some do not: a mistake would move all that follow."""
    events = server.logged(
        ["INSERT INTO t VALUES (-1, 2024, -2, 18446744073709551615, -3)"],
        ["CREATE TABLE t (a int, y year, b int, c bigint unsigned, d smallint)"],
    )
    (described,) = [event for event in events if event.type == event_types.TABLE_MAP]
    (event,) = [event for event in events if event.type in event_types.ROWS]
    with server.session() as run:
        ((version,),) = run("SELECT VERSION()")
    table = table_map(described.body, with_years=years_have_signs(str(version)))
    readers = [columns.column_reader(one, server.charsets) for one in table.columns]
    ((_, after),) = rows.rows_of(rows.head_of(event.type, event.body), event.body, readers)
    assert after == ("-1", "2024", "-2", "18446744073709551615", "-3")
    with pytest.raises(SignsUnknown):
        table_map(described.body, with_years=years_have_signs("8.0.20"))


def test_transactions_have_names_that_count_up(server: Logging) -> None:
    """Each begins with its name, which is never skipped."""
    found = server.logged(
        ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"], ["CREATE TABLE t (id int)"]
    )
    names = []
    for event in found:
        if event.type == event_types.GTID:
            names.append(gtid(event.body))
        if event.type == event_types.MARIADB_GTID:
            names.append(mariadb_gtid(event))
    first, second = names
    assert (first.source, first.number + 1) == (second.source, second.number)
    assert not first.standalone
    if server.is_mariadb:
        assert first.source == "0-7"


def test_packets_beyond_their_greatest_length(server: Logging) -> None:
    """An event of more than 16 MB comes in several packets."""
    size = 20_000_000
    with server.session() as run:
        run("SET GLOBAL max_allowed_packet = 1073741824")
    (row,) = server.rows(
        [f"INSERT INTO t VALUES (1, REPEAT('x', {size}))"],
        ["CREATE TABLE t (id int PRIMARY KEY, v longtext)"],
    )
    assert row.after is not None
    assert len(row.after[1] or "") == size


def test_codecs_are_those_of_python() -> None:
    """A name that Python does not know would be found at the first row only."""
    for charset in ("ascii", "utf16", "utf16le", "utf32", "gb18030"):
        assert text_decoder(charset) is not None
    assert text_decoder("big5") is None
    assert codecs.lookup("gb18030")
