"""Makes sample events of a source's own rows; on screen stands what a value is, never the value."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import orjson

from agent.connectors.changes import Begin
from agent.connectors.discovery import Discovery
from agent.errors import AgentError
from agent.messages import mark, translate
from agent.resource import FrontRow, Resource
from agent.setup.proposals import Proposal

EVENTS = 10  # of all tables together


class Sample(NamedTuple):
    """One event with its values masked, or why there is none."""

    topic: str
    key: str = ""
    value: str = ""
    reason: str = ""


def sample_events(
    discovery: Discovery, proposals: Sequence[Proposal], resources: Sequence[Resource]
) -> Iterator[Sample]:
    """Yields events as the first copy would publish them, of the tables in their order.

    They are EVENTS where there are as many rows.
    """
    share = ceil(EVENTS / len(resources))
    left = EVENTS
    for proposal, resource in zip(proposals, resources, strict=True):
        if not left:
            return
        try:
            rows = discovery.rows(
                proposal.found, [column.name for column in resource.columns], min(share, left)
            )
        except AgentError as cause:
            yield Sample(resource.topic, reason=f"{cause.code}: {cause.text()}")
            continue
        if not rows:
            yield Sample(resource.topic, reason=translate(mark("the table is empty")))
        left -= len(rows)
        for row in rows:
            yield _event(resource, row)


def _event(resource: Resource, row: FrontRow) -> Sample:
    """Returns the event of a row that was read, masked."""
    now = time.time_ns()
    begin = Begin(0, 0, now // 1000)
    written = resource.envelope.value(
        b"r", b"null", resource.row_json(row), resource.origin.read(begin, 0), now
    )
    value = json.loads(written)
    # With a schema around it, the event is the payload
    payload = value.get("payload", value)
    payload["after"] = _masked(resource, payload["after"], row)

    key = tuple([row[i] or "" for i in resource.key])
    names = [resource.target.columns[i].name for i in resource.key]
    masked_key = _masked(resource, orjson.loads(resource.key_json(key)), row)
    return Sample(resource.topic, _json({name: masked_key[name] for name in names}), _json(payload))


def _masked(resource: Resource, values: Mapping[str, Any], row: FrontRow) -> dict[str, Any]:
    """Returns the values as their type and length; that there is none may be seen."""
    masked: dict[str, Any] = {}
    for index, column in enumerate(resource.target.columns):
        if column.name not in values:
            continue
        text = row[index]
        masked[column.name] = None
        if text is not None:
            said = mark("<{type}, {length} characters>")
            masked[column.name] = translate(said, type=column.type_name, length=len(text))
    return masked


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
