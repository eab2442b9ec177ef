"""Tests when a front-end transaction ends.

It is never inside a source transaction, soon after it, and not too often.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.capture.commit_rule import LONGEST, SHORTEST, CommitRule
from agent.connectors.changes import (
    Begin,
    Change,
    Commit,
    Heartbeat,
    HighPosition,
    Message,
    Relation,
    Truncate,
)

TABLE = Relation(1, "public", "t", "d", ())
BEGIN, COMMIT, BEAT = Begin(1, 10, 0), Commit(1, 20, 0), Heartbeat(30, 0)


def change(size: int = 10) -> Change:
    """Returns a row of that many bytes."""
    return Change(TABLE, "I", None, (), False, 5, size)


def rule_after(
    *messages: Message, now: float = 0.0, max_rows: int = 100, max_bytes: int = 10_000
) -> CommitRule:
    """Returns a rule that was told of these messages at one moment."""
    rule = CommitRule(max_rows, max_bytes)
    for message in messages:
        rule.taken(message, now)
    return rule


@pytest.mark.parametrize(
    "inside",
    [
        (BEGIN,),
        (BEGIN, change()),
        (BEGIN, COMMIT, BEGIN),
        (BEAT, BEGIN, change(20_000)),
        (BEGIN, Truncate((TABLE,), 1)),
        (BEGIN, HighPosition("t")),
    ],
)
def test_never_inside_a_source_transaction(inside: tuple[Message, ...]) -> None:
    """Not for time, size or silence: half a source transaction is never committed."""
    assert not rule_after(*inside).due(more_waits=False, now=1_000.0)


def test_never_for_nothing() -> None:
    """An empty transaction is not committed, nor one right after another."""
    rule = CommitRule(1, 1)
    assert not rule.due(more_waits=False, now=1_000.0)
    rule.taken(BEAT, 0.0)
    rule.committed(0.001)
    assert not rule.due(more_waits=False, now=1_000.0)


def test_clear_from_a_commit_to_the_next_message() -> None:
    """Between two front-end transactions nothing is open.

    Only then is there time for other work.
    """
    rule = rule_after()
    assert rule.clear
    for message in (BEGIN, change(), COMMIT):
        rule.taken(message, 0.0)
        assert not rule.clear
    rule.committed(0.0)
    assert rule.clear


@pytest.mark.parametrize(
    "messages",
    [
        (BEGIN, change(), COMMIT),
        (BEAT,),
        (BEGIN, Truncate((TABLE,), 1), COMMIT),
        (BEGIN, HighPosition("t"), COMMIT),
    ],
)
def test_at_once_when_nothing_more_waits(messages: tuple[Message, ...]) -> None:
    """A single transaction, or a heartbeat, is not held up."""
    rule = rule_after(*messages)
    assert rule.due(more_waits=False, now=0.0)
    assert not rule.due(more_waits=True, now=0.0)


def test_ten_milliseconds_after_the_first_change() -> None:
    """The clock runs from the first message, not the last."""
    rule = rule_after(BEGIN, change(), COMMIT)
    rule.taken(BEAT, SHORTEST * 0.9)
    assert not rule.due(more_waits=True, now=SHORTEST * 0.99)
    assert rule.due(more_waits=True, now=SHORTEST)


@pytest.mark.parametrize(
    ("took", "patience"),
    [(0.0, SHORTEST), (0.005, SHORTEST), (0.03, 0.03), (0.05, LONGEST), (3.0, LONGEST)],
)
def test_patience_follows_the_commits(took: float, patience: float) -> None:
    """Slow commits are made fewer, up to 50 ms; fast ones make it short again."""
    rule = CommitRule(100, 10_000)
    rule.committed(LONGEST)
    rule.committed(took)
    rule.taken(BEAT, 0.0)
    assert not rule.due(more_waits=True, now=patience * 0.99)
    assert rule.due(more_waits=True, now=patience)


def test_bounds_of_rows_and_bytes() -> None:
    """A full transaction ends at the next source commit although more waits.

    After it counting begins from zero.
    """
    rows = rule_after(BEGIN, change(), change(), change(), COMMIT, max_rows=3)
    assert rows.due(more_waits=True, now=0.0)
    assert not rule_after(BEGIN, change(), change(), COMMIT, max_rows=3).due(
        more_waits=True, now=0.0
    )
    large = rule_after(BEGIN, change(600), change(400), COMMIT, max_bytes=1_000)
    assert large.due(more_waits=True, now=0.0)
    rows.committed(0.0)
    rows.taken(BEAT, 0.0)
    assert not rows.due(more_waits=True, now=0.0)


@given(st.lists(st.lists(st.integers(1, 500), max_size=6), max_size=8), st.booleans())
def test_what_was_taken_is_due_at_the_latest_when_the_line_is_quiet(
    sizes: list[list[int]], waits: bool
) -> None:
    """For any run of transactions: due only between them, and always once nothing more waits."""
    rule, now = CommitRule(7, 900), 0.0
    for transaction in sizes:
        messages: list[Message] = [BEGIN, *[change(size) for size in transaction]]
        for message in messages:
            rule.taken(message, now)
            now += 0.001
            assert not rule.due(more_waits=waits, now=now)
        rule.taken(COMMIT, now)
        assert rule.due(more_waits=False, now=now)
        if rule.due(more_waits=True, now=now):
            rule.committed(0.002)
