"""Tests each value form of docs/events.md.

PostgreSQL writes the text, an event carries the JSON.
"""

import base64
import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.values import column_types as v
from agent.values.forms import form as form_of


def json_of(type_oid: int, text: str) -> bytes:
    """Returns a value as an event carries it."""
    form = form_of(v.Type(type_oid))
    return orjson.dumps(text if form is None else form(text))


CASES: list[tuple[int, str, object]] = [
    (v.BOOL, "t", True),
    (v.BOOL, "f", False),
    (v.INT2, "-32768", -32768),
    (v.INT4, "2147483647", 2147483647),
    (v.INT8, "-9223372036854775808", -(2**63)),
    (v.INT8, "9223372036854775807", 2**63 - 1),
    (v.OID, "4294967295", 4294967295),
    (v.FLOAT4, "1.5", 1.5),
    (v.FLOAT8, "0.1", 0.1),
    (v.FLOAT8, "1e+300", 1e300),
    (v.FLOAT8, "5e-324", 5e-324),
    (v.FLOAT8, "-0", 0),
    (v.FLOAT8, "NaN", "NaN"),
    (v.FLOAT8, "Infinity", "Infinity"),
    (v.FLOAT4, "-Infinity", "-Infinity"),
    (v.NUMERIC, "12.50", "12.50"),
    (
        v.NUMERIC,
        "123456789012345678901234567890.000000000000000001",
        "123456789012345678901234567890.000000000000000001",
    ),
    (v.NUMERIC, "NaN", "NaN"),
    (v.MONEY, "$1,234.50", "1234.50"),
    (v.MONEY, "-¥0.01", "-0.01"),
    (v.MONEY, "(1.234,56 €)", "-1234.56"),
    (v.DATE, "2026-11-24", "2026-11-24"),
    (v.DATE, "0001-01-01", "0001-01-01"),
    (v.DATE, "9999-12-31", "9999-12-31"),
    (v.DATE, "10000-01-01", "+010000-01-01"),
    (v.DATE, "5874897-12-31", "+5874897-12-31"),
    (v.DATE, "0001-12-31 BC", "+000000-12-31"),
    (v.DATE, "0044-03-15 BC", "-000043-03-15"),
    (v.DATE, "4714-11-24 BC", "-004713-11-24"),
    (v.DATE, "infinity", "infinity"),
    (v.DATE, "-infinity", "-infinity"),
    (v.TIME, "24:00:00", "24:00:00"),
    (v.TIME, "10:15:04.863769", "10:15:04.863769"),
    (v.TIMETZ, "10:15:04+08", "10:15:04+08:00"),
    (v.TIMETZ, "24:00:00-03:30", "24:00:00-03:30"),
    (v.TIMETZ, "10:15:04.5+15:59:59", "10:15:04.5+15:59:59"),
    (v.TIMESTAMP, "2026-11-24 10:15:04.863769", "2026-11-24T10:15:04.863769"),
    (v.TIMESTAMP, "12026-01-01 00:00:00", "+012026-01-01T00:00:00"),
    (v.TIMESTAMP, "0044-03-15 12:00:00.5 BC", "-000043-03-15T12:00:00.5"),
    (v.TIMESTAMP, "infinity", "infinity"),
    (v.TIMESTAMPTZ, "2026-11-24 02:15:04+00", "2026-11-24T02:15:04Z"),
    (v.TIMESTAMPTZ, "2026-11-24 02:15:04.8+00", "2026-11-24T02:15:04.8Z"),
    (v.TIMESTAMPTZ, "12026-01-01 00:00:00.000001+00", "+012026-01-01T00:00:00.000001Z"),
    (v.TIMESTAMPTZ, "0044-03-15 12:00:00.25+00 BC", "-000043-03-15T12:00:00.25Z"),
    (v.TIMESTAMPTZ, "infinity", "infinity"),
    (v.TIMESTAMPTZ, "-infinity", "-infinity"),
    (v.INTERVAL, "P1Y2M3DT4H", "P1Y2M3DT4H"),
    (v.BYTEA, "\\x", ""),
    (v.BYTEA, "\\xe4b8ad00ff", base64.b64encode(b"\xe4\xb8\xad\x00\xff").decode()),
    (v.JSON, '{"a": 1,  "a": 2}', '{"a": 1,  "a": 2}'),
    (v.JSONB, '"\\u0000"', '"\\u0000"'),
    (v.UUID, "0b8e4a5c-0000-4000-8000-000000000000", "0b8e4a5c-0000-4000-8000-000000000000"),
    (v.BPCHAR, "ab   ", "ab   "),
    (v.VARCHAR, "", ""),
    (v.TEXT, '张三 "quoted" \\ \n\t\x01 😀 </script>', '张三 "quoted" \\ \n\t\x01 😀 </script>'),
    (600, "(1,2)", "(1,2)"),  # point
    (999_999, "红", "红"),  # an enum of the application
]


@pytest.mark.parametrize(("type_oid", "text", "expected"), CASES)
def test_form_of(type_oid: int, text: str, expected: object) -> None:
    """JSON of the documented type and value, for orjson and the standard library alike."""
    made = json_of(type_oid, text)
    for parsed in (orjson.loads(made), json.loads(made)):
        assert parsed == expected
        assert type(parsed) is type(expected) or (
            type_oid in (v.FLOAT4, v.FLOAT8) and isinstance(parsed, float | int)
        )


