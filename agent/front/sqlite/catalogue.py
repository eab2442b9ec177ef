"""Reads what SQLite says of a front-end table."""

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from agent.front import catalogue as c
from agent.front.catalogue import Catalogue, ForeignKey, Hazard
from agent.messages import phrase
from agent.resource import Target

# Comments, literals and quoted names: words in them are no clauses
_OPAQUE = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]""", re.DOTALL
)
_CHECK = re.compile(r"\bCHECK\s*\(", re.IGNORECASE)


def quote(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def read(connection: Connection, target: Target) -> Catalogue:
    """Reads the catalogue; a table that is not there has empty parts."""

    def pragma(name: str, of: str = target.table) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.exec_driver_sql(f"PRAGMA {name}({quote(of)})")]

    schema = [
        tuple(row)
        for row in connection.exec_driver_sql(
            "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master"
        )
    ]
    named = [row for row in schema if str(row[2]).lower() == target.table.lower()]
    tables = [row for row in named if row[0] in ("table", "view")]
    triggers = [row for row in named if row[0] == "trigger"]
    columns, indexes, outgoing = (
        pragma(name) for name in ("table_xinfo", "index_list", "foreign_key_list")
    )
    indexed = [(*row[1:], pragma("index_xinfo", row[1])) for row in indexes if row[2]]
    incoming = [
        (name, *row)
        for kind, name, *_ in schema
        if kind == "table" and name.lower() != target.table.lower()
        for row in pragma("foreign_key_list", name)
        if str(row[2]).lower() == target.table.lower()
    ]
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    ours = {column.name for column in target.columns} | set(target.technical.values())
    parts = {
        "table": c.text(row[:3] + row[4:] for row in tables),
        # Any change of the schema: nothing else tells a table made again from the one before it
        "storage": c.text([(version, *(row[3] for row in tables))] if tables else []),
        "columns": c.text(row[1:] for row in columns if row[1] in ours),
        "others": c.text(row[1:] for row in columns if row[1] not in ours),
        "key": c.text(row for row in indexed if row[2] == "pk"),
        "unique": c.text(row for row in indexed if row[2] != "pk"),
        "foreign": c.text(outgoing),
        "referenced": c.text(incoming),
        "triggers": c.text((row[1], row[4]) for row in triggers),
    }
    hazards = [
        *_of_columns(target, columns),
        *_of_indexes(target, indexed),
        *_of_checks(target, tables),
        *c.foreign_keys(_foreign(target, outgoing), _referring(incoming)),
        *(Hazard(c.TRIGGER, row[1], f"DROP TRIGGER {quote(row[1])};") for row in triggers),
    ]
    return Catalogue(parts, hazards, rewriting=", ".join(str(row[1]) for row in triggers))


def _of_columns(target: Target, rows: list[tuple[Any, ...]]) -> Iterator[Hazard]:
    ours = {column.name for column in target.columns} | set(target.technical.values())
    for row in rows:
        if row[1] in ours and row[6]:
            yield Hazard(c.COLUMN, row[1], "", phrase("column {name} is generated", name=row[1]))
    columns = [(row[1], quote(row[1])) for row in rows if row[3] or row[4] is not None or row[6]]
    yield from c.extra_columns(target, columns, f"ALTER TABLE {quote(target.table)}", "DROP COLUMN")


def _of_indexes(target: Target, rows: list[tuple[Any, ...]]) -> Iterator[Hazard]:
    for name, _, origin, *_ in rows:
        if origin == "c":
            yield Hazard(c.UNIQUE, name, f"DROP INDEX {quote(name)};")
        elif origin == "u":  # of a UNIQUE in CREATE TABLE, which nothing but a new table removes
            yield Hazard(c.UNIQUE, name, _anew(target))


def _of_checks(target: Target, rows: list[tuple[Any, ...]]) -> Iterator[Hazard]:
    for row in rows:
        for number, _ in enumerate(_CHECK.finditer(_OPAQUE.sub(" x ", str(row[4]))), 1):
            yield Hazard(c.CHECK, f"({number})", _anew(target))


def _anew(target: Target) -> str:
    return f"DROP TABLE {quote(target.table)};  -- sync-agent init --apply"


def _foreign(target: Target, rows: list[tuple[Any, ...]]) -> list[ForeignKey]:
    """SQLite's catalogue has no names of foreign keys: the columns stand for them."""
    columns: dict[int, list[str]] = {}
    for number, _, _, source, *_ in rows:
        columns.setdefault(number, []).append(source)
    ends = {row[0]: row for row in rows}
    return [
        ForeignKey(
            f"({', '.join(columns[number])})", row[2], row[6], row[5], _anew(target).rstrip(";")
        )
        for number, row in ends.items()
    ]


def _referring(rows: list[tuple[Any, ...]]) -> list[ForeignKey]:
    found = {(row[0], row[1]): row for row in rows}
    return [
        ForeignKey(f"({row[4]})", holder, row[7], row[6], f"DROP TABLE {quote(holder)}")
        for (holder, _), row in found.items()
    ]
