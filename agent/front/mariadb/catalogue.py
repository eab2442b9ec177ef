"""Reads what MariaDB or MySQL say of a front-end table."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, TextClause, text

from agent.errors import FrontBusy
from agent.front import catalogue as c
from agent.front.catalogue import Catalogue, ForeignKey, Hazard
from agent.messages import mark, phrase
from agent.resource import Target

# Names of tables are compared without case in these views, so each answer begins with the name that
# it is for
_HERE = "table_schema = coalesce(:schema, database()) AND table_name = :table"
_TABLE = text(f"""
    SELECT table_name, engine, table_type, create_time, table_schema
    FROM information_schema.tables WHERE {_HERE}""")
_COLUMNS = text(f"""
    SELECT table_name, column_name, column_type, is_nullable, column_default, extra,
           character_set_name, collation_name, generation_expression
    FROM information_schema.columns WHERE {_HERE}""")
_INDEXES = text(f"""
    SELECT table_name, index_name, seq_in_index, column_name, sub_part
    FROM information_schema.statistics WHERE {_HERE} AND non_unique = 0""")
_FOREIGN = text("""
    SELECT r.table_name, r.constraint_name, r.referenced_table_name, r.delete_rule, r.update_rule,
           r.constraint_schema
    FROM information_schema.referential_constraints r
    WHERE r.constraint_schema = coalesce(:schema, database()) AND r.table_name = :table""")
_REFERRING = text("""
    SELECT r.referenced_table_name, r.constraint_name, r.table_name, r.delete_rule, r.update_rule,
           r.constraint_schema
    FROM information_schema.referential_constraints r
    WHERE r.unique_constraint_schema = coalesce(:schema, database())
      AND r.referenced_table_name = :table""")
_TRIGGERS = text("""
    SELECT event_object_table, trigger_name, action_timing, event_manipulation, action_statement,
           created
    FROM information_schema.triggers
    WHERE event_object_schema = coalesce(:schema, database()) AND event_object_table = :table""")
_CHECKS = {
    "mariadb": text("""
        SELECT table_name, constraint_name, check_clause
        FROM information_schema.check_constraints
        WHERE constraint_schema = coalesce(:schema, database()) AND table_name = :table"""),
    "mysql": text("""
        SELECT t.table_name, t.constraint_name, k.check_clause
        FROM information_schema.table_constraints t
        JOIN information_schema.check_constraints k USING (constraint_schema, constraint_name)
        WHERE t.constraint_type = 'CHECK' AND t.table_schema = coalesce(:schema, database())
          AND t.table_name = :table"""),
}

# Warnings with which a view leaves a table out that is locked: lock wait timeout, skipped under DDL
_HIDDEN = frozenset({1205, 1684})
_HURRY = "SET SESSION lock_wait_timeout = 1"
_GRANT = re.compile(
    r"GRANT (?P<rights>.*?) ON (?:TABLE )?"
    r"(?P<database>\*|`(?:[^`]|``)*`)\.(?P<table>\*|`(?:[^`]|``)*`) TO "
)

_Row = list[Any]

# Columns, each with the length where only a beginning counts
IndexParts = set[tuple[str | None, int | None]]


def quote(name: str) -> str:
    """Returns an identifier, quoted."""
    return "`" + name.replace("`", "``") + "`"


class Shape(NamedTuple):
    """Table, columns and unique indexes, as rows of the questions above."""

    tables: list[_Row]
    columns: list[_Row]
    indexes: list[_Row]


def _asked(
    connection: Connection,
    target: Target,
    question: TextClause,
) -> list[_Row]:
    """Returns the rows of the catalogue that are of this very table.

    Raises FrontBusy where a lock on the table hides them.
    """
    where = {"schema": target.schema, "table": target.table}
    rows = connection.execute(question, where).all()

    warnings = connection.exec_driver_sql("SHOW WARNINGS").all()
    for _, number, *_ in warnings:
        if number in _HIDDEN:
            text = mark("error {number}: a lock on {name}")
            raise FrontBusy(reason=phrase(text, number=number, name=target.name))

    return [list(row) for row in rows if row[0] == target.table]


def shape(connection: Connection, target: Target) -> Shape:
    """Reads table, columns and unique indexes."""
    connection.exec_driver_sql(_HURRY)
    return Shape(
        tables=_asked(connection, target, _TABLE),
        columns=_asked(connection, target, _COLUMNS),
        indexes=_asked(connection, target, _INDEXES),
    )


def read(
    connection: Connection,
    target: Target,
    table: str,
    kind: str,
) -> Catalogue:
    """Reads the catalogue; a table that is not there has empty parts."""
    found = shape(connection, target)
    foreign = _asked(connection, target, _FOREIGN)
    referring = _asked(connection, target, _REFERRING)
    triggers = _asked(connection, target, _TRIGGERS)
    checks = _asked(connection, target, _CHECKS[kind])

    outgoing = _foreign_keys(foreign, table)
    incoming = _foreign_keys(referring)
    hazards = [
        *_of_columns(target, table, found.columns),
        *_of_indexes(target, table, found.indexes),
        *_of_checks(table, checks),
        *c.foreign_keys(outgoing, incoming),
        *_of_triggers(triggers),
    ]
    rewriting = [str(name) for _, name, *_ in triggers]

    schema = ""
    if found.tables:
        *_, schema = found.tables[0]
    if schema and not _sees_triggers(connection, schema, target.table):
        remedy = f"GRANT TRIGGER ON {table} TO {_user(connection)};"
        hazards.append(Hazard(c.UNSEEN, "", remedy))
        rewriting = ["not to be seen"]

    parts = _shape_parts(target, found)
    parts["checks"] = c.text(checks)
    parts["foreign"] = c.text(foreign)
    parts["referenced"] = c.text(referring)
    parts["triggers"] = c.text(triggers)
    return Catalogue(parts, hazards, ", ".join(rewriting))


def _shape_parts(target: Target, found: Shape) -> dict[str, str]:
    """Returns the parts of the fingerprint that table, columns and unique indexes make."""
    tables = []
    storage = []
    for name, engine, kind, created, *_ in found.tables:
        tables.append([name, engine, kind])
        storage.append([created])

    written = c.shared_columns(target)
    ours = []
    others = []
    for column in found.columns:
        name = column[1]
        if name in written:
            ours.append(column)
        else:
            others.append(column)

    parts = indexes(found.indexes)
    wanted = key_parts(target)
    key = []
    unique = []
    for row in found.indexes:
        index = row[1]
        if parts[index] == wanted:
            key.append(row)
        else:
            unique.append(row)

    return {
        "table": c.text(tables),
        "storage": c.text(storage),
        "columns": c.text(ours),
        "others": c.text(others),
        "key": c.text(key),
        "unique": c.text(unique),
    }


def indexes(rows: list[_Row]) -> dict[str, IndexParts]:
    """Returns the columns of each unique index, with the length where only a beginning counts."""
    found: dict[str, IndexParts] = {}
    for _, name, _, column, length in rows:
        parts = found.setdefault(name, set())
        parts.add((column, length))
    return found


def key_parts(target: Target) -> IndexParts:
    """Returns what `indexes` says of a unique index on the key alone and whole."""
    names = [target.columns[i].name for i in target.key]
    return {(name, None) for name in names}


def _of_columns(target: Target, table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of columns that are not shared."""
    columns = []
    for _, name, _, nullable, default, _, _, _, expression in rows:
        has_default = default not in (None, "NULL")
        if nullable == "NO" or has_default or expression:
            columns.append((name, quote(name)))

    alter = f"ALTER TABLE {table}"
    yield from c.extra_columns(target, columns, alter, "DROP COLUMN")


