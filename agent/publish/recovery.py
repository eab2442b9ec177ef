"""Check C of the agent: whether Kafka, the front end and this agent fit together. Pure.

Rules (docs/decisions/checks.md): the epoch is still mine; the record's nonce is mine or of a lower
epoch; published mark <= record <= last outbox number, with the same event id. Else the agent halts.
It is done at every recovery. The topics of events have a check of their own (`topic_check`).
"""

from typing import NamedTuple

from agent.errors import (
    AgentError,
    AnotherAgent,
    DuplicateAgent,
    StateAhead,
    StateBehind,
    StateLost,
)
from agent.messages import phrase
from agent.outbox.reader import Identity, Published
from agent.publish.state import InvalidState, StateRecord, loads


class Facts(NamedTuple):
    """What a recovery has read.

    The record was read first, then the event, so that `identity` and `mark` are not older than
    either.
    """

    nonce: str  # mine
    identity: Identity
    mark: Published
    state_topic: str
    record: StateRecord  # the last in the state topic
    # Id the outbox has for the record's last event, None where it no longer holds it
    event: str | None


def check_holder(identity: Identity, nonce: str) -> None:
    """Raises AnotherAgent unless the front end is still held by my service."""
    if identity.nonce != nonce:
        raise AnotherAgent(holder=phrase("epoch {epoch}", epoch=identity.epoch))


def read(topic: str, value: bytes | None) -> StateRecord:
    """Returns the record.

    Raises StateLost when there is none, and halts on one that cannot be understood.
    """
    if value is None:
        raise StateLost(topic=topic)
    try:
        return loads(value)
    except InvalidState as error:
        raise AgentError(detail=f"the state record in topic {topic}: {error}") from None


def last_records(
    topic: str, visible: bytes | None, hanging: bytes | None, mark: Published
) -> tuple[StateRecord, StateRecord | None]:
    """Returns the record of the last committed transaction, and a hanging one.

    Of the hanging one it is not known whether it was committed; None where there is none. The
    front end's mark is written after Kafka has answered a commit, so a hanging record that the
    mark names was committed.
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
    """Returns when publishing may go on after the record.

    Raises AnotherAgent, DuplicateAgent, StateAhead, StateBehind.
    """
    check_holder(facts.identity, facts.nonce)
    _check_author(facts)
    _check_epoch(facts)
    _check_number(facts)


def _check_author(facts: Facts) -> None:
    """The record was written under my uuid, and not by a clone at work."""
    record, identity = facts.record, facts.identity
    if record.agent != identity.agent_uuid:
        other = phrase("the state record is of agent {agent}", agent=record.agent)
        raise DuplicateAgent(reason=other)
    if record.nonce != facts.nonce and record.epoch >= identity.epoch:
        raise DuplicateAgent(
            reason=phrase(
                "the state record is of epoch {epoch} and of another service, "
                "this one has epoch {ours}",
                epoch=record.epoch,
                ours=identity.epoch,
            )
        )


def _check_epoch(facts: Facts) -> None:
    """No later epoch than the front end's: else the front end was restored."""
    record, identity = facts.record, facts.identity
    if record.epoch > identity.epoch:
        raise _ahead(
            facts,
            phrase(
                "its epoch is {epoch}, the front end's {ours}",
                epoch=record.epoch,
                ours=identity.epoch,
            ),
        )


def _check_number(facts: Facts) -> None:
    """The record stands between the mark and the end of the outbox, at the same event."""
    record, mark = facts.record, facts.mark
    if record.number > facts.identity.number:
        raise _ahead(facts, phrase("the outbox is older"))
    if record.number < mark.number:
        raise StateBehind(state=record.number, mark=mark.number)
    if record.number and record.event != _event(facts):
        raise _ahead(facts, phrase("the event of that number is another one"))


def _ahead(facts: Facts, reason: str) -> StateAhead:
    return StateAhead(state=facts.record.number, outbox=facts.identity.number, reason=reason)


def _event(facts: Facts) -> str:
    """Id the front end has for the record's last event; '' when it should hold it and does not."""
    if facts.event is not None:
        return facts.event
    return facts.mark.event_id if facts.mark.number == facts.record.number else ""
