"""What the source's catalogue says of tables, their keys, and the publication."""

from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row

from agent.connectors.table import KeyOrder, Named, SourceColumn, SourceTable
from agent.values.column_types import Element

# Of each column the base type, and of an array what it holds: `base` goes from a domain to its base
# type at the same level, from an array to its elements one level down, and the last step of each
# level counts. (int2vector has elements and is no array: no type names it as its array.)
_TABLES = """
    select c.oid::int8 as oid, n.nspname, c.relname, c.relreplident::text as identity,
           c.relkind::text as kind, a.attname, a.atttypid::int8 as type_oid, a.attnotnull,
           a.attgenerated::text as generated, b.oids::int8[] as oids,
           pg_catalog.format_type(
               b.oids[1], coalesce(nullif(a.atttypmod, -1), b.typmods[1])) as base_type,
           yn.nspname as type_schema, y.typname as type_name, b.delimiters,
           b.builtin[1] as builtin, scale(0::money::numeric) as money_digits,
           array[(9e18::numeric / 10::numeric ^ scale(0::money::numeric))::money::text,
                 (-9e18::numeric / 10::numeric ^ scale(0::money::numeric))::money::text]
               as money_forms
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a
        on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    cross join lateral (
        with recursive base(oid, typmod, level, step) as (
            select a.atttypid, -1, 1, 0
            union all
            select case when t.typtype = 'd' then t.typbasetype else t.typelem end,
                   case when t.typtype <> 'd' then -1
                        when base.typmod = -1 then t.typtypmod
                        else base.typmod end,
                   base.level + (t.typtype <> 'd')::int, base.step + 1
            from base join pg_catalog.pg_type t on t.oid = base.oid
            where t.typtype = 'd' or exists (
                select from pg_catalog.pg_type e where e.oid = t.typelem and e.typarray = t.oid)
        ), last as (select distinct on (level) * from base order by level, step desc)
        select array_agg(t.oid order by level) as oids,
               array_agg(last.typmod order by level) as typmods,
               array_agg(t.typdelim::text order by level) as delimiters,
               array_agg(t.typnamespace = 'pg_catalog'::regnamespace and t.typtype <> 'c'
                         order by level) as builtin
        from last join pg_catalog.pg_type t on t.oid = last.oid
    ) b
    join pg_catalog.pg_type y on y.oid = b.oids[1]
    join pg_catalog.pg_namespace yn on yn.oid = y.typnamespace
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))
    order by c.oid, a.attnum"""

# A usable key: unique, immediate (but for a primary key under FULL), whole (no WHERE, no
# expression), all columns NOT NULL, the one the replica identity names.
# `orders`: of each column the btree operators by strategy (1 <, 3 =, 4 >=, 5 >) of the index's own
# operator class, and the index's collation where it is not the column's.
_KEYS = """
    select i.indrelid::int8 as oid, i.indisprimary, i.indisreplident, i.indimmediate, i.indisvalid,
           i.indpred is null and i.indexprs is null as plain,
           array(select a.attname::text
                 from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
                 join pg_catalog.pg_attribute a
                     on a.attrelid = i.indrelid and a.attnum = k.attnum
                 where k.place <= i.indnkeyatts order by k.place) as columns,
           (select c.relname::text from pg_catalog.pg_class c where c.oid = i.indexrelid) as name,
           (select coalesce(jsonb_agg(jsonb_build_object(
                'operators', (
                    select jsonb_object_agg(
                        p.amopstrategy, jsonb_build_array(n.nspname, o.oprname))
                    from pg_catalog.pg_amop p
                    join pg_catalog.pg_operator o on o.oid = p.amopopr
                    join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
                    where p.amopfamily = c.opcfamily and p.amoplefttype = c.opcintype
                      and p.amoprighttype = c.opcintype and p.amoppurpose = 's'
                      and p.amopmethod = (
                          select m.oid from pg_catalog.pg_am m where m.amname = 'btree')),
                'enum', c.opcintype = 'pg_catalog.anyenum'::pg_catalog.regtype,
                'collation', (
                    select jsonb_build_array(n.nspname, l.collname)
                    from pg_catalog.pg_collation l
                    join pg_catalog.pg_namespace n on n.oid = l.collnamespace
                    where l.oid = k.coll and k.coll is distinct from a.attcollation)
            ) order by k.place), '[]')
            from unnest(i.indclass::oid[], i.indcollation::oid[], i.indkey::int2[])
                with ordinality k(opclass, coll, attnum, place)
            join pg_catalog.pg_opclass c on c.oid = k.opclass
            left join pg_catalog.pg_attribute a
                on a.attrelid = i.indrelid and a.attnum = k.attnum
            where k.place <= i.indnkeyatts) as orders
    from pg_catalog.pg_index i where i.indisunique and i.indrelid = any(%s)"""