ARRAYS: list[tuple[tuple[v.Element, ...], str, object]] = [
    ((v.Element(v.INT4),), "{}", []),
    ((v.Element(v.INT4),), "{1,NULL,3}", [1, None, 3]),
    ((v.Element(v.INT4),), "{{1,2},{3,NULL}}", [[1, 2], [3, None]]),
    ((v.Element(v.INT4),), "[0:1]={1,2}", "[0:1]={1,2}"),
    (
        (v.Element(v.TEXT),), '{"a b","",NULL,"NULL","\\"\\\\",x}',
        ["a b", "", None, "NULL", '"\\', "x"],
    ),
    ((v.Element(v.TEXT),), '{{"a,b","{"},{"}",c}}', [["a,b", "{"], ["}", "c"]]),
    ((v.Element(v.BOOL),), "{t,f}", [True, False]),
    ((v.Element(v.FLOAT8),), "{1.5,NaN,-Infinity}", [1.5, "NaN", "-Infinity"]),
    ((v.Element(v.BYTEA),), '{"\\\\x00ff"}', [base64.b64encode(b"\x00\xff").decode()]),
    ((v.Element(v.TIMESTAMPTZ),), '{"2026-11-24 02:15:04+00",infinity,"0044-03-15 12:00:00+00 BC"}',
     ["2026-11-24T02:15:04Z", "infinity", "-000043-03-15T12:00:00Z"]),
    ((v.Element(v.JSONB),), '{"{\\"a\\": 1}","null"}', ['{"a": 1}', "null"]),
    ((v.Element(v.MONEY),), '{$1.00,"-$1,234.50"}', ["1.00", "-1234.50"]),
    ((v.Element(603, ";"),), "{(2,2),(1,1);(4,4),(3,3)}", ["(2,2),(1,1)", "(4,4),(3,3)"]),  # box
    # Of a domain over integer[].
    ((v.Element(1007), v.Element(v.INT4)), '{"{1,NULL}",NULL,"{}"}', [[1, None], None, []]),
]  # fmt: skip


@pytest.mark.parametrize(("elements", "text", "expected"), ARRAYS)
def test_form_of_arrays(elements: tuple[v.Element, ...], text: str, expected: object) -> None:
    """Element by element in the elements' own form."""
    array = form_of(v.Type(999_999, elements=elements))
    assert array is not None
    assert json.loads(orjson.dumps(array(text))) == expected


def test_money_has_as_many_digits_as_the_database_gives_it() -> None:
    """None in Japan, three in Kuwait: the locale says what the stored number means."""
    forms = {digits: form_of(v.Type(v.MONEY, money_digits=digits)) for digits in (0, 3)}
    assert [form("-12,345") for form in forms.values() if form] == ["-12345", "-12.345"]


def array_text(value: object) -> str:
    """As PostgreSQL writes it."""
    if isinstance(value, list):
        return "{" + ",".join(map(array_text, value)) + "}"
    if value is None:
        return "NULL"
    text = str(value)
    bare = (
        text
        and text.upper() != "NULL"
        and not any(letter in '{}",\\' or letter.isspace() for letter in text)
    )
    return text if bare else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


words = (
    st.none()
    | st.text(st.sampled_from('ab{},"\\ \tNUL名😀'), max_size=6)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)
nested = st.recursive(
    st.lists(words, min_size=1, max_size=4),
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=6,
)


@given(nested | st.just([]))
def test_any_array_of_texts_survives(value: list[object]) -> None:
    """Quotes, backslashes, braces, the word NULL beside NULL itself."""
    array = form_of(v.Type(1009, elements=(v.Element(v.TEXT),)))
    assert array is not None
    assert array(array_text(value)) == value


def test_an_element_of_a_megabyte_is_read_at_once() -> None:
    """Whatever has to be unescaped in it."""
    large = '\\"x' * 400_000
    array = form_of(v.Type(1009, elements=(v.Element(v.TEXT),)))
    assert array is not None
    assert array(array_text([large, None])) == [large, None]


def test_the_sign_of_zero_stays_in_the_text() -> None:
    """JSON can write -0; whoever reads it as a float keeps the sign."""
    assert json_of(v.FLOAT8, "-0") == b"-0"
    assert math.copysign(1, float(json_of(v.FLOAT8, "-0"))) == -1


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    """Quotes, control characters, emoji: JSON gives back the very text, not \\u-escaped."""
    made = json_of(v.TEXT, text)
    assert orjson.loads(made) == json.loads(made) == text
    assert all(ord(letter) < 128 or letter in made.decode() for letter in text)


@given(st.binary())
def test_any_bytes_survive(data: bytes) -> None:
    """Bytea is base64 of the bytes."""
    assert base64.b64decode(orjson.loads(json_of(v.BYTEA, "\\x" + data.hex()))) == data


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_survives(number: float) -> None:
    """The number PostgreSQL writes in shortest form is the number read."""
    assert float(orjson.loads(json_of(v.FLOAT8, repr(number)))) == number
