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


def quote(name: str) -> str:
    """Returns an identifier, quoted."""
    return "`" + name.replace("`", "``") + "`"


class Shape(NamedTuple):
    """Table, columns and unique indexes, as rows of the questions above."""

    tables: list[_Row]
    columns: list[_Row]
    indexes: list[_Row]


def _asked(connection: Connection, target: Target, question: TextClause) -> list[_Row]:
    """Returns the rows of the catalogue that are of this very table.

    Raises FrontBusy where a lock on the table hides them.
    """
    where = {"schema": target.schema, "table": target.table}
    rows = [list(row) for row in connection.execute(question, where)]
    for _, number, *_ in connection.exec_driver_sql("SHOW WARNINGS").all():
        if number in _HIDDEN:
            said = mark("error {number}: a lock on {name}")
            raise FrontBusy(reason=phrase(said, number=number, name=target.name))
    return [row for row in rows if row[0] == target.table]


def shape(connection: Connection, target: Target) -> Shape:
    """Reads table, columns and unique indexes."""
    connection.exec_driver_sql(_HURRY)
    return Shape(
        tables=_asked(connection, target, _TABLE),
        columns=_asked(connection, target, _COLUMNS),
        indexes=_asked(connection, target, _INDEXES),
    )


def read(connection: Connection, target: Target, table: str, kind: str) -> Catalogue:
    """Reads the catalogue; a table that is not there has empty parts."""
    found = shape(connection, target)
    foreign = _asked(connection, target, _FOREIGN)
    referring = _asked(connection, target, _REFERRING)
    triggers = _asked(connection, target, _TRIGGERS)
    checks = _asked(connection, target, _CHECKS[kind])

    hazards = [
        *_of_columns(target, table, found.columns),
        *_of_indexes(target, table, found.indexes),
        *_of_checks(table, checks),
        *c.foreign_keys(_foreign_keys(foreign, table), _foreign_keys(referring)),
        *_of_triggers(triggers),
    ]
    rewriting = ", ".join(str(row[1]) for row in triggers)
    schema = str(found.tables[0][4]) if found.tables else ""
    if schema and not _sees_triggers(connection, schema, target.table):
        hazards.append(Hazard(c.UNSEEN, "", f"GRANT TRIGGER ON {table} TO {_user(connection)};"))
        rewriting = "not to be seen"

    parts = _shape_parts(target, found) | {
        "checks": c.text(checks),
        "foreign": c.text(foreign),
        "referenced": c.text(referring),
        "triggers": c.text(triggers),
    }
    return Catalogue(parts, hazards, rewriting)


def _shape_parts(target: Target, found: Shape) -> dict[str, str]:
    """Returns the parts of the fingerprint that table, columns and unique indexes make."""
    written = c.shared_columns(target)
    ours = [row for row in found.columns if row[1] in written]
    others = [row for row in found.columns if row[1] not in written]

    key = {(target.columns[i].name, None) for i in target.key}
    on_key = [name for name, parts in indexes(found.indexes).items() if parts == key]
    return {
        "table": c.text(row[:3] for row in found.tables),
        "storage": c.text(row[3:4] for row in found.tables),
        "columns": c.text(ours),
        "others": c.text(others),
        "key": c.text(row for row in found.indexes if row[1] in on_key),
        "unique": c.text(row for row in found.indexes if row[1] not in on_key),
    }


def indexes(rows: list[_Row]) -> dict[str, set[tuple[str | None, int | None]]]:
    """Returns the columns of each unique index, with the length where only a beginning counts."""
    found: dict[str, set[tuple[str | None, int | None]]] = {}
    for _, name, _, column, part in rows:
        found.setdefault(name, set()).add((column, part))
    return found


def _of_columns(target: Target, table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of columns that are not shared."""
    columns = []
    for _, name, _, nullable, default, _, _, _, expression in rows:
        if nullable == "NO" or default not in (None, "NULL") or expression:
            columns.append((name, quote(name)))
    yield from c.extra_columns(target, columns, f"ALTER TABLE {table}", "DROP COLUMN")


def _of_indexes(target: Target, table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of unique indexes besides the key."""
    key = {(target.columns[i].name, None) for i in target.key}
    for name, parts in indexes(rows).items():
        if parts != key:
            yield Hazard(c.UNIQUE, name, f"ALTER TABLE {table} DROP INDEX {quote(name)};")


def _of_checks(table: str, rows: list[_Row]) -> Iterator[Hazard]:
    for row in rows:
        yield Hazard(c.CHECK, row[1], f"ALTER TABLE {table} DROP CONSTRAINT {quote(row[1])};")


def _of_triggers(rows: list[_Row]) -> Iterator[Hazard]:
    for row in rows:
        yield Hazard(c.TRIGGER, row[1], f"DROP TRIGGER {quote(row[1])};")


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
    listed = [str(row[0]) for row in connection.exec_driver_sql("SHOW GRANTS")]
    return any(_grants_trigger(line, schema, table) for line in listed)


def _grants_trigger(line: str, schema: str, table: str) -> bool:
    found = _GRANT.match(line)
    if found is None:
        return False
    rights = {right.strip().upper() for right in found["rights"].split(",")}
    if not rights & {"TRIGGER", "ALL PRIVILEGES"}:
        return False
    return _names(found["database"], schema, pattern=True) and _names(found["table"], table)


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
        wanted += {"_": ".", "%": ".*"}.get(part) or re.escape(part.removeprefix("\\"))
    return re.fullmatch(wanted, name, re.DOTALL) is not None


def _user(connection: Connection) -> str:
    """Returns the session's account as GRANT names it."""
    user = str(connection.exec_driver_sql("SELECT CURRENT_USER()").scalar_one())
    name, _, host = user.rpartition("@")
    return f"'{name}'@'{host}'"
