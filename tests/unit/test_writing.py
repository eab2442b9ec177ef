"""Values as drivers hand them out become the canonical text that PostgreSQL writes for them."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.values import column_types as v
from agent.values.canonical import canonical
from agent.values.floats import float4_text
from agent.values.json_text import jsonb_text
from agent.values.writing import decimal_writer, writer

EAST = timezone(timedelta(hours=8))

CASES: list[tuple[int, object, str]] = [
    (v.BOOL, 1, "t"),
    (v.BOOL, False, "f"),
    (v.INT2, True, "1"),
    (v.INT8, -(2**63), "-9223372036854775808"),
    (v.NUMERIC, Decimal("1E+5"), "100000"),
    (v.NUMERIC, Decimal("0.00"), "0.00"),
    (v.NUMERIC, Decimal("NaN"), "NaN"),
    (v.NUMERIC, 0.1, "0.1"),
    (v.FLOAT8, 1e15, "1e+15"),
    (v.FLOAT8, 123456.0, "123456"),
    (v.FLOAT8, -0.0, "-0"),
    (v.FLOAT8, float("-inf"), "-Infinity"),
    (v.FLOAT8, 5e-324, "5e-324"),
    (v.FLOAT8, 0.0001, "0.0001"),
    (v.FLOAT8, 0.00001, "1e-05"),
    (v.FLOAT4, 1e6, "1e+06"),
    (v.BYTEA, b"\x00\xff", "\\x00ff"),
    (v.BYTEA, memoryview(b"\x01"), "\\x01"),
    (v.DATE, date(1, 2, 3), "0001-02-03"),
    (v.TIME, time(1, 2, 3, 450_000), "01:02:03.45"),
    (v.TIME, timedelta(days=1), "24:00:00"),
    (v.TIME, timedelta(hours=9, microseconds=10), "09:00:00.00001"),
    (v.TIMESTAMP, datetime(2026, 11, 24, 10, 15), "2026-11-24 10:15:00"),  # noqa: DTZ001 - it has no zone
    (v.TIMESTAMPTZ, datetime(2026, 11, 24, 10, tzinfo=EAST), "2026-11-24 02:00:00+00"),
    (v.TIMESTAMPTZ, datetime(2026, 11, 24, 10), "2026-11-24 10:00:00+00"),  # noqa: DTZ001 - read in UTC
    (v.UUID, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (v.UUID, b"\0" * 15 + b"\1", "00000000-0000-0000-0000-000000000001"),
    (v.UUID, "00000000-0000-0000-0000-00000000000A", "00000000-0000-0000-0000-00000000000a"),
    (v.JSON, '{"b":1}', '{"b":1}'),
    (v.JSONB, '{"bb":1.50, "a":[true,null,1e2], "a":-0}', '{"a": 0, "bb": 1.50}'),
    (v.JSONB, {"尺": '"\n\x01/'}, '{"尺": "\\"\\n\\u0001/"}'),
    (v.TEXT, "张三", "张三"),
]


@pytest.mark.parametrize(("type_oid", "value", "text"), CASES)
def test_a_value_becomes_its_text(type_oid: int, value: object, text: str) -> None:
    assert writer(v.Type(type_oid))(value) == text
    assert canonical(text, v.Type(type_oid))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\\尺"), inner),
    max_leaves=6,
).map(lambda value: [value])
VALUES: dict[int, st.SearchStrategy[Any]] = {
    v.BOOL: st.booleans(),
    v.INT2: st.integers(-(2**15), 2**15 - 1),
    v.INT8: st.integers(-(2**63), 2**63 - 1),
    v.FLOAT8: st.floats(),
    v.NUMERIC: st.decimals(),
    v.BYTEA: st.binary(),
    v.DATE: st.dates(),
    v.TIME: st.times(),
    v.TIMESTAMP: st.datetimes(),
    v.TIMESTAMPTZ: st.datetimes(),
    v.UUID: st.uuids(),
    v.JSON: json_values,
    v.JSONB: json_values,
}  # fmt: skip


@pytest.mark.parametrize("type_oid", VALUES)
@given(data=st.data())
def test_what_is_written_is_canonical(type_oid: int, data: st.DataObject) -> None:
    value = data.draw(VALUES[type_oid])
    text = writer(v.Type(type_oid))(value)
    if type_oid == v.JSONB and "\\u0000" in text:
        return  # PostgreSQL cannot store it
    assert canonical(text, v.Type(type_oid)), text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(0, 5))
def test_a_decimal_keeps_its_value(number: Decimal, scale: int) -> None:
    text = decimal_writer(scale)(number)
    assert Decimal(text) == number
    if scale >= 3:
        assert len(text.partition(".")[2]) == scale


@given(st.floats(width=32, allow_nan=False))
def test_a_float4_comes_back_from_its_text(number: float) -> None:
    text = float4_text(number)
    assert float4_text(float(text)) == text
    assert canonical(text, v.Type(v.FLOAT4))


@given(json_values)
def test_jsonb_is_written_once(value: Any) -> None:
    text = jsonb_text(value)
    assert jsonb_text(text) == text