def _of_indexes(target: Target, table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of unique indexes besides the key."""
    key = key_parts(target)
    for name, parts in indexes(rows).items():
        if parts != key:
            remedy = f"ALTER TABLE {table} DROP INDEX {quote(name)};"
            yield Hazard(c.UNIQUE, name, remedy)


def _of_checks(table: str, rows: list[_Row]) -> Iterator[Hazard]:
    for _, name, *_ in rows:
        remedy = f"ALTER TABLE {table} DROP CONSTRAINT {quote(name)};"
        yield Hazard(c.CHECK, name, remedy)


def _of_triggers(rows: list[_Row]) -> Iterator[Hazard]:
    for _, name, *_ in rows:
        remedy = f"DROP TRIGGER {quote(name)};"
        yield Hazard(c.TRIGGER, name, remedy)


def _foreign_keys(rows: list[_Row], table: str = "") -> Iterator[ForeignKey]:
    """Yields foreign keys: of the table, or of others where none is given."""
    for _, name, other, deleted, updated, schema in rows:
        holder = table or f"{quote(schema)}.{quote(other)}"
        drop = f"ALTER TABLE {holder} DROP FOREIGN KEY {quote(name)}"
        yield ForeignKey(name, other, deleted, updated, drop)


# ---- rights


def _sees_triggers(connection: Connection, schema: str, table: str) -> bool:
    """Whether the user may see triggers: else the catalogue shows none.

    Roles that are active are in the list of grants.
    """
    grants = connection.exec_driver_sql("SHOW GRANTS").all()
    return any(_grants_trigger(str(line), schema, table) for (line,) in grants)


def _grants_trigger(line: str, schema: str, table: str) -> bool:
    """Whether a line of the list of grants lets its user see the table's triggers."""
    found = _GRANT.match(line)
    if found is None:
        return False

    listed = found["rights"].split(",")
    rights = {right.strip().upper() for right in listed}
    if rights.isdisjoint(("TRIGGER", "ALL PRIVILEGES")):
        return False

    in_schema = _names(found["database"], schema, pattern=True)
    return in_schema and _names(found["table"], table)


def _names(given: str, name: str, *, pattern: bool = False) -> bool:
    """Whether a name of a GRANT is this one.

    In a pattern _ and % match others, and a backslash takes this meaning from them.
    """
    if given == "*":
        return True

    given = given[1:-1].replace("``", "`")
    if not pattern:
        return given == name

    wanted = ""
    for part in re.split(r"(\\.|[_%])", given):
        if part == "_":
            wanted += "."
        elif part == "%":
            wanted += ".*"
        else:
            plain = part.removeprefix("\\")
            wanted += re.escape(plain)
    return re.fullmatch(wanted, name, re.DOTALL) is not None


def _user(connection: Connection) -> str:
    """Returns the session's account as GRANT names it."""
    user = str(connection.exec_driver_sql("SELECT CURRENT_USER()").scalar_one())
    name, _, host = user.rpartition("@")
    return f"'{name}'@'{host}'"
