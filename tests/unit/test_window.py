"""Tests a window over a page: page and window together end where the source is.

The page may show any of the remembered changes already.
"""

from hypothesis import given
from hypothesis import strategies as st

from agent.capture.window import Window, filled
from agent.values.rows import UNCHANGED, Key, Row

Effect = tuple[str, str, str, bool]  # what, old key, new key, whether the large value is sent
EFFECTS = st.lists(
    st.tuples(
        st.sampled_from("IUMD"), st.sampled_from("123"), st.sampled_from("123"), st.booleans()
    ),
    max_size=12,
)
START = st.dictionaries(st.sampled_from("123"), st.just("large"), max_size=3)


def remembered(
    window: Window, rows: dict[str, tuple[str, str, str]], effect: Effect, number: int
) -> bool:
    """Does one change to the source's rows and tells the window of it.

    Returns False where the rows do not allow it.
    """
    what, old, new, sent = effect
    if (what == "I") == (old in rows) or (what == "M" and (new == old or new in rows)):
        return False
    if what == "D":
        del rows[old]
        window.remember((old,), None, None, 10)
        return True
    key = new if what == "M" else old
    large = f"large {number}" if sent or what == "I" else rows[old][2]
    if what != "I":
        del rows[old]
    rows[key] = (key, f"state {number}", large)
    row: Row = rows[key] if sent or what == "I" else (*rows[key][:2], UNCHANGED)
    window.remember(None if what == "I" else (old,), (key,), row, 10)
    return True


@given(START, EFFECTS, st.integers(0, 12))
def test_changes_the_page_shows_already_do_no_harm(
    start: dict[str, str], effects: list[Effect], shown: int
) -> None:
    """The page was read after any number of the changes.

    A key that cannot be known is a hole, and none is wrong.
    """
    rows = {key: (key, "state", large) for key, large in start.items()}
    page = dict(rows)
    window = Window("person", 1_000)
    for number, effect in enumerate(effects):
        if number == shown:
            page = dict(rows)
        remembered(window, rows, effect, number)
    if shown >= len(effects):
        page = dict(rows)
    for key in "123":
        after = window.after((key,), page.get(key))
        if after is not None and UNCHANGED in after:
            assert after[:2] == rows[key][:2]
        else:
            assert after == rows.get(key)


def test_a_move_that_lacks_values_is_a_hole_whatever_the_page_shows() -> None:
    """What stands at its key may be another row: nothing of it is taken."""
    window = Window("person", 1_000)
    window.remember(("1",), ("2",), ("2", "new", UNCHANGED), 10)
    assert window.after(("2",), ("2", "old", "of another row")) == ("2", "new", UNCHANGED)
    assert window.after(("1",), ("1", "old", "large")) is None
    window.remember(("2",), ("2",), ("2", "newer", "sent at last"), 10)
    assert window.after(("2",), None) == ("2", "newer", "sent at last")


def test_an_update_that_lacks_values_takes_them_from_the_page() -> None:
    """And is a hole where the page has no row; keys nobody touched are the page's."""
    window = Window("person", 1_000)
    window.remember(("1",), ("1",), ("1", "new", UNCHANGED), 10)
    assert window.after(("1",), ("1", "old", "large")) == ("1", "new", "large")
    assert window.after(("1",), None) == ("1", "new", UNCHANGED)
    assert window.after(("9",), ("9", "old", "large")) == ("9", "old", "large")
    assert window.after(("9",), None) is None


def test_a_window_holds_so_many_bytes_and_no_more() -> None:
    """Past its bound it remembers nothing and says so."""
    window = Window("person", 25)
    key: Key = ("1",)
    for size, overflown in ((10, False), (15, False), (1, True), (0, True)):
        window.remember(None, key, ("1", "s", "l"), size)
        assert window.overflown is overflown


def test_values_are_filled_from_the_row_before() -> None:
    """Only those that are missing; NULL is a value."""
    assert filled(("1", UNCHANGED, None), ("2", "kept", "other")) == ("1", "kept", None)
