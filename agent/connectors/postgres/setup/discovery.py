"""Lists the tables of a PostgreSQL database that may be shared; the catalogue needs no grant."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from agent.config import PostgresSettings, ResourceSettings
from agent.config.names import OWN
from agent.connectors.discovery import FoundColumn, FoundTable, Wanted
from agent.connectors.postgres import catalogue
from agent.connectors.postgres.catalogue import Catalogued
from agent.connectors.postgres.copy_out import copy_out
from agent.connectors.postgres.session import address, guarded, opened
from agent.connectors.postgres.setup import facts, login
from agent.connectors.postgres.setup.administrator import administrator
from agent.connectors.postgres.setup.tables import GENERATED_SINCE, check_table
from agent.connectors.table import SourceColumn, TableName
from agent.errors import AgentError, ReadRefused
from agent.findings import Finding, errors, failed
from agent.values.lines import row_of

Connection = psycopg.Connection[Any]

# Partitions come with their roots, and what a session has for itself is nobody else's
_NAMES = """
    select n.nspname::text, c.relname::text
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
      and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    order by 1, 2"""

_DETAILS = f"""
    select n.nspname::text as schema, c.relname::text as name,
           coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') as comment,
           size.row_count, size.byte_count,
           array(select jsonb_build_array(
                     a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
                     coalesce(pg_catalog.col_description(c.oid, a.attnum), ''))
                 from pg_catalog.pg_attribute a
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                 order by a.attnum) as columns
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    cross join lateral (
        select case when min(l.reltuples) >= 0 then sum(l.reltuples)::int8 end as row_count,
               sum(pg_catalog.pg_table_size(l.oid))::int8 as byte_count
        from pg_catalog.pg_class l
        where l.oid in ({catalogue.tree_of("c.oid")}) and l.relkind <> 'p') size
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))"""


class PostgresDiscovery:
    """See Discovery. Acts as the administrator where a URL is given, else as the agent's role."""

    def __init__(self, source: PostgresSettings, admin_url: str | None) -> None:
        self._source = source
        self._admin_url = admin_url

    @property
    def address(self) -> str:
        """See Discovery.address."""
        return address(self._source)

    def troubles(self) -> list[Finding]:
        """See Discovery.troubles."""
        if self._admin_url is None:
            unreached = errors(login.check_network(self._source))
            if unreached:
                return unreached
        try:
            with self._connected():
                return []
        except AgentError as cause:
            return [failed(cause)]
        except psycopg.Error as cause:
            return [login.refused(self._source, str(cause))]

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Opens a connection. Raises psycopg.Error, and errors of ours."""
        if self._admin_url is None:
            with opened(self._source) as connection:
                yield connection
            return
        with administrator(self._source, self._admin_url) as connected:
            assert connected is not None, "there is a URL"
            yield connected

    def tables(self, wanted: Wanted) -> list[FoundTable]:
        """See Discovery.tables."""
        with guarded(self._source), self._connected() as connection:
            names = []
            for schema, name in connection.execute(_NAMES).fetchall():
                if wanted((schema, name)) and not name.lower().startswith(OWN):
                    names.append((schema, name))
            return _details(connection, names)

    def rows(
        self, found: FoundTable, columns: Sequence[str], limit: int
    ) -> list[tuple[str | None, ...]]:
        """See Discovery.rows: over the same texts as a page has."""
        query = sql.SQL("copy (select {} from {}{} limit {}) to stdout").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL("" if found.table.partitioned else "only "),
            sql.Identifier(found.schema, found.name),
            sql.Literal(limit),
        )
        rows = []
        with guarded(self._source), self._connected() as connection:
            try:
                for lines in copy_out(connection, query.as_bytes(connection)):
                    rows += [row_of(line) for line in lines]
            except psycopg.errors.InsufficientPrivilege as cause:
                raise ReadRefused(
                    resource=found.name,
                    table=found.full_name,
                    reason=f"SQLSTATE {cause.sqlstate}",
                ) from None
        return rows


def _details(connection: Connection, names: Sequence[TableName]) -> list[FoundTable]:
    """Returns tables with everything that is known of them, in the order of their names."""
    catalogued = catalogue.tables(connection, list(names))
    traits = facts.traits(connection, [entry.table.oid for entry in catalogued.values()])
    version = facts.server(connection).version

    listed = [schema for schema, _ in names], [name for _, name in names]
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        details: list[Any] = cursor.execute(_DETAILS.encode(), listed).fetchall()
    by_name = {(row.schema, row.name): row for row in details}

    found = []
    for place in names:
        entry, row = catalogued.get(place), by_name.get(place)
        # A table without columns, or one that was dropped meanwhile, is nothing to share
        if entry is None or row is None:
            continue
        table = _found(entry, row, version)
        judged = _judged(table, entry, traits.get(entry.table.oid), version)
        found.append(table._replace(obstacles=tuple(judged)))
    return found


def _found(entry: Catalogued, row: Any, version: int) -> FoundTable:
    known = {column.name: column for column in entry.table.columns}
    columns = []
    for name, declared, comment in row.columns:
        column = known.get(name)
        if column is not None and not _is_streamed(column, version):
            column = None
        columns.append(FoundColumn(name, declared, comment, column))
    return FoundTable(
        schema=row.schema,
        name=row.name,
        columns=tuple(columns),
        table=entry.table,
        comment=row.comment,
        rows=row.row_count,
        bytes=row.byte_count,
    )


def _is_streamed(column: SourceColumn, version: int) -> bool:
    """Tells whether the log has the values of a column: of a generated one, it depends."""
    if column.generated == "s":
        return version >= GENERATED_SINCE
    return column.generated == ""


def _judged(
    table: FoundTable, entry: Catalogued, traits: facts.Traits | None, version: int
) -> list[Finding]:
    """Returns what stands against sharing the table with every column that is streamed."""
    resource = ResourceSettings.model_construct(
        name=table.name,
        table=table.full_name,
        columns=[column.name for column in table.readable],
    )
    return errors(check_table(resource, entry, traits, version))
