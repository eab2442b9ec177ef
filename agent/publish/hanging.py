"""Finds hanging transactions: they have ended, and in some partition their end is missing.

A cluster that restarts can drop ends it has to write (KAFKA-20734). All this is asked when none of
this agent's transactions can be open, so that what looks open can only hang.

In the topics of tables the state record tells what became of one: what is open from before the
recorded end on was committed, the rest was aborted. Pure but for `make_abortable`.
"""

from collections.abc import Iterable

from agent.errors import HangingTransaction
from agent.publish.base import Descriptions, Producer
from agent.publish.state import StateRecord

Place = tuple[str, int]  # topic and partition


def aborted(
    before: StateRecord, hanging: StateRecord | None, topics: Descriptions, state_topic: str
) -> list[Place]:
    """Returns where an aborted transaction of this agent lacks its end.

    Our next commit there would make the aborted records visible, too. `hanging` is a state record
    whose transaction hangs in the state topic, where nothing tells what became of it. If nothing
    of the whole transaction is visible elsewhere, it may count as aborted. Raises
    HangingTransaction where some of it may be visible.
    """
    held = _held(topics)
    places = []
    for place, first_open in held.items():
        if first_open >= _recorded_end(before, place):
            places.append(place)

    if hanging is not None:
        for place, end in _touched(before, hanging).items():
            if held.get(place, end) >= end:
                raise HangingTransaction(topics=state_topic)
        places.append((state_topic, 0))
    return places


def _held(topics: Descriptions) -> dict[Place, int]:
    """By partition, the offset of the first record of an open transaction."""
    held = {}
    for name, topic in topics.items():
        if topic is not None:
            for partition, first_open in topic.held.items():
                held[name, partition] = first_open
    return held


def _touched(before: StateRecord, hanging: StateRecord) -> dict[Place, int]:
    """Where the hanging record's transaction has written, and the ends it names there."""
    if hanging.number <= before.number:
        return {}
    touched = {}
    for name, topic in hanging.topics.items():
        for partition, end in topic.offsets.items():
            place = (name, partition)
            if end > _recorded_end(before, place):
                touched[place] = end
    return touched


def committed(before: StateRecord, topics: Descriptions) -> list[Place]:
    """Returns where a committed transaction of this agent lacks its end.

    It begins before the recorded end, and nothing stands behind that end.
    """
    places = []
    for place, first_open in _held(topics).items():
        name, partition = place
        topic = topics[name]
        recorded = _recorded_end(before, place)
        if topic is not None and first_open < recorded == topic.ends[partition]:
            places.append(place)
    return places


def _recorded_end(record: StateRecord, place: Place) -> int:
    name, partition = place
    if name not in record.topics:
        return 0
    return record.topics[name].offsets.get(partition, 0)


def readable(topics: Descriptions) -> Descriptions:
    """Returns the topics as far as a read_committed consumer gets: the rest is lost to it."""
    found: Descriptions = {}
    for name, topic in topics.items():
        found[name] = topic and topic._replace(ends={**topic.ends, **topic.held})
    return found


def make_abortable(producer: Producer, places: Iterable[Place], deadline: float) -> None:
    """Begins a transaction in these partitions, which the next producer aborts.

    Its end is then the end of the hanging one, too. Raises HangingTransaction.
    """
    producer.begin()
    for topic, partition in places:
        producer.send(topic, partition, b"", None, [])
    producer.drain(0, deadline)
    raise HangingTransaction(topics=names(places, ", "))


def names(places: Iterable[Place], separator: str) -> str:
    """Returns the topics of these partitions, each once, for a message."""
    return separator.join(sorted({topic for topic, _ in places}))
