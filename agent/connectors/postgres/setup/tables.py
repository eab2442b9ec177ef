"""Judges one source table: may it be shared, has it a key, what would repair it. No I/O."""

from collections.abc import Iterator

from psycopg import sql

from agent.config import PostgresSettings, ResourceSettings
from agent.connectors.postgres.catalogue import Catalogued, Index
from agent.connectors.postgres.setup.facts import Traits
from agent.connectors.postgres.setup.statements import columns, statement, table_of
from agent.findings import Finding, error, ok, warning
from agent.messages import mark, translate

GENERATED_SINCE = 180_000  # server versions that can stream stored generated columns
_KINDS = {
    "v": mark("a view"),
    "m": mark("a materialized view"),
    "f": mark("a foreign table"),
    "S": mark("a sequence"),
    "c": mark("a type"),
}

_ADD_KEY = "ALTER TABLE {table} ADD PRIMARY KEY ({columns});"
_ADD_NUMBER = (
    "ALTER TABLE {table} ADD COLUMN {column} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;"
)
_ADD_SECOND_NUMBER = (
    "ALTER TABLE {table} ADD COLUMN {column} bigint GENERATED ALWAYS AS IDENTITY NOT NULL, "
    "ADD CONSTRAINT {name} UNIQUE ({column});"
)
# Of a new column: what it does to a table that is mostly another program's.
_COST = mark(
    "-- This rewrites the whole table, and meanwhile nobody can read or write it; "
    "the column is one that its programs do not know.\n"
    "-- Ask the table's vendor first; afterwards add {column} to columns of this [[resource]]."
)
_REPLACE_KEY = "ALTER TABLE {table} DROP CONSTRAINT {name}, ADD PRIMARY KEY ({columns});"
_USE_INDEX = "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name};"
_USE_DEFAULT = "ALTER TABLE {table} REPLICA IDENTITY DEFAULT;"
_LEAF_IDENTITY = "ALTER TABLE {leaf} REPLICA IDENTITY {identity};"
_SET_NOT_NULL = "ALTER TABLE {table} {changes};"
_LOGGED = "ALTER TABLE {table} SET LOGGED;"
_REINDEX = "REINDEX INDEX {name};"
_IDENTITIES = {"d": "DEFAULT", "f": "FULL", "n": "NOTHING"}


def check_table(
    resource: ResourceSettings, entry: Catalogued | None, traits: Traits | None, version: int
) -> list[Finding]:
    """Returns what stands against sharing the table; one ok finding where nothing does."""
    if entry is None or traits is None:
        fix = mark(
            "Correct table of this [[resource]] (exact spelling, schema.table), "
            "or create the table."
        )
        return [
            error(
                "TABLE_MISSING",
                mark("{resource}: the source table {table} does not exist"),
                translate(fix),
                resource=resource.name,
                table=resource.table,
            )
        ]
    kind = list(_kind(resource, entry, traits))
    if any(finding.level == "error" for finding in kind):
        return kind
    found = [
        *kind,
        *_columns(resource, entry, version),
        *_key(resource, entry),
        *_leaves(resource, entry, traits),
        *_virtual(resource, entry),
    ]
    if not any(finding.level == "error" for finding in found):
        found.append(
            ok(
                "TABLE_OK",
                mark("{resource}: table {table} can be shared, its key is ({key})"),
                **_names(resource),
                key=", ".join(entry.table.key),
            )
        )
    return found


def needs_generated(resource: ResourceSettings, entry: Catalogued, version: int) -> bool:
    """Whether the publication must carry stored generated columns.

    One is shared, or FULL identity would make UPDATE fail without them.
    """
    if version < GENERATED_SINCE:
        return False
    wanted = resource.needed_columns
    return any(
        column.generated == "s" and (column.name in wanted or entry.table.identity == "f")
        for column in entry.table.columns
    )


def _names(resource: ResourceSettings) -> dict[str, str]:
    return {"resource": resource.name, "table": ".".join(PostgresSettings.place(resource.table))}


