"""Check C, case by case and as properties."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import (
    AgentError,
    AnotherAgent,
    DuplicateAgent,
    StateAhead,
    StateBehind,
    StateLost,
    Suspend,
    TopicLimit,
    stored,
)
from agent.outbox.reader import Identity, Published
from agent.publish.base import TopicDescription
from agent.publish.recovery import Facts, check, read
from agent.publish.state import StateRecord, TopicState
from agent.publish.topic_check import Owner, check_topics

RECORD = StateRecord("uuid", 3, "mine", 40, "id40", "0/28", 1, 0, {})
IDENTITY = Identity("uuid", "source", 3, "mine", 50, "0/32", 2)
MARK = Published(30, "id30", 3, "0/1E", 1)


def facts(
    record: dict[str, Any] | None = None,
    identity: dict[str, Any] | None = None,
    mark: dict[str, Any] | None = None,
    **others: Any,
) -> Facts:
    """A recovery that may go on, with differences."""
    default = Facts(
        "mine",
        IDENTITY._replace(**identity or {}),
        MARK._replace(**mark or {}),
        "state",
        RECORD._replace(**record or {}),
        "id40",
    )
    return default._replace(**others)


GOES_ON = {
    "same service": facts(),
    "a service before this one": facts({"nonce": "older", "epoch": 2}),
    "capture opened again within this service": facts({"epoch": 2}),
    "nothing published yet": facts(
        {"number": 0, "event": ""}, mark={"number": 0, "event_id": ""}, event=None
    ),
    "everything published": facts({"number": 50, "event": "id50"}, event="id50"),
    "everything published and deleted": facts(
        {"number": 50, "event": "id50"}, mark={"number": 50, "event_id": "id50"}, event=None
    ),
    "mark equals record": facts(mark={"number": 40, "event_id": "id40"}),
}
HALTS: dict[str, tuple[Facts, type[AgentError]]] = {
    "front end held by another service": (
        facts(identity={"nonce": "other", "epoch": 4}),
        AnotherAgent,
    ),
    "clone published with my epoch": (facts({"nonce": "clone"}), DuplicateAgent),
    "clone published with a later epoch": (facts({"nonce": "clone", "epoch": 4}), DuplicateAgent),
    "record of another agent": (facts({"agent": "another"}), DuplicateAgent),
    "front end restored: my own later epoch": (facts({"epoch": 4}), StateAhead),
    "front end restored: fewer events": (
        facts({"number": 51, "event": "id51"}, event=None),
        StateAhead,
    ),
    "front end restored: other events": (facts(event="another"), StateAhead),
    "the outbox lacks the event": (facts(event=None), StateAhead),
    "mark equals record, other event": (
        facts(mark={"number": 40, "event_id": "another"}, event=None),
        StateAhead,
    ),
    "Kafka restored": (facts({"number": 29, "event": "id29"}, event="id29"), StateBehind),
    "Kafka's state made anew": (facts({"number": 0, "event": ""}, event=None), StateBehind),
}


@pytest.mark.parametrize("name", GOES_ON)
def test_goes_on(name: str) -> None:
    """What fits together passes."""
    check(GOES_ON[name])


@pytest.mark.parametrize("name", HALTS)
def test_halts(name: str) -> None:
    """What does not is named, and ends the process."""
    case, error = HALTS[name]
    with pytest.raises(error):
        check(case)


def test_reading_the_record() -> None:
    """None is a lost state; a record of another version halts."""
    assert read("state", RECORD.dumps()) == RECORD
    with pytest.raises(StateLost):
        read("state", None)
    with pytest.raises(AgentError, match="state record in topic state"):
        read("state", b'{"v":2}')


TOPIC = TopicState("id", 1, 2, {0: 10, 1: 20})
NOW = TopicDescription("id", 2, {0: 10, 1: 25}, {"max.message.bytes": "1048588"})


def checked(before: TopicState | None, now: TopicDescription | None) -> TopicState:
    """Returns what the next record says of a topic, after event 40.

    The front end has generation 3.
    """
    return check_topics(
        {} if before is None else {"t": before}, {"t": now}, {"t": Owner("table", 3)}, 40, 1_000_000
    )["t"]


def test_topics_that_fit() -> None:
    """Topics fit though their ends have moved on, and a broker may hide the limit.

    A topic that was added to the configuration has no entry yet.
    """
    assert checked(TOPIC, NOW) == TopicState("id", 1, 2, {0: 10, 1: 25})
    assert checked(None, NOW._replace(settings={})) == TopicState("id", 3, 2, {0: 10, 1: 25})


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (None, "TOPIC_LOST"),
        (NOW._replace(id="another"), "TOPIC_LOST"),
        (NOW._replace(partitions=3, ends={0: 10, 1: 25, 2: 0}), "PARTITIONS_CHANGED"),
        (NOW._replace(ends={0: 9, 1: 25}), "TOPIC_LOST"),
        (NOW._replace(ends={0: 10}), "TOPIC_LOST"),
    ],
)
def test_topics_that_are_lost(now: TopicDescription | None, code: str) -> None:
    """From the next event on, as it was known; and they stay so, whatever becomes of the topic."""
    lost = checked(TOPIC, now)
    assert (lost.lost["code"], lost.lost["from"], lost.lost["values"]["resource"]) == (
        code,
        41,
        "table",
    )
    assert lost._replace(lost={}) == TOPIC
    assert lost.passes_over(1) and not lost.passes_over(2) and not TOPIC.passes_over(1)
    assert isinstance(stored(code, dict(lost.lost["values"])), Suspend)
    assert checked(lost, NOW) == lost


def test_topics_that_do_not_serve() -> None:
    """One that was never created, one that takes too little."""
    missing = checked(None, None)
    assert (missing.lost["code"], missing.lost["from"], missing.partitions) == ("TOPIC_LOST", 41, 0)
    with pytest.raises(TopicLimit):
        checked(TOPIC, NOW._replace(settings={"max.message.bytes": "1000000"}))


small = st.integers(min_value=0, max_value=4)


@given(
    record=small,
    epoch=small,
    mine=st.booleans(),
    identity=small,
    last=small,
    mark=small,
    held=st.none() | st.integers(0, 4),
    kept=st.booleans(),
)
def test_goes_on_only_where_nothing_can_be_lost_or_repeated(
    record: int,
    epoch: int,
    mine: bool,
    identity: int,
    last: int,
    mark: int,
    held: int | None,
    kept: bool,
) -> None:
    """Whatever was read, going on means mark <= record <= last with one history.

    There is no other service at this epoch or above.
    """
    case = facts(
        {
            "number": record,
            "event": f"id{record}" if record else "",
            "epoch": epoch,
            "nonce": "mine" if mine else "other",
        },
        identity={"number": last, "epoch": identity},
        mark={"number": mark, "event_id": f"id{mark}" if mark and kept else ""},
        event=None if held is None else f"id{held}",
    )
    try:
        check(case)
    except AgentError:
        return
    assert mark <= record <= last
    assert epoch < identity or (mine and epoch == identity)
    assert record == 0 or held == record or (held is None and mark == record and kept)  # noqa: PLR1714 - the three ways to be right
