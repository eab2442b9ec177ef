"""Reads what SQLite says of a front-end table."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

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

_Row = tuple[Any, ...]


class _Found(NamedTuple):
    """A table as rows of SQLite's catalogue."""

    # Of sqlite_master: type, name, tbl_name, rootpage, sql
    tables: list[_Row]
    triggers: list[_Row]

    # PRAGMA table_xinfo: number, name, type, not null, default, place in the key, hidden
    columns: list[_Row]

    # PRAGMA index_list without its number, and the rows of PRAGMA index_xinfo; unique ones only
    indexes: list[_Row]

    # PRAGMA foreign_key_list: of the table; of others, with the name of that table before
    outgoing: list[_Row]
    incoming: list[_Row]

    # Raised by any change of the schema
    version: int


def quote(name: str) -> str:
    """Returns an identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def read(connection: Connection, target: Target) -> Catalogue:
    """Reads the catalogue; a table that is not there has empty parts."""
    found = _read(connection, target.table)
    hazards = [
        *_of_columns(target, found.columns),
        *_of_indexes(target, found.indexes),
        *_of_checks(target, found.tables),
        *c.foreign_keys(_outgoing(target, found.outgoing), _incoming(found.incoming)),
        *_of_triggers(found.triggers),
    ]
    rewriting = ", ".join(str(row[1]) for row in found.triggers)
    return Catalogue(_parts(target, found), hazards, rewriting)


def _read(connection: Connection, table: str) -> _Found:
    """Asks for everything that the catalogue has of a table."""

    def rows(statement: str) -> list[_Row]:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]

    schema = rows("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master")
    named = [row for row in schema if str(row[2]).lower() == table.lower()]

    indexes: list[_Row] = []
    for _, name, unique, *more in rows(f"PRAGMA index_list({quote(table)})"):
        if unique:
            columns = rows(f"PRAGMA index_xinfo({quote(name)})")
            indexes.append((name, unique, *more, columns))

    incoming: list[_Row] = []
    for kind, name, *_ in schema:
        if kind != "table" or name.lower() == table.lower():
            continue
        for row in rows(f"PRAGMA foreign_key_list({quote(name)})"):
            if str(row[2]).lower() == table.lower():
                incoming.append((name, *row))

    return _Found(
        tables=[row for row in named if row[0] in ("table", "view")],
        triggers=[row for row in named if row[0] == "trigger"],
        columns=rows(f"PRAGMA table_xinfo({quote(table)})"),
        indexes=indexes,
        outgoing=rows(f"PRAGMA foreign_key_list({quote(table)})"),
        incoming=incoming,
        version=connection.exec_driver_sql("PRAGMA schema_version").scalar_one(),
    )


def _parts(target: Target, found: _Found) -> dict[str, str]:
    """Returns the fingerprint."""
    written = c.shared_columns(target)
    ours = [row[1:] for row in found.columns if row[1] in written]
    others = [row[1:] for row in found.columns if row[1] not in written]
    key = [row for row in found.indexes if row[2] == "pk"]
    unique = [row for row in found.indexes if row[2] != "pk"]

    # Any change of the schema changes the storage: nothing else tells a table that was made again
    # from the one before it.
    storage: list[_Row] = []
    if found.tables:
        pages = [row[3] for row in found.tables]
        storage = [(found.version, *pages)]
    return {
        "table": c.text(row[:3] + row[4:] for row in found.tables),
        "storage": c.text(storage),
        "columns": c.text(ours),
        "others": c.text(others),
        "key": c.text(key),
        "unique": c.text(unique),
        "foreign": c.text(found.outgoing),
        "referenced": c.text(found.incoming),
        "triggers": c.text((row[1], row[4]) for row in found.triggers),
    }


def _of_columns(target: Target, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of columns: generated ones of ours, and others with a default."""
    ours = c.shared_columns(target)
    others = []
    for _, name, _, not_null, default, _, generated in rows:
        if name in ours and generated:
            yield Hazard(c.COLUMN, name, "", phrase("column {name} is generated", name=name))
        if not_null or default is not None or generated:
            others.append((name, quote(name)))
    yield from c.extra_columns(target, others, f"ALTER TABLE {quote(target.table)}", "DROP COLUMN")


def _of_indexes(target: Target, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of unique indexes besides the key."""
    for name, _, origin, *_ in rows:
        if origin == "c":
            yield Hazard(c.UNIQUE, name, f"DROP INDEX {quote(name)};")
        elif origin == "u":  # of a UNIQUE in CREATE TABLE, which nothing but a new table removes
            yield Hazard(c.UNIQUE, name, _made_again(target))


def _of_checks(target: Target, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of CHECK constraints, which are in the text of CREATE TABLE alone."""
    for *_, statement in rows:
        plain = _OPAQUE.sub(" x ", str(statement))
        for number in range(1, len(_CHECK.findall(plain)) + 1):
            yield Hazard(c.CHECK, f"({number})", _made_again(target))


def _of_triggers(rows: list[_Row]) -> Iterator[Hazard]:
    for row in rows:
        yield Hazard(c.TRIGGER, row[1], f"DROP TRIGGER {quote(row[1])};")


def _made_again(target: Target) -> str:
    """Returns the remedy where SQLite has no statement that alters a table."""
    return f"DROP TABLE {quote(target.table)};  -- sync-agent init --apply"


def _outgoing(target: Target, rows: list[_Row]) -> list[ForeignKey]:
    """Returns the foreign keys of the table, named by their columns: the catalogue has no names."""
    columns: dict[int, list[str]] = {}
    last: dict[int, _Row] = {}
    for row in rows:
        columns.setdefault(row[0], []).append(row[3])
        last[row[0]] = row

    drop = _made_again(target).rstrip(";")
    found = []
    for number, row in last.items():
        name = f"({', '.join(columns[number])})"
        found.append(ForeignKey(name, row[2], row[6], row[5], drop))
    return found


def _incoming(rows: list[_Row]) -> list[ForeignKey]:
    """Returns the foreign keys of other tables that refer to this one."""
    last = {(row[0], row[1]): row for row in rows}
    found = []
    for (holder, _), row in last.items():
        drop = f"DROP TABLE {quote(holder)}"
        found.append(ForeignKey(f"({row[4]})", holder, row[7], row[6], drop))
    return found
