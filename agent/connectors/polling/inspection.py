"""Judges for `init` and `check` a database that is polled, and each shared table."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection

from agent.config import ResourceSettings, Settings
from agent.config.loading import invalid
from agent.config.problems import Problem
from agent.connectors.database import catalogue, filters
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.judging import (
    answers,
    misread_texts,
    missing_table,
    names_of,
    suspect_texts,
    unlisted_key,
)
from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database
from agent.connectors.polling import tables as polled
from agent.connectors.polling.flags import FlagLooks
from agent.connectors.polling.modes import looks_of
from agent.connectors.setup import Shareable
from agent.errors import AgentError, WriteBackRefused
from agent.findings import Finding, error, errors, failed, ok, warning
from agent.messages import mark, translate

_UNINDEXED = mark(
    "{resource}: every look reads the whole table {table}: column {column} has no index that it "
    "can use"
)


class Inspection(NamedTuple):
    """What was found, and the tables that can be shared."""

    findings: list[Finding]
    tables: dict[str, Shareable]


def inspect(settings: Settings, database: Database) -> Inspection:
    """Asks the database for every shared table. Raises the errors of the connection."""
    findings: list[Finding] = []
    shareable: dict[str, Shareable] = {}
    connection = database.connect()
    try:
        findings += answers(database)
        with database.guarded():
            found = catalogue.tables(connection, database.dialect, polled.keys_of(settings))

        problems: list[Problem] = []
        for number, resource in enumerate(settings.resource):
            read = found.get(settings.source.place(resource.table))
            of_table = list(_judged(database, connection, resource, read))
            findings += of_table
            if read is None or errors(of_table):
                continue
            made, wrong = filters.criteria(number, resource, read.table)
            problems += wrong
            shareable[resource.name] = Shareable(read.table, made)
        if problems:
            findings.append(failed(invalid(settings.agent, problems)))
    finally:
        connection.close()
    return Inspection(findings, shareable)


def _judged(
    database: Database,
    connection: Connection,
    resource: ResourceSettings,
    read: ReadTable | None,
) -> Iterator[Finding]:
    """Yields what stands against polling a table; one ok finding where nothing does."""
    if read is None:
        yield missing_table(resource)
        return
    names = names_of(resource)

    found = list(judged_columns(resource, read))
    yield from found
    if found:
        return
    try:
        misread = list(misread_texts(database, connection, resource, read))
        yield from misread
        if misread:
            return
        yield from suspect_texts(database, connection, resource, read)
        yield from _read(database, connection, resource, read, names)
    except AgentError as cause:
        yield failed(cause)
        return
    text = mark("{resource}: table {table} can be polled, its key is ({key})")
    yield ok("TABLE_OK", text, **names, key=", ".join(read.table.key))


def judged_columns(resource: ResourceSettings, read: ReadTable) -> Iterator[Finding]:
    """Yields what is wrong with columns and key."""
    names = names_of(resource)
    reason = polled.unfit(resource, read)
    if reason:
        text = mark("{resource}: table {table} cannot be polled: {reason}")
        yield error("TABLE_UNFIT", text, **names, reason=reason)
        return
    missing = polled.missing(resource, read)
    if missing:
        text = mark("{resource}: table {table} has no column {columns}")
        yield error("COLUMN_MISSING", text, **names, columns=", ".join(missing))
    if not read.table.key:
        text = mark("{resource}: table {table} has no usable key")
        fix = mark("Give the table a primary key, or name key columns in [resource.poll] key.")
        yield error("KEY_MISSING", text, translate(fix), **names)
    yield from unlisted_key(resource, read)


def _read(
    database: Database,
    connection: Connection,
    resource: ResourceSettings,
    read: ReadTable,
    names: dict[str, str],
) -> Iterator[Finding]:
    """Reads one row, and lets the database explain a look. Raises what reading does."""
    dialect = database.dialect
    reader = RowReader(dialect, resource.name, read, polled.needed(resource))
    with database.guarded(resource.name, read.name), dialect.snapshot(connection):
        reader.page(connection, None, 1)
    poll = resource.poll
    if poll is None or poll.column is None:
        return

    looks = looks_of(database, resource, read)
    with database.guarded(resource.name, read.name):
        scanned = dialect.full_scan(connection, looks.statement)
    quote = connection.dialect.identifier_preparer.quote
    table = ".".join(quote(part) for part in (read.table.schema, read.table.table) if part)
    if scanned:
        listed = ", ".join(quote(name) for name in (poll.column, *read.table.key))
        index = quote(f"{read.table.table}_{poll.column}"[:60])
        statement = f"CREATE INDEX {index} ON {table} ({listed});"
        yield warning("CURSOR_UNINDEXED", _UNINDEXED, statement, **names, column=poll.column)

    if isinstance(looks, FlagLooks) and poll.write_back:
        try:
            looks.try_write_back(connection)
        except WriteBackRefused as cause:
            fix = translate(mark("Let the agent's user write the file, and its folder."))
            if database.user:
                account = quote(database.user)
                fix = f"GRANT SELECT, UPDATE ({quote(poll.column)}) ON {table} TO {account};"
            yield Finding(cause.code, "error", cause.text(), fix)
