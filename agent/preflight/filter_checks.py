"""Shows for `check` what each row filter does to a sample of its table: one that keeps all rows or none is seldom meant."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from agent.connectors.postgres import filters
from agent.connectors.postgres.filters import Connection
from agent.connectors.table import Criterion
from agent.messages import mark, translate
from agent.preflight.findings import Finding, ok, warning
from agent.resource import Resource

SAMPLE = 10_000  # rows
_PATIENCE = "3s"  # for the server to give them

_NO_ROWS = mark("{resource}: the table is empty, its filter cannot be tried")
_NO_SAMPLE = mark(
    "{resource}: the server gave no sample of the table in time, its filter was not tried"
)
_KEPT = mark("{resource}: {place} shares {kept} of {rows} rows of a sample")
_FIX = mark(
    "Compare the values with those of the column, and see whether the rows that leave are the right ones: SELECT {column}, count(*) FROM {table} GROUP BY 1;"
)


def check_filters(connection: Connection, resources: Sequence[Resource]) -> list[Finding]:
    """One finding for each condition, and one for all of a table where it has several."""
    found: list[Finding] = []
    for resource in resources:
        if resource.criteria:
            found += _filter(connection, resource)
    return found


def _filter(connection: Connection, resource: Resource) -> list[Finding]:
    sets = [[criterion] for criterion in resource.criteria]
    if len(sets) > 1:
        sets.append(list(resource.criteria))
    try:
        rows, *kept = _counted(connection, resource, sets)
    except psycopg.errors.QueryCanceled:
        return [ok("FILTER", _NO_SAMPLE, resource=resource.name)]
    if not rows:
        return [ok("FILTER", _NO_ROWS, resource=resource.name)]
    found = []
    for number, (criteria, passed) in enumerate(zip(sets, kept, strict=True)):
        place = f"filter[{number}]" if len(criteria) == 1 else "filter"
        found.append(_finding(resource, place, criteria, passed, rows))
    return found


def _finding(
    resource: Resource, place: str, criteria: Sequence[Criterion], kept: int, rows: int
) -> Finding:
    values = {"resource": resource.name, "place": place, "kept": kept, "rows": rows}
    if 0 < kept < rows:
        return ok("FILTER", _KEPT, **values)
    names = sql.SQL(", ").join(sql.Identifier(criterion.column) for criterion in criteria)
    table = sql.Identifier(resource.table.schema, resource.table.table)
    fix = translate(_FIX, column=names.as_string(), table=table.as_string())
    return warning("FILTER", _KEPT, fix, **values)


def _counted(
    connection: Connection, resource: Resource, sets: Sequence[Sequence[Criterion]]
) -> tuple[int, ...]:
    """How many rows the sample has, and how many pass each set of conditions."""
    counts: list[sql.Composable] = [sql.SQL("count(*)")]
    counts += [
        sql.SQL("count(*) filter (where {})").format(filters.condition(criteria))
        for criteria in sets
    ]
    only = sql.SQL("" if resource.table.partitioned else "ONLY ")
    columns = dict.fromkeys(criterion.column for criterion in resource.criteria)
    query = sql.SQL("select {} from (select {} from {}{} limit {}) t").format(
        sql.SQL(", ").join(counts),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        only,
        sql.Identifier(resource.table.schema, resource.table.table),
        sql.Literal(SAMPLE),
    )
    with connection.transaction():
        connection.execute(
            "select pg_catalog.set_config('statement_timeout', %s, true)", (_PATIENCE,)
        )
        row = connection.execute(query).fetchone()
    return tuple(int(count) for count in row or ())
