"""The judge's comparison of keys that are equal to the source, and written in another way."""

from collections.abc import Sequence

from tests.checker.likeness import Likeness, likeness
from tests.checker.table import Key


def no_case(unknown: Sequence[Key], known: Sequence[Key]) -> list[tuple[Key, Key]]:
    """Equal are texts that differ by case only."""
    return [
        (one, other) for one in unknown for other in known if one[0].lower() == other[0].lower()
    ]


def told(source: str, front: str) -> Likeness:
    """Returns the likeness of keys of one letter each."""
    return likeness([(letter,) for letter in source], [(letter,) for letter in front], no_case)


def test_equal_keys_are_equal() -> None:
    assert told("abc", "cab") == Likeness(3, 3, missing=0, respelled=0, extra=0, doubled=0)
    assert str(told("ab", "ab")) == "2 rows are shared, the front end has 2: equal keys"


def test_a_row_without_an_equal_key_is_missing_or_too_many() -> None:
    assert told("abc", "ax") == Likeness(3, 2, missing=2, respelled=0, extra=1, doubled=0)


def test_the_same_row_under_another_spelling_is_neither() -> None:
    assert told("abc", "Abc") == Likeness(3, 3, missing=0, respelled=1, extra=0, doubled=0)


def test_a_row_that_stands_under_two_spellings_is_there_twice() -> None:
    assert told("a", "aA") == Likeness(1, 2, missing=0, respelled=0, extra=0, doubled=1)
    assert told("a", "aa").doubled == 1
    assert "1 twice" in str(told("a", "aA"))