_LESS, _EQUAL, _AT_LEAST, _MORE = "1", "3", "4", "5"  # strategies of btree

_PUBLICATION = """
    select p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
           coalesce(to_jsonb(p) ->> 'pubgencols', '') as generated
    from pg_catalog.pg_publication p where p.pubname = %s"""

_PUBLISHED = """
    select n.nspname, c.relname,
           coalesce(to_jsonb(r) ->> 'prqual', '') <> '' as filtered,
           coalesce(to_jsonb(r) ->> 'prattrs', '') <> '' as listed
    from pg_catalog.pg_publication_rel r
    join pg_catalog.pg_publication p on p.oid = r.prpubid
    join pg_catalog.pg_class c on c.oid = r.prrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where p.pubname = %s"""


def tree_of(oid: str) -> str:
    """Returns the query of a table and its partitions, however deep.

    `oid` is an expression. The functions look at the catalogue as it is now, also in a transaction
    with an older snapshot.
    """
    return (
        f"select {oid}::pg_catalog.oid as relid"
        " union select relid"
        f" from pg_catalog.pg_partition_tree({oid}::pg_catalog.oid::pg_catalog.regclass)"
    )


_ESTIMATE = f"""
    select coalesce(sum(greatest(c.reltuples, 0)), 0)::int8 from pg_catalog.pg_class c
    where c.oid in ({tree_of("%(oid)s")}) and c.relkind <> 'p'"""


class Index(NamedTuple):
    """A unique index of a source table."""

    primary: bool
    replica_identity: bool
    immediate: bool
    valid: bool
    plain: bool
    columns: tuple[str, ...]
    name: str = ""
    order: tuple[KeyOrder, ...] | None = ()  # None: the index has no order that can be named


class Catalogued(NamedTuple):
    """A source table with what decides on its key."""

    table: SourceTable
    kind: str  # pg_class.relkind
    indexes: tuple[Index, ...]

    @property
    def identity_index(self) -> Index | None:
        """The index that the replica identity names.

        It is the primary key under DEFAULT and FULL, else the one of USING INDEX.
        """
        for index in self.indexes:
            if index.replica_identity if self.table.identity == "i" else index.primary:
                return index
        return None


class Publication(NamedTuple):
    """The publication as it stands."""

    all_tables: bool
    operations: str  # letters of insert, update, delete, truncate
    via_root: bool
    generated: str  # pubgencols on 18+, else ''
    # By schema and name: whether the table has a row filter, whether it has a column list
    tables: dict[tuple[str, str], tuple[bool, bool]]


def tables(
    connection: psycopg.Connection[Any], names: list[tuple[str, str]]
) -> dict[tuple[str, str], Catalogued]:
    """Returns the named tables that exist."""
    listed = [schema for schema, _ in names], [name for _, name in names]
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(_TABLES, listed).fetchall()
        keys: list[Any] = cursor.execute(_KEYS, ([row.oid for row in rows],)).fetchall()

    columns: dict[int, list[SourceColumn]] = {}
    for row in rows:
        columns.setdefault(row.oid, []).append(_column(row))
    indexes: dict[int, list[Index]] = {}
    for row in keys:
        indexes.setdefault(row.oid, []).append(_index(row))

    found: dict[tuple[str, str], Catalogued] = {}
    for row in rows:
        if (row.nspname, row.relname) not in found:
            found[row.nspname, row.relname] = _catalogued(
                row, columns[row.oid], indexes.get(row.oid, [])
            )
    return found


