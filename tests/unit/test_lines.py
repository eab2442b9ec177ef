"""Lines of COPY text (that they are the server's own bytes: tests/front/test_databases.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.values.lines import line_of, row_of

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
awkward = st.text(st.sampled_from("\\\b\f\n\r\t\vNabtn\u0085\u2028"), max_size=8)
rows = st.lists(st.none() | texts | awkward, min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (("7", "张三"), "7\t张三".encode()),
        ((None,), rb"\N"),
        (("N", "\\N", ""), b"N\t\\\\N\t"),
        (("a\tb", "c\nd\re", "\b\f\v"), rb"a\tb" + b"\t" + rb"c\nd\re" + b"\t" + rb"\b\f\v"),
        (("\\",), rb"\\"),
    ],
)
def test_lines_written_out_by_hand(row: tuple[str | None, ...], line: bytes) -> None:
    """NULL, the text \\N and empty text stay three things.

    What would end a column or line is escaped.
    """
    assert line_of(row) == line
    assert row_of(line) == row


@given(rows)
def test_any_row_comes_back(row: tuple[str | None, ...]) -> None:
    """And its line holds no line end."""
    assert row_of(line_of(row)) == row
    assert b"\n" not in line_of(row)
