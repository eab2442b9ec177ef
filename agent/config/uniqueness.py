"""Finds names, tables, topics and columns of the configuration that are the same as others."""

from collections.abc import Callable, Iterator, Mapping

from agent.config import names
from agent.config.inconsistent import Contradiction
from agent.config.problems import dotted
from agent.config.resource import ResourceSettings, topic_of
from agent.messages import mark

# Reads the name of a source table as schema and table, as the source's settings do
Place = Callable[[str], tuple[str, str]]


def doubles(
    resources: Mapping[int, ResourceSettings], place: Place, prefix: str, front_url: str
) -> Iterator[Contradiction]:
    """Finds names, tables, targets and topics that an earlier resource uses already.

    `resources` stand by their number in the file. Targets are compared as the front end does,
    which may take two names for one.
    """
    seen: dict[tuple[str, str], int] = {}
    for number, resource in resources.items():
        reported: set[str] = set()
        used = {
            "name": resource.name,
            "table": ".".join(filter(None, place(resource.table))),
            "target": _front_table(resource, front_url),
            "topic": topic_of(resource, prefix),
        }
        for key, value in used.items():
            first = seen.setdefault((key, value), number)
            if first == number or _follows(key, reported):
                continue
            reported.add(key)
            message = mark("resource[{first}] has the same; each resource needs its own")
            if key == "target" and resources[first].target_name != resource.target_name:
                message = mark(
                    "for this front end it is the same table as that of resource[{first}]; "
                    "each resource needs its own"
                )
            yield ("resource", number, key), message, {"first": first}
        if _is_own(resource, front_url):
            message = mark(
                "names that begin with {own} are the agent's own: give target another one"
            )
            yield ("resource", number, "target"), message, {"own": names.OWN}


def _follows(key: str, reported: set[str]) -> bool:
    """Whether what was reported already says why this is the same, too."""
    return (key == "target" and "table" in reported) or (key == "topic" and "name" in reported)


def _is_own(resource: ResourceSettings, front_url: str) -> bool:
    """Whether the front-end table would have a name of the agent's own tables."""
    fold = names.table_fold(names.kind_of(front_url))
    table = resource.target_name.rpartition(".")[2]
    return fold(table).lower().startswith(names.OWN)


def _front_table(resource: ResourceSettings, front_url: str) -> str:
    """Returns schema and table as the front end compares them."""
    fold = names.table_fold(names.kind_of(front_url))
    schema, _, table = resource.target_name.rpartition(".")
    return f"{fold(schema or names.default_schema(front_url))}.{fold(table)}"


def same_columns(
    resources: Mapping[int, ResourceSettings], front_url: str
) -> Iterator[Contradiction]:
    """Finds columns of one front-end table whose names are the same for its database alone."""
    fold = names.column_fold(names.kind_of(front_url))
    message = mark(
        "for this front end it is the same column as {first}: change rename or technical"
    )
    for number, resource in resources.items():
        seen: dict[str, tuple[tuple[str | int, ...], str]] = {}
        for setting, name in resource.front_columns:
            first, before = seen.setdefault(fold(name), (setting, name))
            if before != name:
                yield ("resource", number, *setting), message, {"first": dotted(first)}
