"""Tests that the envelope is Debezium's: names, types and order of docs/events.md.

That holds whatever the names and values are.
"""

import json
import re
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from agent import __version__
from agent.connectors.base import Origin
from agent.connectors.changes import Begin
from agent.connectors.plain_origin import PlainOrigin
from agent.connectors.polling.source import PollingSource
from agent.connectors.position import position_number, position_text
from agent.connectors.postgres.origin import PostgresOrigin
from agent.connectors.table import SourceTable
from agent.values.connect import PLAIN
from agent.values.envelope import Envelope
from tests.source.polled import polling_settings

# Debezium's PostgreSQL value with schemas disabled. `transaction` is null unless a connector
# provides transaction metadata.
SAMPLE = json.loads(r"""
{"before":null,"after":{"id":7,"status":"paid"},
 "source":{"version":"3.x","connector":"postgresql","name":"<topic.prefix>",
   "ts_ms":1559033904863,"ts_us":1559033904863769,"ts_ns":1559033904863769000,
   "snapshot":"false","db":"biz","sequence":"[\"24023119\",\"24023128\"]",
   "schema":"app","table":"orders","txId":556,"lsn":24023128,"xmin":null,"origin":null,"origin_lsn":null},
 "transaction":null,
 "op":"u","ts_ms":1465584025523,"ts_us":1465584025523514,"ts_ns":1465584025523514964}
""")
EVENTS = Path(__file__).parents[2] / "docs" / "events.md"
BEGIN = Begin(556, 24023200, 1559033904863769)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def shape(value: Any) -> Any:
    """Returns names in order and types; the content is left out."""
    return (
        [(name, shape(inner)) for name, inner in value.items()]
        if isinstance(value, dict)
        else type(value).__name__
    )


def test_value_is_the_sample() -> None:
    """Given what the sample tells of, the envelope is the sample, but for version and prefix."""
    source = PostgresOrigin("unit", "biz", "app", "orders").source(BEGIN, 24023119, 24023128)
    after = orjson.dumps({"id": 7, "status": "paid"})
    made = orjson.loads(Envelope(PLAIN).value(b"u", b"null", after, source, 1465584025523514964))
    assert shape(made) == shape(SAMPLE)
    expected = {**SAMPLE, "source": {**SAMPLE["source"], "version": __version__, "name": "unit"}}
    assert made == expected


def test_sequence_holds_the_last_commit_and_this_change() -> None:
    """A string with a JSON array of two strings, as Debezium has it."""
    origin = PostgresOrigin("unit", "biz", "app", "orders")
    for last, lsn in ((0, 1), (24023119, 24023128), (2**63, 2**63 + 1)):
        begin = Begin(1, lsn, 0)  # a new transaction each time
        assert json.loads(orjson.loads(origin.source(begin, last, lsn))["sequence"]) == [
            str(last),
            str(lsn),
        ]


def test_source_changes_with_the_transaction() -> None:
    """What is remembered for one transaction is not carried into the next."""
    origin = PostgresOrigin("unit", "biz", "app", "orders")
    first, again, second = (
        orjson.loads(origin.source(begin, 1, lsn))
        for begin, lsn in ((BEGIN, 5), (BEGIN, 6), (Begin(557, 9, 0), 7))
    )
    assert (first["txId"], first["lsn"]) == (556, 5)
    assert again == {**first, "lsn": 6, "sequence": '["1","6"]'}
    assert (second["txId"], second["ts_us"], second["ts_ns"]) == (557, 0, 0)


def test_a_source_without_a_log_has_the_block_of_the_page() -> None:
    """The names, their order and their types are those of the page; the place in a log is not."""
    page = EVENTS.read_text(encoding="utf-8").partition("## Sources without a log")[2]
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    shown = {**json.loads(found[1]), "version": __version__}

    origin = PlainOrigin("polling", "unit", "business", "", "permit")
    begin = Begin(5, 6, shown["ts_us"])
    streamed, read = orjson.loads(origin.source(begin, 4, 6)), orjson.loads(origin.read(begin, 4))
    assert list(streamed.items()) == list(shown.items())
    assert list(read.items()) == list({**shown, "snapshot": "incremental"}.items())
    assert [field["field"] for field in origin.schema["fields"]] == list(shown)


def test_a_file_is_named_and_the_schema_is_the_configured_one() -> None:
    """The folder of a SQLite file is nobody's business."""
    resource = {
        "name": "permit",
        "table": "main.permit",
        "columns": ["id"],
        "poll": {"mode": "compare", "compare": "02:00"},
    }
    source = PollingSource(polling_settings("sqlite:////srv/secret/business.db", resource))
    table = SourceTable(1, "main", "permit", (), (), "d")
    origin: Origin = source.origin(table)
    block = orjson.loads(origin.source(BEGIN, 1, 2))
    assert [block[name] for name in ("connector", "db", "schema", "table")] == [
        "polling",
        "business.db",
        "main",
        "permit",
    ]


@given(
    texts,
    texts,
    texts,
    texts,
    st.dictionaries(texts, texts, max_size=4),
    st.binary(max_size=0) | st.sampled_from([b"c", b"u", b"d", b"r"]),
)
def test_hostile_names_and_values_stay_json(
    prefix: str, database: str, schema: str, table: str, row: dict[str, str], op: bytes
) -> None:
    """The value parses to the very names.

    Any name may hold quotes, percent signs, braces and control characters.
    """
    source = PostgresOrigin(prefix, database, schema, table).source(BEGIN, 1, 2)
    after = orjson.dumps(row)
    made = orjson.loads(Envelope(PLAIN).value(op, after, b"null", source, 1))
    assert made["before"] == row
    assert made["after"] is None
    assert made["op"] == op.decode()
    assert [made["source"][name] for name in ("name", "db", "schema", "table")] == [
        prefix,
        database,
        schema,
        table,
    ]


@given(st.integers(0, 2**64 - 1))
def test_positions_are_written_as_postgres_does(lsn: int) -> None:
    """`16/B374D848`, and back."""
    text = position_text(lsn)
    assert position_number(text) == lsn
    high, low = text.split("/")
    assert f"{int(high, 16):X}/{int(low, 16):X}" == text


def test_a_known_position_is_read() -> None:
    """The manual's example."""
    assert position_text(0x16B374D848) == "16/B374D848"
    assert position_number("16/B374D848") == 0x16B374D848
