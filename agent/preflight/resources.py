"""Compiles the shared tables that a source's setup has found."""

from agent.config import ResourceSettings, Settings
from agent.connectors.plain_origin import PlainOrigin
from agent.connectors.setup import Shareable, Shareables
from agent.resource import Resource


def compiled(settings: Settings, tables: Shareables) -> list[Resource]:
    """Returns every resource of the configuration; the source can share all of them."""
    return [_compiled(settings, resource, tables[resource.name]) for resource in settings.resource]


def _compiled(settings: Settings, resource: ResourceSettings, found: Shareable) -> Resource:
    if found.criteria is None:
        # For want of a right the filter is not known, and the front-end table is all the same
        resource = resource.model_copy(update={"filter": []})
    # Nothing is published with it: what an event would say of its source does not matter
    table = found.table
    origin = PlainOrigin("", settings.kafka.prefix, "", table.schema, table.table)
    return Resource(resource, settings, table, origin, found.criteria or ())
