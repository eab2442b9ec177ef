"""Which texts are canonical (that PostgreSQL agrees: tests/source/test_postgres_values.py)."""

import pytest

from agent.values import column_types as v
from agent.values.canonical import SESSION, canonical

WRONG: list[tuple[v.Type, list[str]]] = [
    (v.Type(v.BOOL), ["", "True", "true", "1", "T"]),
    (v.Type(v.INT2), ["", "07", "+7", "-0", "32768", "1.0", " 1", "٣"]),
    (v.Type(v.OID), ["-1", "4294967296"]),
    (v.Type(v.FLOAT8), ["1.0", "1e5", "0.10", "1E+300", "inf", "nan", "-nan", "1e+16 ", "1_0", ""]),
    (v.Type(v.FLOAT4), ["0.10000000149", "1e39", "1000000"]),
    (v.Type(v.NUMERIC), ["1e5", "-0", "-0.00", ".5", "5.", "01", "nan", "inf"]),
    (v.Type(v.NUMERIC, "numeric(5,2)"), ["1", "1.0", "1.000", "1000.00", "Infinity"]),
    (v.Type(v.NUMERIC, "numeric(2,-3)"), ["1234", "100000", "1000.0"]),
    (v.Type(v.BPCHAR, "character(4)"), ["ab", "abcde"]),
    (v.Type(v.VARCHAR, "character varying(2)"), ["abc"]),
    (v.Type(v.NAME), ["尺" * 22]),
    (v.Type(v.TEXT), ["a\0b", "\ud800"]),
    (v.Type(v.BYTEA), ["", "\\x0", "\\xFF", "00"]),
    (v.Type(v.DATE), ["2026-02-29", "0000-01-01", "02026-01-01", "2026-1-1", "5874898-01-01"]),
    (v.Type(v.DATE), ["4714-11-23 BC", "2026-11-24 00:00:00", "Infinity", "0101-02-29 BC"]),
    (v.Type(v.TIME), ["24:00:01", "1:02:03", "01:02:03.10", "01:02:03.1234567", "01:02"]),
    (v.Type(v.TIMETZ), ["01:02:03", "01:02:03+00:00", "01:02:03-00", "01:02:03+16"]),
    (v.Type(v.TIMESTAMP), ["2026-11-24T01:02:03", "2026-11-24", "2026-11-24 24:00:00"]),
    (v.Type(v.TIMESTAMP), ["2026-11-24 01:02:03+00", "294277-01-01 00:00:00"]),
    (v.Type(v.TIMESTAMPTZ), ["2026-11-24 01:02:03", "2026-11-24 01:02:03+08"]),
    (v.Type(v.INTERVAL), ["", "P", "PT", "P0D", "P1YT", "P12M", "PT60S", "P1Y-1M", "PT1H-1M"]),
    (v.Type(v.INTERVAL), ["PT01S", "PT1.50S", "PT-0S", "1 day"]),
    (v.Type(v.UUID), ["0B8E4A5C-0000-4000-8000-000000000000", "0b8e4a5c"]),
    (v.Type(v.JSON), ["", "{a:1}", "NaN", "[1,]"]),
    (v.Type(v.JSONB), ['{"a":1}', "1e2", "-0", '"\\u0000"', '"\\u0041"', '{"b": 1, "a": 1}', " 1"]),
]

RIGHT: list[tuple[v.Type, list[str]]] = [
    (
        v.Type(v.FLOAT4),
        ["0.1", "1e+06", "1.6777216e+07", "1.1754944e-38", "3.4028235e+38", "-Infinity"],
    ),
    (v.Type(v.FLOAT8), ["9.999999999999999e+22", "9.007199254740992e+15", "5e-324"]),
    (v.Type(v.NUMERIC), ["1.50", "NaN", "Infinity", "0.000", "-0.01"]),
    (v.Type(v.NUMERIC, "numeric(5,2)"), ["0.00", "-999.99", "NaN"]),
    (v.Type(v.NUMERIC, "numeric(2,-3)"), ["0", "99000", "-1000"]),
    (v.Type(v.NUMERIC, "numeric(2,4)"), ["0.0012"]),
    (v.Type(v.BPCHAR, "character(4)"), ["ab  ", "红  x"]),
    (v.Type(v.DATE), ["4714-11-24 BC", "0001-02-29 BC", "2024-02-29", "5874897-12-31", "infinity"]),
    (v.Type(v.TIME), ["24:00:00", "00:00:00.000001"]),
    (v.Type(v.TIMETZ), ["24:00:00-03:30", "10:15:04.5+15:59:59", "01:02:03+00", "01:02:03-00:30"]),
    (v.Type(v.TIMESTAMPTZ), ["0044-03-15 12:00:00.25+00 BC", "12026-01-01 00:00:00+00"]),
    (v.Type(v.INTERVAL), ["PT0S", "P1Y2M3DT4H5M6.7S", "P-1Y-2M3DT-4H", "PT0.000001S", "PT-0.5S"]),
    (v.Type(999_999, builtin=False), ["红"]),
    (v.Type(1007, elements=(v.Element(v.INT4),)), ["{1,NULL}"]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "texts"), WRONG, ids=str)
def test_other_spellings_are_told(column: v.Type, texts: list[str]) -> None:
    assert [text for text in texts if canonical(text, column)] == []


@pytest.mark.parametrize(("column", "texts"), RIGHT, ids=str)
def test_what_the_server_writes_is_canonical(column: v.Type, texts: list[str]) -> None:
    assert [text for text in texts if not canonical(text, column)] == []


def test_sessions_ask_for_texts_the_forms_can_read() -> None:
    """Every connection that reads rows has these settings, or the forms would be wrong."""
    assert SESSION["DateStyle"].startswith("ISO")
    assert SESSION["TimeZone"] == "UTC"
    assert (SESSION["IntervalStyle"], SESSION["bytea_output"]) == ("iso_8601", "hex")
