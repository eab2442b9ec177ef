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

# Of all tables in one question, for there may be many
_FOREIGN_KEYS = (
    "SELECT m.name, f.* FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f"
    " WHERE m.type = 'table'"
)


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
    outgoing = _outgoing(target, found.outgoing)
    incoming = _incoming(found.incoming)
    hazards = [
        *_of_columns(target, found.columns),
        *_of_indexes(target, found.indexes),
        *_of_checks(target, found.tables),
        *c.foreign_keys(outgoing, incoming),
        *_of_triggers(found.triggers),
    ]

    triggers = [str(name) for _, name, *_ in found.triggers]
    parts = _parts(target, found)
    return Catalogue(parts, hazards, ", ".join(triggers))


def _read(connection: Connection, table: str) -> _Found:
    """Asks for everything that the catalogue has of a table."""
    quoted = quote(table)
    schema = _rows(connection, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master")

    tables: list[_Row] = []
    triggers: list[_Row] = []
    for row in schema:
        kind, _, holder, *_ = row
        if not _same_name(holder, table):
            continue
        if kind in ("table", "view"):
            tables.append(row)
        elif kind == "trigger":
            triggers.append(row)

    ((version,),) = _rows(connection, "PRAGMA schema_version")
    return _Found(
        tables=tables,
        triggers=triggers,
        columns=_rows(connection, f"PRAGMA table_xinfo({quoted})"),
        indexes=_unique_indexes(connection, table),
        outgoing=_rows(connection, f"PRAGMA foreign_key_list({quoted})"),
        incoming=_references(connection, table),
        version=version,
    )


def _unique_indexes(connection: Connection, table: str) -> list[_Row]:
    """Returns the unique indexes of a table, each with its columns."""
    found: list[_Row] = []
    indexes = _rows(connection, f"PRAGMA index_list({quote(table)})")
    for _, name, unique, *more in indexes:
        if unique:
            columns = _rows(connection, f"PRAGMA index_xinfo({quote(name)})")
            found.append((name, unique, *more, columns))
    return found


def _references(connection: Connection, table: str) -> list[_Row]:
    """Returns the foreign keys from other tables, each with the name of its own table."""
    found: list[_Row] = []
    for row in _rows(connection, _FOREIGN_KEYS):
        holder, _, _, referred, *_ = row
        if _same_name(referred, table) and not _same_name(holder, table):
            found.append(row)
    return found


def _rows(connection: Connection, statement: str) -> list[_Row]:
    found = connection.exec_driver_sql(statement)
    return [tuple(row) for row in found]


def _same_name(name: object, table: str) -> bool:
    """Whether SQLite takes a name for that of the table."""
    return str(name).lower() == table.lower()


def _parts(target: Target, found: _Found) -> dict[str, str]:
    """Returns the fingerprint."""
    written = c.shared_columns(target)
    ours = []
    others = []
    for _, name, *more in found.columns:
        described = (name, *more)
        if name in written:
            ours.append(described)
        else:
            others.append(described)

    key = []
    unique = []
    for index in found.indexes:
        origin = index[2]
        if origin == "pk":
            key.append(index)
        else:
            unique.append(index)

    tables = []
    pages = []
    for kind, name, table, page, statement in found.tables:
        tables.append((kind, name, table, statement))
        pages.append(page)

    # Any change of the schema changes the storage: nothing else tells a table that was made again
    # from the one before it.
    storage: list[_Row] = []
    if tables:
        storage = [(found.version, *pages)]

    triggers = []
    for _, name, _, _, statement in found.triggers:
        triggers.append((name, statement))

    return {
        "table": c.text(tables),
        "storage": c.text(storage),
        "columns": c.text(ours),
        "others": c.text(others),
        "key": c.text(key),
        "unique": c.text(unique),
        "foreign": c.text(found.outgoing),
        "referenced": c.text(found.incoming),
        "triggers": c.text(triggers),
    }


def _of_columns(target: Target, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of columns: generated ones of ours, and others with a default."""
    ours = c.shared_columns(target)
    others = []
    for _, name, _, not_null, default, _, generated in rows:
        if name in ours and generated:
            reason = phrase("column {name} is generated", name=name)
            yield Hazard(c.COLUMN, name, "", reason)
        if not_null or default is not None or generated:
            others.append((name, quote(name)))

    alter = f"ALTER TABLE {quote(target.table)}"
    yield from c.extra_columns(target, others, alter, "DROP COLUMN")


def _of_indexes(target: Target, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of unique indexes besides the key."""
    for name, _, origin, *_ in rows:
        if origin == "c":
            remedy = f"DROP INDEX {quote(name)};"
            yield Hazard(c.UNIQUE, name, remedy)
        elif origin == "u":
            # Of a UNIQUE in CREATE TABLE, which nothing but a new table removes
            yield Hazard(c.UNIQUE, name, _made_again(target))


def _of_checks(target: Target, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of CHECK constraints, which are in the text of CREATE TABLE alone."""
    remedy = _made_again(target)
    for row in rows:
        statement = str(row[4])
        plain = _OPAQUE.sub(" x ", statement)
        checks = _CHECK.findall(plain)
        for number, _ in enumerate(checks, start=1):
            yield Hazard(c.CHECK, f"({number})", remedy)


def _of_triggers(rows: list[_Row]) -> Iterator[Hazard]:
    for _, name, *_ in rows:
        remedy = f"DROP TRIGGER {quote(name)};"
        yield Hazard(c.TRIGGER, name, remedy)


def _made_again(target: Target) -> str:
    """Returns the remedy where SQLite has no statement that alters a table."""
    return f"DROP TABLE {quote(target.table)};  -- sync-agent init --apply"


def _outgoing(target: Target, rows: list[_Row]) -> list[ForeignKey]:
    """Returns the foreign keys of the table, named by their columns: the catalogue has no names."""
    columns: dict[int, list[str]] = {}
    last: dict[int, _Row] = {}
    for row in rows:
        number, _, _, column, *_ = row
        names = columns.setdefault(number, [])
        names.append(column)
        last[number] = row

    drop = _made_again(target).rstrip(";")
    found = []
    for number, row in last.items():
        _, _, table, _, _, on_update, on_delete, *_ = row
        names = columns[number]
        key = ForeignKey(
            f"({', '.join(names)})",
            table,
            on_delete,
            on_update,
            drop,
        )
        found.append(key)
    return found


def _incoming(rows: list[_Row]) -> list[ForeignKey]:
    """Returns the foreign keys of other tables that refer to this one."""
    last: dict[tuple[str, int], _Row] = {}
    for row in rows:
        holder, number, *_ = row
        last[holder, number] = row

    found = []
    for row in last.values():
        holder, _, _, _, column, _, on_update, on_delete, *_ = row
        key = ForeignKey(
            f"({column})",
            holder,
            on_delete,
            on_update,
            drop=f"DROP TABLE {quote(holder)}",
        )
        found.append(key)
    return found
