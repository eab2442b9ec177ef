"""Findings about a shared table, whatever the way in which its changes are found."""

from collections.abc import Iterator

from agent.config import ResourceSettings
from agent.connectors.database.catalogue import ReadTable
from agent.findings import Finding, error
from agent.messages import mark, translate


def names_of(resource: ResourceSettings) -> dict[str, str]:
    """Returns what each finding about a table names."""
    return {"resource": resource.name, "table": resource.table}


def missing_table(resource: ResourceSettings) -> Finding:
    """Says that the table is not there."""
    text = mark("{resource}: the source table {table} does not exist")
    fix = mark(
        "Correct table of this [[resource]] (exact spelling, schema.table), or create the table."
    )
    return error("TABLE_MISSING", text, translate(fix), **names_of(resource))


def unlisted_key(resource: ResourceSettings, read: ReadTable) -> Iterator[Finding]:
    """Yields that columns of the key are not shared, where that is so."""
    unlisted = [name for name in read.table.key if name not in resource.columns]
    if unlisted:
        text = mark("{resource}: key column {columns} is not listed in columns")
        names = names_of(resource)
        yield error("KEY_UNLISTED", text, **names, columns=", ".join(unlisted))
