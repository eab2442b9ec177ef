"""Judges for `init` and `check` whether the log shows every change of a table. No I/O."""

from collections.abc import Iterator, Sequence
from typing import Final

from agent.config import ResourceSettings
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.judging import names_of, unlisted_key
from agent.connectors.mysql.charsets import text_decoder
from agent.connectors.mysql.found_tables import (
    ENGINE,
    TABLE,
    VERSIONED,
    FoundTable,
    LoggedColumn,
)
from agent.connectors.table import TableName
from agent.findings import Finding, error
from agent.messages import mark, translate

# How the catalogue of MariaDB marks columns whose values are stored in another way
_COMPRESSED: Final = "COMPRESSED*/"
_OLD_FORMAT: Final = "/* mariadb-5.3 */"

_LEAVE_OUT: Final = mark("Leave the column out of columns, or change its type.")


def judged_columns(resource: ResourceSettings, read: ReadTable) -> Iterator[Finding]:
    """Yields what is wrong with columns and key."""
    names = names_of(resource)
    for column in resource.needed_columns:
        if column in read.kinds:
            continue
        if column not in read.unreadable:
            text = mark("{resource}: table {table} has no column {columns}")
            yield error("COLUMN_MISSING", text, **names, columns=column)
            continue
        text = mark("{resource}: column {column} of table {table} is of type {type}, unknown here")
        kind = read.unreadable[column]
        yield error("COLUMN_UNREADABLE", text, _leave_out(), **names, column=column, type=kind)
    if not read.table.key:
        text = mark("{resource}: table {table} has no usable key")
        fix = mark(
            "Give the table a primary key, or a unique one over columns that are never NULL."
        )
        yield error("KEY_MISSING", text, translate(fix), **names)
    yield from unlisted_key(resource, read)


def judged_kind(
    resource: ResourceSettings, place: TableName, found: FoundTable
) -> Iterator[Finding]:
    """Yields why something is no table that can be followed. `place`: as it is configured."""
    names = names_of(resource)
    if found.kind == VERSIONED:
        text = mark(
            "{resource}: table {table} is versioned by the system: the log has a row that was "
            "deleted as one that was changed"
        )
        fix = mark('Set source.type = "trigger" or "polling" for this table (another agent).')
        yield error("TABLE_VERSIONED", text, translate(fix), **names)
        return
    if found.kind != TABLE:
        text = mark("{resource}: {table} is no table but {kind}: it is not in the log")
        fix = mark("Share the tables that it is made of.")
        yield error("TABLE_KIND", text, translate(fix), **names, kind=found.kind)
        return
    if place != found.place:
        written = ".".join(found.place)
        text = mark("{resource}: the server writes the name of table {table} as {written}")
        fix = mark("Write names in [source] and [[resource]] exactly as the server does.")
        yield error("NAME_CASE", text, translate(fix), **names, written=written)
    if found.engine != ENGINE:
        text = mark(
            "{resource}: table {table} is kept by {engine}: what is rolled back stays in it, and "
            "no snapshot shows it as it was at one moment"
        )
        fix = f"ALTER TABLE {'.'.join(found.place)} ENGINE = {ENGINE};"
        yield error("TABLE_ENGINE", text, fix, **names, engine=found.engine)


def judged_log(
    resource: ResourceSettings,
    read: ReadTable,
    found: FoundTable,
    unlogged_keys: Sequence[str],
) -> Iterator[Finding]:
    """Yields what of a table the log does not show.

    `unlogged_keys`: its foreign keys that change rows beside the log.
    """
    for name in dict.fromkeys([*read.table.key, *resource.needed_columns]):
        if name in found.columns:
            yield from _judged_column(resource, name, found.columns[name])
    for key in unlogged_keys:
        text = mark(
            "{resource}: what foreign key {key} changes in table {table} by itself (CASCADE, "
            "SET NULL) is not in the log of this server"
        )
        fix = mark(
            "Let the application change these rows and the key only refuse (ON DELETE RESTRICT, ON "
            "UPDATE RESTRICT), poll the table, or upgrade to MySQL 9.6."
        )
        yield error("CASCADE_UNLOGGED", text, translate(fix), **names_of(resource), key=key)


def _judged_column(
    resource: ResourceSettings, name: str, column: LoggedColumn
) -> Iterator[Finding]:
    names = {**names_of(resource), "column": name}
    if column.charset and text_decoder(column.charset) is None:
        text = mark(
            "{resource}: the texts in column {column} of table {table} are in {charset}, which the "
            "agent cannot read from the log"
        )
        yield error("CHARSET_UNREADABLE", text, _leave_out(), **names, charset=column.charset)
    if _COMPRESSED in column.declared:
        text = mark("{resource}: column {column} of table {table} is COMPRESSED, also in the log")
        yield error("COLUMN_COMPRESSED", text, _leave_out(), **names)
    if _OLD_FORMAT in column.declared:
        text = mark("{resource}: column {column} of table {table} is in a format of MariaDB 5.3")
        fix = mark("-- with mysql56_temporal_format = ON: ALTER TABLE {table} FORCE;")
        fixed = translate(fix, table=resource.table)
        yield error("COLUMN_OLD_FORMAT", text, fixed, **names)


def _leave_out() -> str:
    return translate(_LEAVE_OUT)
