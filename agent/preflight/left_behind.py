"""Names what is no longer shared and still stands in the front end, for `check` and `init`."""

from collections.abc import Iterator, Sequence

from agent.config import KafkaSettings, ResourceSettings, Topics
from agent.findings import Finding, warning
from agent.front import unshared
from agent.front.store import SqlFront
from agent.messages import mark
from agent.outbox.reader import Reader
from agent.preflight import kafka_commands


def left_behind(
    resources: Sequence[ResourceSettings],
    kafka: KafkaSettings,
    topics: Topics,
    front: SqlFront,
) -> Iterator[Finding]:
    """Yields one for each table that nothing is shared into any more.

    And one for the columns of a table that goes on, where some are no longer shared.
    """
    rows = Reader(front.engine, front.agent).resources()
    for left in unshared.leftovers(resources, front):
        lines = [f"sync-agent forget {left.resource}", *left.statements]
        values = {"resource": left.resource, "table": front.place_name(left.place)}
        if left.columns:
            message = mark(
                "{resource}: columns of the front-end table {table} are no longer shared, "
                "and still hold what they held: {columns}"
            )
            values["columns"] = ", ".join(left.columns)
            yield warning("LEFT_BEHIND", message, "\n".join(lines), **values)
            continue
        topic = unshared.topic_left(topics, rows, left.resource)
        message = mark(
            "{resource} is no longer shared into the front-end table {table}, "
            "which still holds its rows"
        )
        if topic:
            message = mark(
                "{resource} is no longer shared: the front-end table {table} still holds its rows, "
                "and topic {topic} its events"
            )
            lines.append(kafka_commands.delete_topic(kafka, topic))
        yield warning("LEFT_BEHIND", message, "\n".join(lines), **values, topic=topic)
