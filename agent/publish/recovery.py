"""Check C: whether what Kafka holds, what the front end holds and who this agent is fit together. Pure; done at every recovery.

Rules (docs/decisions/checks.md): the epoch is still mine; the record's nonce is mine or of a lower epoch; published mark <= record <= last
outbox number, with the same event id: else the agent halts. Each topic has the id and the number of partitions it had, and no end went back: else
it is lost, its table is suspended, its events are passed over until its next generation, and the others go on.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from agent.errors import (
    AgentError,
    AnotherAgent,
    DuplicateAgent,
    HangingTransaction,
    PartitionsChanged,
    StateAhead,
    StateBehind,
    StateLost,
    Suspend,
    TopicLimit,
    TopicLost,
    TopicTaken,
)
from agent.messages import phrase
from agent.outbox.reader import Identity, Published
from agent.publish.base import TopicDescription
from agent.publish.state import InvalidState, StateRecord, TopicState, loads

OVERHEAD = 1024  # what a batch of one record adds to key, value and headers, generously
MAX_MESSAGE_BYTES = "max.message.bytes"
_LARGE = 1 << 60  # larger than any number of events, offset or time
Places = list[tuple[str, int]]  # topics and partitions
_DELETED, _NEVER_MADE = phrase("it was deleted"), phrase("it does not exist")


def state_bytes(topics: Collection[str], partitions: int) -> int:
    """How large the batch of a state record can become: every topic with all that is noted of it, long numbers and a reason of its loss."""
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
    limit = now.settings.get(MAX_MESSAGE_BYTES) if now is not None else None
    if limit is not None and int(limit) < needed:
        raise TopicLimit(topic=name, limit=limit, needed=needed)


class Facts(NamedTuple):
    """What a recovery has read: the record first, then the event, so that `identity` and `mark` are not older than either."""

    nonce: str  # mine
    identity: Identity
    mark: Published
    state_topic: str
    record: StateRecord  # the last in the state topic
    # Id the outbox has for the record's last event, None where it no longer holds it
    event: str | None


def holder(identity: Identity, nonce: str) -> None:
    """Raises AnotherAgent unless the front end is still held by my service."""
    if identity.nonce != nonce:
        raise AnotherAgent(holder=phrase("epoch {epoch}", epoch=identity.epoch))


def read(topic: str, value: bytes | None) -> StateRecord:
    """The record. Raises StateLost when there is none, and halts on one that cannot be understood."""
    if value is None:
        raise StateLost(topic=topic)
    try:
        return loads(value)
    except InvalidState as error:
        raise AgentError(detail=f"the state record in topic {topic}: {error}") from None


def last(
    topic: str, visible: bytes | None, hanging: bytes | None, mark: Published
) -> tuple[StateRecord, StateRecord | None]:
    """The record of the last committed transaction, and a hanging one of which it is not known whether it was committed.

    The front end's mark is written after Kafka has answered a commit. So a hanging record that the mark names was committed.
    """
    record = read(topic, visible)
    if hanging is None:
        return record, None
    unended = read(topic, hanging)
    answered = (unended.number, unended.event) == (mark.number, mark.event_id)
    if answered and mark.number > record.number:
        return unended, None
    return record, unended


def check(facts: Facts) -> None:
    """Returns when publishing may go on after the record. Raises StateAhead, StateBehind, DuplicateAgent, AnotherAgent."""
    record, identity, mark = facts.record, facts.identity, facts.mark
    holder(identity, facts.nonce)
    if record.agent != identity.agent_uuid:
        raise DuplicateAgent(
            reason=phrase("the state record is of agent {agent}", agent=record.agent)
        )
    if record.nonce != facts.nonce and record.epoch >= identity.epoch:
        raise DuplicateAgent(
            reason=phrase(
                "the state record is of epoch {epoch} and of another service, this one has epoch {ours}",
                epoch=record.epoch,
                ours=identity.epoch,
            )
        )
    if record.epoch > identity.epoch:
        raise StateAhead(
            state=record.number,
            outbox=identity.number,
            reason=phrase(
                "its epoch is {epoch}, the front end's {ours}",
                epoch=record.epoch,
                ours=identity.epoch,
            ),
        )
    if record.number > identity.number:
        raise StateAhead(
            state=record.number, outbox=identity.number, reason=phrase("the outbox is older")
        )
    if record.number < mark.number:
        raise StateBehind(state=record.number, mark=mark.number)
    if record.number and record.event != _event(record, facts):
        raise StateAhead(
            state=record.number,
            outbox=identity.number,
            reason=phrase("the event of that number is another one"),
        )


def _event(record: StateRecord, facts: Facts) -> str:
    """Id the front end has for the record's last event; '' when it should hold it and does not."""
    if facts.event is not None:
        return facts.event
    return facts.mark.event_id if facts.mark.number == record.number else ""


def check_topics(
    recorded: Mapping[str, TopicState],
    described: Mapping[str, TopicDescription | None],
    facts: Mapping[str, tuple[str, int]],
    number: int,
    max_event_bytes: int,
    taken: Collection[str] = (),
) -> dict[str, TopicState]:
    """What the next record says of the topics, the last one having come to event `number`; `facts`: resource and generation of each.

    `taken`: those without an entry that hold somebody's records.
    One that is not what it was is lost from here on; one that has no entry yet was added to the configuration since. Raises TopicLimit.
    """
    return {
        name: _topic(
            name,
            recorded.get(name),
            now,
            *facts[name],
            number,
            max_event_bytes + OVERHEAD,
            name in taken,
        )
        for name, now in described.items()
    }


