"""Check C of the topics: whether each is still what the state record says of it. Pure.

A topic must have the id and the number of partitions it had, and no end may have gone back. Else it
is lost: its table is suspended, its events are passed over until its next generation, and the other
topics go on. It is done at every recovery, and now and then in between.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from agent.errors import PartitionsChanged, Suspend, TopicLimit, TopicLost, TopicTaken
from agent.messages import phrase
from agent.publish.base import Descriptions, TopicDescription
from agent.publish.state import StateRecord, TopicState

OVERHEAD = 1024  # what a batch of one record adds to key, value and headers, generously
MAX_MESSAGE_BYTES = "max.message.bytes"
_LARGE = 1 << 60  # larger than any number of events, offset or time
_DELETED, _NEVER_MADE = phrase("it was deleted"), phrase("it does not exist")


class Owner(NamedTuple):
    """Whose a topic is."""

    resource: str
    generation: int  # the resource's in the front end


def check_topics(
    recorded: Mapping[str, TopicState],
    described: Descriptions,
    owners: Mapping[str, Owner],
    number: int,
    max_event_bytes: int,
    foreign: Collection[str] = (),
) -> dict[str, TopicState]:
    """Returns what the next record says of the topics; the last one has come to event `number`.

    A topic that is not what it was is lost from here on. One without an entry was added to the
    configuration since; it is in `foreign` where it holds somebody's records. Raises TopicLimit.
    """
    checked = {}
    for name, now in described.items():
        before, owner = recorded.get(name), owners[name]
        if before is None:
            after = new_topic(name, now, owner, number, name in foreign)
        else:
            after = same_topic(name, before, now, owner.resource, number)

        if now is not None and not after.lost:
            check_limit(name, now, max_event_bytes + OVERHEAD)
        checked[name] = after
    return checked


def same_topic(
    name: str, before: TopicState, now: TopicDescription | None, resource: str, number: int
) -> TopicState:
    """Returns the state of a topic that was published to: the same, or lost."""
    if before.lost:
        return before
    error = _difference(name, before, now, resource)
    if error is not None:
        return before._replace(lost=_lost(error, number))
    assert now is not None, "a topic that is gone differs"
    return before._replace(offsets=dict(now.ends))


def new_topic(
    name: str, now: TopicDescription | None, owner: Owner, number: int, foreign: bool
) -> TopicState:
    """Returns the state of a topic with which a table, or its new generation, begins.

    It begins after event `number`. The topic is lost if there is none, or if it is `foreign`.
    """
    if now is None:
        error: Suspend = TopicLost(resource=owner.resource, topic=name, reason=_NEVER_MADE)
        return TopicState("", owner.generation, 0, {}, _lost(error, number))
    if foreign:
        error = TopicTaken(resource=owner.resource, topic=name)
        # Nothing of it is known, so no offsets
        return TopicState(now.id, owner.generation, now.partitions, {}, _lost(error, number))
    return TopicState(now.id, owner.generation, now.partitions, dict(now.ends))


def transaction_topic(before: TopicState | None, now: TopicDescription) -> TopicState:
    """Returns the state of the topic of transactions.

    It belongs to no table, so it is never lost, and made again it goes on.
    """
    ends = dict(now.ends)
    if before is not None and before.id == now.id:
        # What is held back there was committed: it must not look aborted
        for number in now.held:
            ends[number] = before.offsets.get(number, ends[number])
    return TopicState(now.id, 1, now.partitions, ends)


def known(before: TopicState | None, now: TopicDescription) -> dict[int, int]:
    """Returns up to where the record knows a topic; what else it holds is not this agent's."""
    return dict(before.offsets) if before is not None and before.id == now.id else {}


def _lost(error: Suspend, number: int) -> dict[str, object]:
    """What the state record says of a topic that is lost from the event after `number` on."""
    return {"from": number + 1, "code": error.code, "values": error.plain_values()}


def _difference(
    name: str, before: TopicState, now: TopicDescription | None, resource: str
) -> Suspend | None:
    """Why a topic is not the one that was published to; None where it is."""
    if now is None:
        return TopicLost(resource=resource, topic=name, reason=_DELETED)
    if now.id != before.id:
        created = phrase("it was deleted and created again")
        return TopicLost(resource=resource, topic=name, reason=created)
    if now.partitions != before.partitions:
        return PartitionsChanged(
            resource=resource, topic=name, before=before.partitions, now=now.partitions
        )
    for partition, offset in sorted(before.offsets.items()):
        end = now.ends.get(partition, 0)
        if end < offset:
            shorter = phrase(
                "partition {partition} ends at {end} and once ended at {offset}: it lost records",
                partition=partition,
                end=end,
                offset=offset,
            )
            return TopicLost(resource=resource, topic=name, reason=shorter)
    return None


def state_bytes(topics: Collection[str], partitions: int) -> int:
    """Returns how large the batch of a state record can become.

    It then names every topic with all that is noted of one, long numbers and a reason of its loss.
    """
    lost = {"from": _LARGE, "code": "X" * 40, "values": {"reason": "x" * 400}}
    offsets = dict.fromkeys(range(partitions), _LARGE)
    entry = TopicState("x" * 36, _LARGE, partitions, offsets, lost)
    record = StateRecord(
        "x" * 36, _LARGE, "x" * 36, _LARGE, "x" * 32, "FFFFFFFF/FFFFFFFF", _LARGE, _LARGE,
        dict.fromkeys(topics, entry),
    )  # fmt: skip
    return len(record.dumps()) + OVERHEAD


def check_state_topic(name: str, now: TopicDescription | None, needed: int) -> None:
    """Raises TopicLimit where the state topic could not take a state record."""
    if now is not None:
        check_limit(name, now, needed)


def check_limit(name: str, now: TopicDescription, needed: int) -> None:
    """Raises TopicLimit where a topic takes smaller messages than needed; passes if hidden."""
    limit = now.settings.get(MAX_MESSAGE_BYTES)
    if limit is not None and int(limit) < needed:
        raise TopicLimit(topic=name, limit=limit, needed=needed)
