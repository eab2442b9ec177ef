"""What the judge takes from an agent's configuration file, read by itself."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.checker.table import SharedTable

KEY = """
    SELECT a.attname
    FROM pg_class c
         JOIN pg_namespace s ON s.oid = c.relnamespace
         JOIN pg_index i ON i.indrelid = c.oid
         CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    WHERE s.nspname = %s AND c.relname = %s
          AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
          AND k.place <= i.indnkeyatts
    ORDER BY k.place
"""


def shared_tables(config: Path, source: str) -> list[SharedTable]:
    """Returns the resources of the configuration, with keys as the source's catalogue has them.

    Raises LookupError for a table without a key.
    """
    settings = tomllib.loads(config.read_text(encoding="utf-8"))
    with psycopg.connect(source) as connection:
        return [
            _table(resource, settings["kafka"]["prefix"], connection)
            for resource in settings["resource"]
        ]


def slot_of(config: Path) -> str:
    """Returns the name of the replication slot."""
    settings = tomllib.loads(config.read_text(encoding="utf-8"))
    name = settings.get("name", config.stem)
    return str(settings["source"].get("slot") or f"sync_agent_{name}"[:63])


def _table(resource: Mapping[str, Any], prefix: str, connection: psycopg.Connection) -> SharedTable:
    schema, _, table = resource["table"].rpartition(".")
    schema = schema or "public"
    key = [str(name) for (name,) in connection.execute(KEY, [schema, table])]
    if not key:
        raise LookupError(f"the source has no table {schema}.{table} with a key")
    rename = resource.get("rename", {})
    return SharedTable(
        topic=resource.get("topic") or f"{prefix}.{resource['name']}",
        schema=schema,
        table=table,
        columns={column: rename.get(column, column) for column in resource["columns"]},
        key=tuple(key),
        front=resource.get("target") or table,
        condition=condition(resource.get("filter", [])),
        deleted=resource.get("technical", {}).get("deleted"),
    )


def condition(tests: Sequence[Mapping[str, Any]]) -> sql.Composable:
    """Returns the filter of a resource: all tests hold.

    Values are compared by the column's own type, whose `=` the server takes.
    """
    return (
        sql.SQL(" AND ").join([sql.SQL("({})").format(_test(test)) for test in tests])
        if tests
        else sql.SQL("true")
    )


def _test(test: Mapping[str, Any]) -> sql.Composed:
    column = sql.Identifier(test["column"])
    if "is_null" in test:
        return sql.SQL("({} IS NULL) = {}").format(column, sql.Literal(test["is_null"]))
    query = "coalesce({} IN ({}), false)" if "is_in" in test else "coalesce({} NOT IN ({}), true)"
    values = [
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in test.get("is_in") or test["not_in"]
    ]
    return sql.SQL(query).format(column, sql.SQL(", ").join(map(sql.Literal, values)))
