"""Check C: whether what Kafka holds, what the front end holds and who this agent is fit together. Pure; done at every recovery.

Rules (docs/decisions/checks.md): the epoch is still mine; the record's nonce is mine or of a lower epoch; published mark <= record <= last
outbox number, with the same event id: else the agent halts. Each topic has the id and the number of partitions it had, and no end went back: else
it is lost, its table is suspended, its events are passed over until its next generation, and the others go on.
"""

from collections.abc import Mapping
from typing import NamedTuple

from agent.errors import (
    AgentError,
    AnotherAgent,
    DuplicateAgent,
    PartitionsChanged,
    StateAhead,
    StateBehind,
    StateLost,
    Suspend,
    TopicLimit,
    TopicLost,
)
from agent.front.reader import Identity, Published
from agent.publish.base import TopicDescription
from agent.publish.state import InvalidState, StateRecord, TopicState, loads

OVERHEAD = 1024  # what a batch of one record adds to key, value and headers, generously
MAX_MESSAGE_BYTES = "max.message.bytes"
_DELETED, _NEVER_MADE = "it was deleted", "it does not exist"


class Facts(NamedTuple):
    """What a recovery has read: the record first, then the event, so that `identity` and `mark` are not older than either."""

    nonce: str  # mine
    identity: Identity
    mark: Published
    state_topic: str
    record: StateRecord  # the last in the state topic
    event: str | None  # id the outbox has for the record's last event, None where it no longer holds it


def holder(identity: Identity, nonce: str) -> None:
    """Raises AnotherAgent unless the front end is still held by my service."""
    if identity.nonce != nonce:
        raise AnotherAgent(holder=f"epoch {identity.epoch}")


def read(topic: str, value: bytes | None) -> StateRecord:
    """The record. Raises StateLost when there is none, and halts on one that cannot be understood."""
    if value is None:
        raise StateLost(topic=topic)
    try:
        return loads(value)
    except InvalidState as error:
        raise AgentError(detail=f"the state record in topic {topic}: {error}") from None


def check(facts: Facts) -> None:
    """Returns when publishing may go on after the record. Raises StateAhead, StateBehind, DuplicateAgent, AnotherAgent."""
    record, identity, mark = facts.record, facts.identity, facts.mark
    holder(identity, facts.nonce)
    if record.agent != identity.agent_uuid:
        raise DuplicateAgent(reason=f"the state record is of agent {record.agent}")
    if record.nonce != facts.nonce and record.epoch >= identity.epoch:
        raise DuplicateAgent(reason=f"the state record is of epoch {record.epoch} and of another service, this one has epoch {identity.epoch}")
    if record.epoch > identity.epoch:
        raise StateAhead(state=record.number, outbox=identity.number, reason=f"its epoch is {record.epoch}, the front end's {identity.epoch}")
    if record.number > identity.number:
        raise StateAhead(state=record.number, outbox=identity.number, reason="the outbox is older")
    if record.number < mark.number:
        raise StateBehind(state=record.number, mark=mark.number)
    if record.number and record.event != _event(record, facts):
        raise StateAhead(state=record.number, outbox=identity.number, reason="the event of that number is another one")


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
) -> dict[str, TopicState]:
    """What the next record says of the topics, the last one having come to event `number`; `facts`: resource and generation of each.

    One that is not what it was is lost from here on; one that has no entry yet was added to the configuration since. Raises TopicLimit.
    """
    return {name: _topic(name, recorded.get(name), now, *facts[name], number, max_event_bytes + OVERHEAD) for name, now in described.items()}


def _topic(name: str, before: TopicState | None, now: TopicDescription | None, resource: str, generation: int, number: int, needed: int) -> TopicState:
    after = anew(name, now, resource, generation, number) if before is None else again(name, before, now, resource, number)
    if after.lost or now is None:
        return after
    limit = now.settings.get(MAX_MESSAGE_BYTES)
    if limit is not None and int(limit) < needed:
        raise TopicLimit(topic=name, limit=limit, needed=needed)
    return after


def again(name: str, before: TopicState, now: TopicDescription | None, resource: str, number: int) -> TopicState:
    """A topic that was published to, as it is now: the same, or lost."""
    if before.lost:
        return before
    error = _difference(name, before, now, resource)
    if error is not None:
        return before._replace(lost={"from": number + 1, "code": error.code, "values": error.values})
    assert now is not None, "a topic that is gone differs"
    return before._replace(offsets=dict(now.ends))


def anew(name: str, now: TopicDescription | None, resource: str, generation: int, number: int) -> TopicState:
    """The topic with which a table, or a new generation of it, begins after event `number`; lost if there is none."""
    if now is None:
        lost = TopicLost(resource=resource, topic=name, reason=_NEVER_MADE)
        return TopicState("", generation, 0, {}, {"from": number + 1, "code": lost.code, "values": lost.values})
    return TopicState(now.id, generation, now.partitions, dict(now.ends))


def hanging(recorded: Mapping[str, TopicState], described: Mapping[str, TopicDescription | None], further: str | None) -> list[tuple[str, int]]:
    """Topics and partitions where an aborted transaction of this agent lacks its end; asked when none of its transactions can be open.

    A cluster that restarts can drop an end it has to write (KAFKA-20734). Our next commit there would then make the aborted records visible, too.
    What is open from before a recorded end on was committed; it is not for us to abort (`readable`). The topic of transactions, `further`, is not
    recorded: it goes with the others.
    """
    held = {name: topic.held for name, topic in described.items() if topic is not None}
    further_held = [(further, partition) for partition in held.pop(further, {})] if further else []
    found = [(name, partition) for name, places in held.items() for partition, at in places.items() if at >= _end(recorded.get(name), partition)]
    return found and found + further_held


def _end(recorded: TopicState | None, partition: int) -> int:
    return recorded.offsets.get(partition, 0) if recorded else 0


def readable(described: Mapping[str, TopicDescription | None]) -> dict[str, TopicDescription | None]:
    """The topics as far as a read_committed consumer gets: what is held back is lost to it."""
    return {name: topic and topic._replace(ends={**topic.ends, **topic.held}) for name, topic in described.items()}


def _difference(name: str, before: TopicState, now: TopicDescription | None, resource: str) -> Suspend | None:
    if now is None:
        return TopicLost(resource=resource, topic=name, reason=_DELETED)
    if now.id != before.id:
        return TopicLost(resource=resource, topic=name, reason="it was deleted and created again")
    if now.partitions != before.partitions:
        return PartitionsChanged(resource=resource, topic=name, before=before.partitions, now=now.partitions)
    for partition, offset in sorted(before.offsets.items()):
        end = now.ends.get(partition, 0)
        if end < offset:
            return TopicLost(resource=resource, topic=name, reason=f"partition {partition} ends at {end} and once ended at {offset}: it lost records")
    return None