def _kind(resource: ResourceSettings, entry: Catalogued, traits: Traits) -> Iterator[Finding]:
    if entry.kind not in ("r", "p"):
        fix = mark("Share the tables it is made from.")
        kind = translate(_KINDS.get(entry.kind, mark("not a table")))
        yield error(
            "TABLE_KIND",
            mark("{resource}: {table} is {kind}, which has no stream of changes"),
            translate(fix),
            **_names(resource),
            kind=kind,
        )
    if traits.partition:
        fix = mark('Write table = "{parent}": its partitions come with it.')
        yield error(
            "TABLE_PARTITION",
            mark("{resource}: {table} is a partition of {parent}"),
            translate(fix, parent=traits.parent),
            **_names(resource),
            parent=traits.parent,
        )
    if traits.persistence == "u":
        yield error(
            "TABLE_UNLOGGED",
            mark("{resource}: {table} is unlogged: its changes are not in the log"),
            statement(_LOGGED, table=table_of(resource)),
            **_names(resource),
        )
    elif traits.persistence == "t":
        yield error(
            "TABLE_KIND",
            mark("{resource}: {table} is {kind}, which has no stream of changes"),
            **_names(resource),
            kind=translate(mark("a temporary table")),
        )
    if traits.children:
        yield warning(
            "TABLE_CHILDREN",
            mark(
                "{resource}: rows of the tables that inherit from {table} ({children}) are not "
                "shared with it"
            ),
            translate(
                mark(
                    "Where they are wanted, list each of these tables as a [[resource]] of its own."
                )
            ),
            **_names(resource),
            children=", ".join(traits.children),
        )


def _columns(resource: ResourceSettings, entry: Catalogued, version: int) -> Iterator[Finding]:
    known = {column.name: column for column in entry.table.columns}
    for name in resource.needed_columns:
        column = known.get(name)
        place = "columns" if name in resource.columns else "filter"
        values = _names(resource) | {"column": name, "place": place}
        if column is None:
            fix = mark(
                "Correct {place} of this [[resource]] (exact spelling), "
                "or add the column to the table."
            )
            yield error(
                "COLUMN_MISSING",
                mark("{resource}: column {column} in {place} does not exist in {table}"),
                translate(fix, place=place),
                **values,
            )
        elif column.generated == "v":
            fix = mark(
                "Take it out of {place}, or have its owner make it a STORED column (PostgreSQL 18)."
            )
            message = mark(
                "{resource}: column {column} in {place} is a virtual generated column of {table}, "
                "which is in no stream"
            )
            yield error("COLUMN_VIRTUAL", message, translate(fix, place=place), **values)
        elif column.generated == "s" and version < GENERATED_SINCE:
            message = mark(
                "{resource}: column {column} in {place} is a generated column of {table}, "
                "which this server does not stream (18 and later do)"
            )
            yield error(
                "COLUMN_GENERATED",
                message,
                translate(mark("Take it out of {place}."), place=place),
                **values,
            )


def _key(resource: ResourceSettings, entry: Catalogued) -> Iterator[Finding]:
    table = table_of(resource)
    index = entry.identity_index
    primary = next((i for i in entry.indexes if i.primary), None)
    if entry.table.key:
        unlisted = [name for name in entry.table.key if name not in resource.columns]
        if unlisted:
            fix = translate(
                mark("Add {columns} to columns of this [[resource]]."), columns=", ".join(unlisted)
            )
            yield error(
                "KEY_UNLISTED",
                mark("{resource}: key column {column} of {table} is not in columns"),
                fix,
                **_names(resource),
                column=", ".join(unlisted),
            )
    elif entry.table.identity == "n":
        fix = (
            statement(_USE_DEFAULT, table=table) if primary is not None else _new_key(table, entry)
        )
        message = mark(
            "{resource}: {table} has REPLICA IDENTITY NOTHING: "
            "with it the application's own UPDATE and DELETE would fail once published"
        )
        yield error("IDENTITY_NOTHING", message, fix, **_names(resource))
    elif index is not None and not index.immediate:
        message = mark(
            "{resource}: the key of {table} is deferrable ({index}): "
            "with it the application's own UPDATE and DELETE would fail once published"
        )
        yield error(
            "KEY_DEFERRABLE", message, _replaced(table, index), **_names(resource), index=index.name
        )
    elif index is not None and not index.valid:
        fix = statement(_REINDEX, name=sql.Identifier(entry.table.schema, index.name))
        yield error(
            "KEY_INVALID",
            mark("{resource}: the key index {index} of {table} is not valid"),
            fix,
            **_names(resource),
            index=index.name,
        )
    elif index is not None and index.order is None:
        message = mark(
            "{resource}: the key index {index} of {table} is no btree, "
            "or its operator class is not whole: the order of its rows cannot be named"
        )
        yield error(
            "KEY_UNORDERED", message, _new_key(table, entry), **_names(resource), index=index.name
        )
    else:
        yield _keyless(resource, entry)


def _replaced(table: sql.Composable, index: Index) -> str:
    return statement(_REPLACE_KEY, table=table, name=index.name, columns=columns(index.columns))


