"""Shows for `check` what each row filter does to a sample of its table.

A filter that keeps all rows or none is seldom meant.
"""

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from agent.connectors.postgres import filters
from agent.connectors.postgres.filters import Connection
from agent.connectors.setup import Shareable
from agent.connectors.table import Criterion, SourceTable
from agent.findings import Finding, ok, warning
from agent.messages import mark, translate

SAMPLE = 10_000  # rows
_PATIENCE = "3s"  # for the server to give them

_NO_ROWS = mark("{resource}: the table is empty, its filter cannot be tried")
_NO_SAMPLE = mark(
    "{resource}: the server gave no sample of the table in time, its filter was not tried"
)
_KEPT = mark("{resource}: {place} shares {kept} of {rows} rows of a sample")
_FIX = mark(
    "Compare the values with those of the column, and see whether the rows that leave "
    "are the right ones: SELECT {column}, count(*) FROM {table} GROUP BY 1;"
)


def check_filters(connection: Connection, shareable: Mapping[str, Shareable]) -> list[Finding]:
    """Returns one finding for each condition, and one for all of a table where it has several."""
    found: list[Finding] = []
    for name, (table, criteria) in shareable.items():
        if criteria:
            found += _filter(connection, name, table, criteria)
    return found


def _filter(
    connection: Connection, name: str, table: SourceTable, criteria: Sequence[Criterion]
) -> list[Finding]:
    """Tries the conditions of one table."""
    sets = [[criterion] for criterion in criteria]
    if len(sets) > 1:
        sets.append(list(criteria))
    try:
        rows, *kept = _counted(connection, table, sets)
    except psycopg.errors.QueryCanceled:
        return [ok("FILTER", _NO_SAMPLE, resource=name)]
    if not rows:
        return [ok("FILTER", _NO_ROWS, resource=name)]

    found = []
    for number, (tried, passed) in enumerate(zip(sets, kept, strict=True)):
        place = f"filter[{number}]" if len(tried) == 1 else "filter"
        values = {"resource": name, "place": place, "kept": passed, "rows": rows}
        if 0 < passed < rows:
            found.append(ok("FILTER", _KEPT, **values))
        else:
            found.append(warning("FILTER", _KEPT, _fix(table, tried), **values))
    return found


def _fix(table: SourceTable, criteria: Sequence[Criterion]) -> str:
    """Returns the advice for conditions that keep all rows or none."""
    names = sql.SQL(", ").join(sql.Identifier(criterion.column) for criterion in criteria)
    qualified = sql.Identifier(table.schema, table.table)
    return translate(_FIX, column=names.as_string(), table=qualified.as_string())


def _counted(
    connection: Connection, table: SourceTable, sets: Sequence[Sequence[Criterion]]
) -> tuple[int, ...]:
    """Counts the rows of the sample, and those that pass each set of conditions."""
    counts: list[sql.Composable] = [sql.SQL("count(*)")]
    columns: dict[str, None] = {}
    for criteria in sets:
        passes = filters.condition(criteria)
        counts.append(sql.SQL("count(*) filter (where {})").format(passes))
        columns.update(dict.fromkeys(criterion.column for criterion in criteria))

    query = sql.SQL("select {} from (select {} from {}{} limit {}) t").format(
        sql.SQL(", ").join(counts),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL("" if table.partitioned else "ONLY "),
        sql.Identifier(table.schema, table.table),
        sql.Literal(SAMPLE),
    )
    with connection.transaction():
        connection.execute(
            "select pg_catalog.set_config('statement_timeout', %s, true)", (_PATIENCE,)
        )
        row = connection.execute(query).fetchone()
    return tuple(int(count) for count in row or ())
