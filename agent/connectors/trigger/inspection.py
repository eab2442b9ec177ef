"""Judges for `init` and `check` a database with a trigger log, and each shared table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Inspector, inspect

from agent.config import ResourceSettings
from agent.connectors.database.catalogue import ReadTable, tables
from agent.connectors.database.judging import (
    answers,
    misread_texts,
    missing_table,
    names_of,
    suspect_texts,
    unlisted_key,
)
from agent.connectors.database.session import Database
from agent.connectors.table import TableName
from agent.connectors.trigger.databases.base import LoggedTable, TriggerLog
from agent.connectors.trigger.keys import logged
from agent.findings import Finding, error, warning
from agent.messages import mark, translate

_QUIET = (None, "NO ACTION", "RESTRICT")  # a foreign key that changes no row by itself


class Judged(NamedTuple):
    """A shared table that can be followed."""

    read: ReadTable
    table: LoggedTable
    complete: bool  # all its triggers are there


class Inspection(NamedTuple):
    """What was found."""

    findings: Sequence[Finding]
    judged: Mapping[str, Judged]  # by resource
    log: bool  # the table of the notes is there


def inspected(
    database: Database,
    log: TriggerLog,
    places: Mapping[TableName, ResourceSettings],
) -> Inspection:
    """Asks a database for its tables and triggers. Raises the errors of the connection."""
    connection = database.connect()
    try:
        with database.guarded():
            return _inspected(connection, database, log, places)
    finally:
        connection.close()


def _inspected(
    connection: Connection,
    database: Database,
    log: TriggerLog,
    places: Mapping[TableName, ResourceSettings],
) -> Inspection:
    findings = list(answers(database))
    inspector = inspect(connection)
    read_tables = tables(connection, database.dialect, dict.fromkeys(places, ()))
    judged = {}
    for place, resource in places.items():
        read = read_tables.get(place)
        wrong = list(judged_table(resource, read))
        findings += wrong
        table = None if read is None or wrong else logged(read)
        if read is None or table is None:
            continue
        table = log.seen(connection, table)
        complete = log.complete(table, log.installed(connection, table))
        judged[resource.name] = Judged(read, table, complete)
        findings += misread_texts(database, connection, resource, read)
        findings += suspect_texts(database, connection, resource, read)
        findings += _unnoted(inspector, log, resource, table)
    return Inspection(findings, judged, log.exists(connection))


def judged_table(resource: ResourceSettings, read: ReadTable | None) -> Iterator[Finding]:
    """Yields what stands against following a table."""
    if read is None:
        yield missing_table(resource)
        return
    names = names_of(resource)
    missing = [name for name in resource.needed_columns if name not in read.kinds]
    if missing:
        text = mark("{resource}: table {table} has no column {columns} that the agent can read")
        yield error("COLUMN_MISSING", text, **names, columns=", ".join(missing))
    if logged(read) is None:
        text = mark("{resource}: table {table} has no key that a trigger can note")
        fix = mark("Give the table a primary key of numbers, texts, bytes, dates or UUIDs.")
        yield error("KEY_MISSING", text, translate(fix), **names)
    yield from unlisted_key(resource, read)


def _unnoted(
    inspector: Inspector,
    log: TriggerLog,
    resource: ResourceSettings,
    table: LoggedTable,
) -> Iterator[Finding]:
    """Yields what changes rows of a table without a note of it, or cannot be done with triggers."""
    names = names_of(resource)
    schema = table.schema or None
    if log.refused:
        yield warning("STATEMENTS_REFUSED", log.refused, **names)
    if not log.notes_cascades:
        for key in inspector.get_foreign_keys(table.name, schema=schema):
            options = key.get("options", {})
            actions = {options.get("ondelete"), options.get("onupdate")}
            if actions <= set(_QUIET):
                continue
            text = mark(
                "{resource}: what foreign key {key} changes in table {table} by itself fires no "
                "trigger in this database: only a comparison finds it"
            )
            yield warning("CASCADE_UNNOTED", text, **names, key=key["name"] or "?")
    if not log.notes_replaced:
        unique = inspector.get_unique_constraints(table.name, schema=schema)
        indexes = inspector.get_indexes(table.name, schema=schema)
        if unique or any(index["unique"] for index in indexes):
            text = mark(
                "{resource}: a row of table {table} that REPLACE removes for another unique column "
                "than the key is not noted in this database: only a comparison finds it"
            )
            yield warning("REPLACE_UNNOTED", text, **names)