def _keyless(resource: ResourceSettings, entry: Catalogued) -> Finding:
    """No primary key (or named index) at all; says why the unique indexes there are will not do."""
    fix = _new_key(table_of(resource), entry)
    if not entry.indexes:
        return error(
            "KEY_MISSING", mark("{resource}: {table} has no primary key"), fix, **_names(resource)
        )
    reasons = ", ".join(
        f"{index.name}: {translate(_reason(index, entry))}" for index in entry.indexes
    )
    message = mark(
        "{resource}: {table} has no primary key, and its replica identity names no unique index "
        "({reasons})"
    )
    return error("KEY_MISSING", message, fix, **_names(resource), reasons=reasons)


def _reason(index: Index, entry: Catalogued) -> str:
    not_null = {column.name for column in entry.table.columns if column.not_null}
    if not index.plain:
        return mark("partial or on an expression")
    if not index.immediate:
        return mark("deferrable")
    if not index.valid:
        return mark("not valid")
    if index.order is None:
        return mark("no btree")
    return mark("usable") if not_null.issuperset(index.columns) else mark("its columns may be NULL")


def _new_key(table: sql.Composable, entry: Catalogued) -> str:
    """Returns the statement that gives the table a key with the least change.

    That is a usable index, one with NULLs forbidden, else a number.
    """
    not_null = {column.name for column in entry.table.columns if column.not_null}
    plain = sorted(
        (i for i in entry.indexes if i.plain and i.immediate and i.valid and i.order is not None),
        key=lambda i: len([c for c in i.columns if c not in not_null]),
    )
    if plain:
        nullable = [name for name in plain[0].columns if name not in not_null]
        changes = sql.SQL(", ").join(
            sql.SQL("ALTER COLUMN {} SET NOT NULL").format(sql.Identifier(name))
            for name in nullable
        )
        first = [statement(_SET_NOT_NULL, table=table, changes=changes)] if nullable else []
        return "\n".join([*first, statement(_USE_INDEX, table=table, name=plain[0].name)])
    whole = next((i for i in entry.indexes if i.plain and i.order is not None), None)
    if whole is not None:
        return statement(_ADD_KEY, table=table, columns=columns(whole.columns))
    taken = {column.name for column in entry.table.columns}
    name = next(
        name for name in ("id", "row_id", "sync_row_id", "sync_row_number") if name not in taken
    )
    cost = translate(_COST, column=name)
    if not any(index.primary for index in entry.indexes):
        return "\n".join([cost, statement(_ADD_NUMBER, table=table, column=name)])
    index = f"sync_agent_{entry.table.oid}_key"
    added = statement(_ADD_SECOND_NUMBER, table=table, column=name, name=index)
    return "\n".join([cost, added, statement(_USE_INDEX, table=table, name=index)])


def _leaves(resource: ResourceSettings, entry: Catalogued, traits: Traits) -> Iterator[Finding]:
    for leaf in traits.leaves:
        values = _names(resource) | {"leaf": leaf.name}
        if leaf.kind != "r" or leaf.persistence != "p":
            message = mark(
                "{resource}: partition {leaf} of {table} is foreign or unlogged: "
                "its changes are not in the log"
            )
            fix = (
                statement(_LOGGED, table=sql.SQL(leaf.name))
                if leaf.kind == "r"
                else translate(mark("Share a table without foreign partitions."))
            )
            yield error("LEAF_KIND", message, fix, **values)
        elif leaf.identity != entry.table.identity or (leaf.identity == "i" and not leaf.fits):
            message = mark(
                "{resource}: partition {leaf} has another replica identity than {table}: "
                "the application's own UPDATE and DELETE could fail"
            )
            identity = (
                f"USING INDEX {leaf.key_index}"
                if entry.table.identity == "i"
                else _IDENTITIES[entry.table.identity]
            )
            yield error(
                "LEAF_IDENTITY",
                message,
                statement(_LEAF_IDENTITY, leaf=sql.SQL(leaf.name), identity=sql.SQL(identity)),
                **values,
            )


def _virtual(resource: ResourceSettings, entry: Catalogued) -> Iterator[Finding]:
    """Refuses a virtual generated column under FULL identity (PostgreSQL 18).

    It is never published, and part of the identity: UPDATE and DELETE of the application fail.
    """
    virtual = [column.name for column in entry.table.columns if column.generated == "v"]
    if virtual and entry.table.identity == "f":
        message = mark(
            "{resource}: {table} has REPLICA IDENTITY FULL and a virtual generated column "
            "({column}): the application's own UPDATE and DELETE would fail"
        )
        yield error(
            "IDENTITY_VIRTUAL",
            message,
            statement(_USE_DEFAULT, table=table_of(resource)),
            **_names(resource),
            column=", ".join(virtual),
        )
