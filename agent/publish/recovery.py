"""Check C: whether what Kafka holds, what the front end holds and who this agent is fit together. Pure; done at every recovery.

Rules (DESIGN §6): the epoch is still mine; the record's nonce is mine or of a lower epoch; published mark <= record <= last
outbox number, with the same event id; each topic has the id and the number of partitions it had, and no end went back.
"""

from collections.abc import Mapping
from typing import NamedTuple

from agent.errors import AgentError, AnotherAgent, DuplicateAgent, PartitionsChanged, StateAhead, StateBehind, StateLost, TopicLimit, TopicLost, TopicMissing
from agent.front.reader import Identity, Published
from agent.publish.base import TopicDescription
from agent.publish.state import InvalidState, StateRecord, TopicState, loads

OVERHEAD = 1024  # what a batch of one record adds to key, value and headers, generously
MAX_MESSAGE_BYTES = "max.message.bytes"


class Facts(NamedTuple):
    """What a recovery has read. The record was read first, so `identity` and `mark` are not older than it."""

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
    recorded: Mapping[str, TopicState], described: Mapping[str, TopicDescription | None], generations: Mapping[str, int], max_event_bytes: int
) -> dict[str, TopicState]:
    """What the next record says of the topics. One that has no entry yet was added to the configuration since.

    Raises TopicLost, TopicMissing, PartitionsChanged, TopicLimit.
    """
    return {name: _topic(name, recorded.get(name), topic, generations.get(name, 1), max_event_bytes + OVERHEAD) for name, topic in described.items()}


def _topic(name: str, before: TopicState | None, now: TopicDescription | None, generation: int, needed: int) -> TopicState:
    if now is None:
        raise TopicMissing(topic=name) if before is None else TopicLost(topic=name, reason="it was deleted")
    if before is not None:
        _same(name, before, now)
    limit = now.settings.get(MAX_MESSAGE_BYTES)
    if limit is not None and int(limit) < needed:
        raise TopicLimit(topic=name, limit=limit, needed=needed)
    return TopicState(now.id, generation, now.partitions, dict(now.ends))


def _same(name: str, before: TopicState, now: TopicDescription) -> None:
    if now.id != before.id:
        raise TopicLost(topic=name, reason="it was deleted and created again")
    if now.partitions != before.partitions:
        raise PartitionsChanged(topic=name, before=before.partitions, now=now.partitions)
    for partition, offset in sorted(before.offsets.items()):
        end = now.ends.get(partition, 0)
        if end < offset:
            raise TopicLost(topic=name, reason=f"partition {partition} ends at {end} and once ended at {offset}: it lost records")
