"""Findings about a shared table, whatever the way in which its changes are found."""

from collections.abc import Iterator, Mapping
from copy import copy

from sqlalchemy import Connection, select

from agent.config import ResourceSettings
from agent.connectors.database.catalogue import ReadTable, tables
from agent.connectors.database.gbk import looks_like_gbk
from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database
from agent.connectors.dialects.base import Stored
from agent.errors import AgentError
from agent.findings import Finding, error, ok, warning
from agent.messages import mark, translate

_LOOKED_AT = 1000  # rows of a table
_SUSPECTED = "gbk"


def answers(database: Database) -> Iterator[Finding]:
    """Yields that the database answers, and what is not known about its kind."""
    kind = database.dialect.name
    text = mark("the business database at {address} answers ({kind})")
    yield ok("SOURCE_OK", text, address=database.address, kind=kind)
    if not database.dialect.tried:
        text = mark("nobody has tried the agent with a real server of {kind} yet")
        fix = mark(
            "Try it with `sync-agent selftest --url URL` on a database for tests, "
            "and send its report to the project."
        )
        yield warning("SOURCE_UNTRIED", text, translate(fix), kind=kind)


def names_of(resource: ResourceSettings) -> dict[str, str]:
    """Returns what each finding about a table names."""
    return {"resource": resource.name, "table": resource.table}


def missing_table(resource: ResourceSettings) -> Finding:
    """Says that the table is not there."""
    text = mark("{resource}: the source table {table} does not exist")
    fix = mark(
        "Correct table of this [[resource]] (exact spelling, schema.table), or create the table."
    )
    return error("TABLE_MISSING", text, translate(fix), **names_of(resource))


def unlisted_key(resource: ResourceSettings, read: ReadTable) -> Iterator[Finding]:
    """Yields that columns of the key are not shared, where that is so."""
    unlisted = [name for name in read.table.key if name not in resource.columns]
    if unlisted:
        text = mark("{resource}: key column {columns} is not listed in columns")
        names = names_of(resource)
        yield error("KEY_UNLISTED", text, **names, columns=", ".join(unlisted))


def misread_texts(
    database: Database,
    connection: Connection,
    resource: ResourceSettings,
    read: ReadTable,
) -> Iterator[Finding]:
    """Yields which columns hold bytes that are no text, as far as some rows show it."""
    stored = _stored(resource, read)
    looked_at = _octets(database, connection, resource, read, stored)
    for name, how in stored.items():
        rows = looked_at[name]
        wrong = sum(not _decodes(octets, how.encoding) for octets in rows)
        if wrong:
            text = mark(
                "{resource}: column {column} of table {table} holds bytes that are no text in "
                "{encoding}, in {wrong} of {rows} rows looked at"
            )
            fix = mark(
                "Set source.encoding to the encoding in which the application writes its texts, "
                "such as gbk, or have the rows corrected."
            )
            asked = {"column": name, "encoding": how.encoding, "wrong": wrong, "rows": len(rows)}
            yield error("TEXT_UNREADABLE", text, translate(fix), **names_of(resource), **asked)


def suspect_texts(
    database: Database,
    connection: Connection,
    resource: ResourceSettings,
    read: ReadTable,
) -> Iterator[Finding]:
    """Yields which columns seem to hold Chinese in GBK though they are declared otherwise.

    Only where `source.encoding` would read them and is not set. It is a hint, by some rows: what
    cannot be read for it is passed over.
    """
    if database.dialect.encoding or not database.dialect.recodes:
        return
    dialect = copy(database.dialect)
    dialect.encoding = _SUSPECTED
    place = (read.table.schema, read.table.table)
    try:
        with database.guarded(resource.name, read.name):
            as_bytes = tables(connection, dialect, {place: read.table.key})[place]
        stored = _stored(resource, as_bytes)
        looked_at = _octets(database, connection, resource, read, stored)
    except AgentError:
        return
    for name, rows in looked_at.items():
        if not looks_like_gbk(rows):
            continue
        text = mark(
            "{resource}: the texts in column {column} of table {table} look like Chinese in "
            "{encoding}, but the column is declared otherwise, so they are read as other letters"
        )
        fix = mark(
            "Compare a row of the front end with what the application shows. If its texts are "
            'wrong, set encoding = "gbk" in [source].'
        )
        asked = {"column": name, "encoding": _SUSPECTED}
        yield warning("TEXT_SUSPECT", text, translate(fix), **names_of(resource), **asked)


def _stored(resource: ResourceSettings, read: ReadTable) -> dict[str, Stored]:
    """Returns how the bytes of texts are read that are in an encoding of their own, by column."""
    found = {}
    for name in resource.needed_columns:
        kind = read.kinds.get(name)
        if kind is not None and kind.stored is not None:
            found[name] = kind.stored
    return found


def _octets(
    database: Database,
    connection: Connection,
    resource: ResourceSettings,
    read: ReadTable,
    stored: Mapping[str, Stored],
) -> dict[str, list[bytes]]:
    """Returns the bytes of texts in some rows, by column."""
    if not stored:
        return {}
    table = RowReader(database.dialect, resource.name, read, read.table.key)
    octets = [how.octets(table.column(name)) for name, how in stored.items()]
    statement = select(*octets).select_from(table.table).limit(_LOOKED_AT)
    with database.guarded(resource.name, read.name):
        rows = connection.execute(statement).all()
    found = {}
    for number, name in enumerate(stored):
        found[name] = [row[number] or b"" for row in rows]
    return found


def _decodes(octets: bytes, encoding: str) -> bool:
    try:
        octets.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
