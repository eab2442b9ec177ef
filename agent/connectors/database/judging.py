"""Findings about a shared table, whatever the way in which its changes are found."""

from collections.abc import Iterator

from sqlalchemy import Connection, select

from agent.config import ResourceSettings
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database
from agent.findings import Finding, error, ok, warning
from agent.messages import mark, translate

_LOOKED_AT = 1000  # rows of a table


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
    stored = {}
    for name in resource.needed_columns:
        kind = read.kinds.get(name)
        if kind is not None and kind.stored is not None:
            stored[name] = kind.stored
    if not stored:
        return

    table = RowReader(database.dialect, resource.name, read, read.table.key)
    octets = [how.octets(table.column(name)) for name, how in stored.items()]
    statement = select(*octets).select_from(table.table).limit(_LOOKED_AT)
    with database.guarded(resource.name, read.name):
        rows = connection.execute(statement).all()
    for number, (name, how) in enumerate(stored.items()):
        wrong = sum(not _decodes(row[number], how.encoding) for row in rows)
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


def _decodes(octets: bytes | None, encoding: str) -> bool:
    try:
        (octets or b"").decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
