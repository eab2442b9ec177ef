"""The statements that read pages, look rows up, and count them. Pure.

No name in them hangs on the session's search_path: types, operators and functions stand with their
schema. Values stand in them as literals, since COPY takes no parameters.
"""

from collections.abc import Sequence

from psycopg import sql

from agent.connectors.base import Ask
from agent.connectors.postgres import filters
from agent.connectors.table import KeyOrder, Named, SourceTable
from agent.values.rows import Key

_PAGE = (
    "COPY (SELECT {columns} FROM {table} t WHERE {past} ORDER BY {order} LIMIT {limit}) TO STDOUT"
)
_ROWS = (
    "COPY (SELECT {columns} FROM {table} t"
    " JOIN ROWS FROM ({arrays}) k({names}) ON {match}) TO STDOUT"
)
_COUNT = "SELECT pg_catalog.count(*) FROM {table} t WHERE {kept}"


def page(ask: Ask, limit: int) -> sql.Composed:
    """Reads up to `limit` rows after `ask.after`, in the order of the key's index."""
    table = ask.table
    order = []
    for column, how in zip(_key(table), table.order, strict=True):
        less = _operator(how.less)
        ordered = sql.SQL("{} USING {}").format(column, less)
        order.append(ordered)

    return sql.SQL(_PAGE).format(
        columns=_columns(ask),
        table=_table(table),
        past=_past(table, ask.after),
        order=_list(order),
        limit=sql.Literal(limit),
    )


def rows(ask: Ask, keys: Sequence[Key]) -> sql.Composed:
    """Looks up the rows under these keys."""
    table = ask.table
    names = []
    for number in range(len(table.key)):
        names.append(sql.Identifier(f"k{number}"))

    unnest = sql.SQL("pg_catalog.unnest({}::pg_catalog.text[])")
    arrays = []
    for part in zip(*keys, strict=True):
        texts = sql.Literal(list(part))
        arrays.append(unnest.format(texts))

    return sql.SQL(_ROWS).format(
        columns=_columns(ask),
        table=_table(table),
        arrays=_list(arrays),
        names=_list(names),
        match=_match(table, names),
    )


def count(ask: Ask) -> sql.Composed:
    """Counts the rows that meet the conditions."""
    table = _table(ask.table)
    kept = filters.condition(ask.counted or ())
    return sql.SQL(_COUNT).format(table=table, kept=kept)


def casts(table: SourceTable, key: Key) -> sql.Composed:
    """Casts the parts of a key to their types; the server refuses what is no such value."""
    values = _values(table, key)
    return sql.SQL("SELECT {}").format(_list(values))


def _match(table: SourceTable, names: Sequence[sql.Identifier]) -> sql.Composable:
    """Tells that a row stands under one of the keys looked up.

    Keys are equal by the equality of the key's own index.
    """
    types = _types(table)
    parts = []
    columns = zip(
        _key(table),
        names,
        table.key,
        table.order,
        strict=True,
    )
    for column, name, of, how in columns:
        wanted = sql.SQL("k.{}::{}").format(name, types[of])
        equal = _compared(column, how.equal, wanted)
        parts.append(equal)
    return sql.SQL(" AND ").join(parts)


def _past(table: SourceTable, after: Key | None) -> sql.Composable:
    """Tells that a row comes after a key, in the order of the index.

    One comparison of rows where one operator does for all columns, since the index serves it best.
    """
    if after is None:
        return sql.SQL("true")
    keys = _key(table)
    values = _values(table, after)
    operators = {how.more for how in table.order}
    if len(operators) == 1:
        return sql.SQL("({}) {} ({})").format(
            _list(keys),
            _operator(operators.pop()),
            _list(values),
        )

    # From the last column to the first: it is more, or it is equal and the columns behind it are
    # past. The first part is what the index can go by.
    *before, last = zip(keys, values, table.order, strict=True)
    column, value, how = last
    past = _compared(column, how.more, value)
    for column, value, how in reversed(before):
        past = sql.SQL("{} AND ({} OR ({} AND {}))").format(
            _compared(column, how.at_least, value),
            _compared(column, how.more, value),
            _compared(column, how.equal, value),
            past,
        )
    return past


def _table(table: SourceTable) -> sql.Composed:
    only = "" if table.partitioned else "ONLY "
    name = sql.Identifier(table.schema, table.table)
    return sql.SQL(only) + name


def _columns(ask: Ask) -> sql.Composed:
    names = [_column(column.name) for column in ask.columns]
    return _list(names)


def _column(name: str) -> sql.Composed:
    identifier = sql.Identifier(name)
    return sql.SQL("t.{}").format(identifier)


def _key(table: SourceTable) -> list[sql.Composed]:
    """Names the key's columns as the index compares them."""
    columns = []
    for name, how in zip(table.key, table.order, strict=True):
        columns.append(_compared_as(table, name, how))
    return columns


def _compared_as(table: SourceTable, name: str, how: KeyOrder) -> sql.Composed:
    column = _column(name)
    traits = next(traits for traits in table.columns if traits.name == name)
    if how.enum and traits.type_oid != traits.base_oid:
        # Else the operator is not found
        type_name = sql.Identifier(*traits.named)
        column = sql.SQL("{}::{}").format(column, type_name)
    if how.collation is not None:
        collation = sql.Identifier(*how.collation)
        column = sql.SQL("{} COLLATE {}").format(column, collation)
    return column


def _types(table: SourceTable) -> dict[str, sql.Identifier]:
    """Names the types of a table's columns, by column."""
    types = {}
    for column in table.columns:
        types[column.name] = sql.Identifier(*column.named)
    return types


def _values(table: SourceTable, key: Key) -> list[sql.Composed]:
    """Writes the parts of a key as values of their types."""
    types = _types(table)
    values = []
    for text, name in zip(key, table.key, strict=True):
        literal = sql.Literal(text)
        value = sql.SQL("{}::{}").format(literal, types[name])
        values.append(value)
    return values


def _operator(named: Named) -> sql.Composed:
    schema, name = named
    return sql.SQL("OPERATOR({}.{})").format(
        sql.Identifier(schema),
        sql.SQL(name),
    )


def _compared(
    left: sql.Composable,
    by: Named,
    right: sql.Composable,
) -> sql.Composed:
    operator = _operator(by)
    return sql.SQL("{} {} {}").format(left, operator, right)


def _list(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
