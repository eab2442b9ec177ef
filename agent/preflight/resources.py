"""Compiles the shared tables that a source's setup has found."""

from collections.abc import Sequence

from agent.config import KafkaSettings, ResourceSettings
from agent.connectors.plain_origin import PlainOrigin
from agent.connectors.setup import Shareable, Shareables
from agent.resource import Resource


def compiled(
    resources: Sequence[ResourceSettings],
    kafka: KafkaSettings,
    tables: Shareables,
) -> list[Resource]:
    """Returns every resource of the configuration; the source can share all of them."""
    return [_compiled(resource, kafka, tables[resource.name]) for resource in resources]


def _compiled(resource: ResourceSettings, kafka: KafkaSettings, found: Shareable) -> Resource:
    if found.criteria is None:
        # For want of a right the filter is not known, and the front-end table is all the same
        resource = resource.model_copy(update={"filter": []})
    # Nothing is published with it: what an event would say of its source does not matter
    table = found.table
    origin = PlainOrigin("", kafka.prefix, "", table.schema, table.table)
    return Resource(resource, kafka, table, origin, found.criteria or ())
