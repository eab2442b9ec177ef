"""Shows how each shared column travels: its type at the source, in the front end, in an event."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from agent.config import Settings
from agent.errors import AgentError
from agent.front.opening import front_of
from agent.front.store import SqlFront
from agent.messages import mark, translate
from agent.resource import Resource
from agent.setup.blocks import one_line
from agent.setup.proposals import Proposal
from agent.values import connect

_HEADINGS = (
    mark("column"),
    mark("at the source"),
    mark("canonical type"),
    mark("in the front end"),
    mark("schema in events"),
)


def type_mapping(
    settings: Settings, proposals: Sequence[Proposal], resources: Sequence[Resource]
) -> list[Table]:
    """Returns a table for each resource; nothing is connected to or made for it."""
    front = front_of(settings.front, settings.agent)
    try:
        made = []
        for proposal, resource in zip(proposals, resources, strict=True):
            made.append(_of_resource(front, proposal, resource))
        return made
    finally:
        front.engine.dispose()


def _of_resource(front: SqlFront, proposal: Proposal, resource: Resource) -> Table:
    title = f"{proposal.found.full_name} → {resource.target.name}, {resource.topic}"
    table = Table(*[translate(heading) for heading in _HEADINGS], title=Text(one_line(title)))
    declared = {column.name: column.declared for column in proposal.found.columns}
    for index, column in enumerate(resource.columns):
        new = resource.target.columns[index].name
        name = column.name if new == column.name else f"{column.name} → {new}"
        cells = [
            one_line(name),
            one_line(declared[column.name]),
            column.base_type,
            _front_type(front, resource, index),
            _schema(resource, index),
        ]
        # Names of columns are no markup
        table.add_row(*[Text(cell) for cell in cells])
    return table


def _front_type(front: SqlFront, resource: Resource, index: int) -> str:
    """Returns the type that `init` would give the column; its error where there is none."""
    try:
        # A type that SQLite leaves out keeps every value as it is
        declared = front.column_type(resource.target, index)
        return declared or translate(mark("no type"))
    except AgentError as cause:
        return cause.code


def _schema(resource: Resource, index: int) -> str:
    schema = connect.schema_of(resource.columns[index].type)
    name = schema.get("name")
    return f"{schema['type']} ({name})" if name else str(schema["type"])