def _topic(
    name: str,
    before: TopicState | None,
    now: TopicDescription | None,
    resource: str,
    generation: int,
    number: int,
    needed: int,
    taken: bool,
) -> TopicState:
    after = (
        anew(name, now, resource, generation, number, taken)
        if before is None
        else again(name, before, now, resource, number)
    )
    if after.lost or now is None:
        return after
    limit = now.settings.get(MAX_MESSAGE_BYTES)
    if limit is not None and int(limit) < needed:
        raise TopicLimit(topic=name, limit=limit, needed=needed)
    return after


def again(
    name: str, before: TopicState, now: TopicDescription | None, resource: str, number: int
) -> TopicState:
    """A topic that was published to, as it is now: the same, or lost."""
    if before.lost:
        return before
    error = _difference(name, before, now, resource)
    if error is not None:
        return before._replace(
            lost={"from": number + 1, "code": error.code, "values": error.plain_values()}
        )
    assert now is not None, "a topic that is gone differs"
    return before._replace(offsets=dict(now.ends))


def of_transactions(before: TopicState | None, now: TopicDescription) -> TopicState:
    """The topic of transactions as the next record has it: it belongs to no table, so it is never lost, and made again it goes on."""
    ends = dict(now.ends)
    if before is not None and before.id == now.id:
        for number in now.held:  # what is held back there was committed: it must not look aborted
            ends[number] = before.offsets.get(number, ends[number])
    return TopicState(now.id, 1, now.partitions, ends)


def anew(
    name: str,
    now: TopicDescription | None,
    resource: str,
    generation: int,
    number: int,
    taken: bool,
) -> TopicState:
    """The topic with which a table, or a new generation of it, begins after event `number`; lost if there is none, or if it is `taken`."""
    if now is None:
        lost = TopicLost(resource=resource, topic=name, reason=_NEVER_MADE)
        return TopicState(
            "",
            generation,
            0,
            {},
            {"from": number + 1, "code": lost.code, "values": lost.plain_values()},
        )
    if taken:
        error = TopicTaken(resource=resource, topic=name)
        # Nothing of it is known, so no offsets
        return TopicState(
            now.id,
            generation,
            now.partitions,
            {},
            {"from": number + 1, "code": error.code, "values": error.values},
        )
    return TopicState(now.id, generation, now.partitions, dict(now.ends))


def known(before: TopicState | None, now: TopicDescription) -> dict[int, int]:
    """Up to where the record knows a topic; whatever else it holds is not this agent's."""
    return dict(before.offsets) if before is not None and before.id == now.id else {}


def unended(
    before: StateRecord,
    hanging: StateRecord | None,
    topics: Mapping[str, TopicDescription | None],
    state_topic: str,
) -> Places:
    """Where an aborted transaction of this agent lacks its end; asked when none of its transactions can be open. `hanging`: a state record in one.

    A cluster that restarts can drop ends it has to write (KAFKA-20734). Our next commit there would then make the aborted records visible, too.
    In the tables' topics what is open from before the recorded end on was committed, and not for us to abort (`unfinished`); the rest was aborted.
    In the state topic nothing tells that; but where nothing of the whole transaction is visible, it may count as aborted. Raises HangingTransaction
    where some of it may be.
    """
    held = {
        (name, partition): at
        for name, topic in topics.items()
        if topic is not None
        for partition, at in topic.held.items()
    }
    found = [place for place, at in held.items() if at >= _end(before, place)]
    if hanging is not None:
        ends = {
            (name, number): end
            for name, topic in hanging.topics.items()
            for number, end in topic.offsets.items()
        }
        touched = {
            place: end
            for place, end in ends.items()
            if hanging.number > before.number and end > _end(before, place)
        }
        if any(held.get(place, end) >= end for place, end in touched.items()):
            raise HangingTransaction(topics=state_topic)
        found.append((state_topic, 0))
    return found


def unfinished(before: StateRecord, topics: Mapping[str, TopicDescription | None]) -> Places:
    """Where a committed transaction of this agent lacks its end: it begins before the recorded end, and nothing stands behind that end."""
    found = []
    for name, topic in topics.items():
        for partition, at in topic.held.items() if topic is not None else ():
            end = _end(before, (name, partition))
            if topic is not None and at < end == topic.ends[partition]:
                found.append((name, partition))
    return found


def _end(record: StateRecord, place: tuple[str, int]) -> int:
    return record.topics[place[0]].offsets.get(place[1], 0) if place[0] in record.topics else 0


def readable(
    described: Mapping[str, TopicDescription | None],
) -> dict[str, TopicDescription | None]:
    """The topics as far as a read_committed consumer gets: what is held back is lost to it."""
    return {
        name: topic and topic._replace(ends={**topic.ends, **topic.held})
        for name, topic in described.items()
    }


def _difference(
    name: str, before: TopicState, now: TopicDescription | None, resource: str
) -> Suspend | None:
    if now is None:
        return TopicLost(resource=resource, topic=name, reason=_DELETED)
    if now.id != before.id:
        return TopicLost(
            resource=resource, topic=name, reason=phrase("it was deleted and created again")
        )
    if now.partitions != before.partitions:
        return PartitionsChanged(
            resource=resource, topic=name, before=before.partitions, now=now.partitions
        )
    for partition, offset in sorted(before.offsets.items()):
        end = now.ends.get(partition, 0)
        if end < offset:
            return TopicLost(
                resource=resource,
                topic=name,
                reason=phrase(
                    "partition {partition} ends at {end} and once ended at {offset}: it lost records",
                    partition=partition,
                    end=end,
                    offset=offset,
                ),
            )
    return None