def _catalogued(row: Any, columns: list[SourceColumn], indexes: list[Index]) -> Catalogued:
    """Makes a table of its first column's row, and finds its key."""
    table = SourceTable(
        row.oid, row.nspname, row.relname, tuple(columns), (), row.identity, row.kind == "p"
    )
    entry = Catalogued(table, row.kind, tuple(indexes))
    index = entry.identity_index
    if index is None:
        return entry

    deferrable = _deferrable(table, index)
    key = index.columns if _usable(table, index) and (index.immediate or deferrable) else ()
    table = table._replace(key=key, deferrable=deferrable, order=index.order or ())
    return entry._replace(table=table)


def _column(row: Any) -> SourceColumn:
    base, *held = row.oids
    elements = tuple(map(Element, held, row.delimiters[1:]))
    return SourceColumn(
        row.attname,
        row.type_oid,
        base,
        row.base_type,
        row.builtin,
        row.attnotnull,
        row.generated,
        elements=elements,
        money_digits=row.money_digits,
        named=(row.type_schema, row.type_name),
        money_forms=tuple(row.money_forms),
    )


def _index(row: Any) -> Index:
    return Index(
        row.indisprimary,
        row.indisreplident,
        row.indimmediate,
        row.indisvalid,
        row.plain,
        tuple(row.columns),
        row.name,
        _order(row.orders),
    )


def _order(columns: list[dict[str, Any]]) -> tuple[KeyOrder, ...] | None:
    """Returns the order of an index.

    None where it is no btree, or its operator class is not whole.
    """
    found = []
    for column in columns:
        operators = column["operators"] or {}
        if not {_LESS, _EQUAL, _AT_LEAST, _MORE} <= operators.keys():
            return None
        found.append(
            KeyOrder(
                equal=_named(operators[_EQUAL]),
                less=_named(operators[_LESS]),
                more=_named(operators[_MORE]),
                at_least=_named(operators[_AT_LEAST]),
                collation=_named(column["collation"]) if column["collation"] else None,
                enum=column["enum"],
            )
        )
    return tuple(found)


def _named(pair: list[str]) -> Named:
    schema, name = pair
    return schema, name


def _usable(table: SourceTable, index: Index) -> bool:
    """Tells whether an index names each row that the log speaks of, but for when it is checked."""
    not_null = {column.name for column in table.columns if column.not_null}
    return (
        table.identity != "n"
        and index.valid
        and index.plain
        and not_null.issuperset(index.columns)
        and index.order is not None
    )


def _deferrable(table: SourceTable, index: Index) -> bool:
    """Tells whether a primary key is checked at the end of each transaction, and serves as well.

    It does under FULL: the log names each row by all its values.
    """
    return index.primary and not index.immediate and table.identity == "f"


def publication(connection: psycopg.Connection[Any], name: str) -> Publication | None:
    """Returns the publication, or None."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        one: Any = cursor.execute(_PUBLICATION, (name,)).fetchone()
        if one is None:
            return None
        rows: list[Any] = cursor.execute(_PUBLISHED, (name,)).fetchall()

    operations = ""
    for letter, published in (
        ("i", one.pubinsert),
        ("u", one.pubupdate),
        ("d", one.pubdelete),
        ("t", one.pubtruncate),
    ):
        operations += letter if published else ""
    listed = {(row.nspname, row.relname): (row.filtered, row.listed) for row in rows}
    return Publication(one.puballtables, operations, one.pubviaroot, one.generated, listed)


def estimate(connection: psycopg.Connection[Any], oid: int) -> int:
    """Returns the rows of a table and its partitions by the statistics; 0 where there are none."""
    row = connection.execute(_ESTIMATE.encode(), {"oid": oid}).fetchone()
    assert row is not None, "an aggregate has one row"
    return int(row[0])
