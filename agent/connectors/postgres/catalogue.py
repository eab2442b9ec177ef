"""Everything the agent asks the source's catalogue; all SQL for the source but init's stands here."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import ExecStatus
from psycopg.rows import namedtuple_row

from agent.connectors.base import Fingerprint
from agent.connectors.position import position_number
from agent.connectors.postgres.history import Server, branch
from agent.connectors.postgres.snapshot import Snapshot, snapshot_of
from agent.connectors.table import KeyOrder, Named, SourceColumn, SourceTable
from agent.values.column_types import Element

_SLOT = """
    select confirmed_flush_lsn::text as confirmed, active_pid, coalesce(wal_status, '') as wal_status,
           coalesce(to_jsonb(s) ->> 'invalidation_reason', '') as conflict,
           (select host(a.client_addr) from pg_catalog.pg_stat_activity a where a.pid = s.active_pid) as reader,
           database <> current_database() as elsewhere, database
    from pg_catalog.pg_replication_slots s where slot_name = %s"""

# Of each column the base type, and of an array what it holds: `base` goes from a domain to its base type at the same level, from an array
# to its elements one level down, and the last step of each level counts. (int2vector has elements and is no array: no type names it as its array.)
_TABLES = """
    select c.oid::int8 as oid, n.nspname, c.relname, c.relreplident::text as identity, c.relkind::text as kind,
           a.attname, a.atttypid::int8 as type_oid, a.attnotnull, a.attgenerated::text as generated,
           b.oids::int8[] as oids, pg_catalog.format_type(b.oids[1], coalesce(nullif(a.atttypmod, -1), b.typmods[1])) as base_type,
           yn.nspname as type_schema, y.typname as type_name, b.delimiters, b.builtin[1] as builtin, scale(0::money::numeric) as money_digits,
           array[(9e18::numeric / 10::numeric ^ scale(0::money::numeric))::money::text,
                 (-9e18::numeric / 10::numeric ^ scale(0::money::numeric))::money::text] as money_forms
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    cross join lateral (
        with recursive base(oid, typmod, level, step) as (
            select a.atttypid, -1, 1, 0
            union all
            select case when t.typtype = 'd' then t.typbasetype else t.typelem end,
                   case when t.typtype <> 'd' then -1 when base.typmod = -1 then t.typtypmod else base.typmod end,
                   base.level + (t.typtype <> 'd')::int, base.step + 1
            from base join pg_catalog.pg_type t on t.oid = base.oid
            where t.typtype = 'd' or exists (select from pg_catalog.pg_type e where e.oid = t.typelem and e.typarray = t.oid)
        ), last as (select distinct on (level) * from base order by level, step desc)
        select array_agg(t.oid order by level) as oids, array_agg(last.typmod order by level) as typmods,
               array_agg(t.typdelim::text order by level) as delimiters,
               array_agg(t.typnamespace = 'pg_catalog'::regnamespace and t.typtype <> 'c' order by level) as builtin
        from last join pg_catalog.pg_type t on t.oid = last.oid
    ) b
    join pg_catalog.pg_type y on y.oid = b.oids[1] join pg_catalog.pg_namespace yn on yn.oid = y.typnamespace
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))
    order by c.oid, a.attnum"""

# A usable key: unique, immediate (but for a primary key under FULL), whole (no WHERE, no expression), all columns NOT NULL, the one the replica identity names.
# `orders`: of each column the btree operators by strategy (1 <, 3 =, 4 >=, 5 >) of the index's own operator class,
# and the index's collation where it is not the column's.
_KEYS = """
    select i.indrelid::int8 as oid, i.indisprimary, i.indisreplident, i.indimmediate, i.indisvalid, i.indpred is null and i.indexprs is null as plain,
           array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
                 join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                 where k.place <= i.indnkeyatts order by k.place) as columns,
           (select c.relname::text from pg_catalog.pg_class c where c.oid = i.indexrelid) as name,
           (select coalesce(jsonb_agg(jsonb_build_object(
                'operators', (select jsonb_object_agg(p.amopstrategy, jsonb_build_array(n.nspname, o.oprname))
                              from pg_catalog.pg_amop p join pg_catalog.pg_operator o on o.oid = p.amopopr
                              join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
                              where p.amopfamily = c.opcfamily and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype
                                and p.amoppurpose = 's' and p.amopmethod = (select m.oid from pg_catalog.pg_am m where m.amname = 'btree')),
                'enum', c.opcintype = 'pg_catalog.anyenum'::pg_catalog.regtype,
                'collation', (select jsonb_build_array(n.nspname, l.collname)
                              from pg_catalog.pg_collation l join pg_catalog.pg_namespace n on n.oid = l.collnamespace
                              where l.oid = k.coll and k.coll is distinct from a.attcollation)
            ) order by k.place), '[]')
            from unnest(i.indclass::oid[], i.indcollation::oid[], i.indkey::int2[]) with ordinality k(opclass, coll, attnum, place)
            join pg_catalog.pg_opclass c on c.oid = k.opclass
            left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
            where k.place <= i.indnkeyatts) as orders
    from pg_catalog.pg_index i where i.indisunique and i.indrelid = any(%s)"""

_PUBLICATION = """
    select p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
           coalesce(to_jsonb(p) ->> 'pubgencols', '') as generated
    from pg_catalog.pg_publication p where p.pubname = %s"""

_PUBLISHED = """
    select n.nspname, c.relname, coalesce(to_jsonb(r) ->> 'prqual', '') <> '' as filtered, coalesce(to_jsonb(r) ->> 'prattrs', '') <> '' as listed
    from pg_catalog.pg_publication_rel r
    join pg_catalog.pg_publication p on p.oid = r.prpubid
    join pg_catalog.pg_class c on c.oid = r.prrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where p.pubname = %s"""


# A table and its partitions, however deep. These functions look at the catalogue as it is now, also in a transaction with an older snapshot.
_TREE = (
    "select %(oid)s::pg_catalog.oid as relid"
    " union select relid from pg_catalog.pg_partition_tree(%(oid)s::pg_catalog.oid::pg_catalog.regclass)"
)

_FINGERPRINTS = """
    with p as (select oid, xmin, puballtables from pg_catalog.pg_publication where pubname = %s)
    select c.oid::int8 as oid, n.nspname, c.relname, c.relreplident::text || case when exists (
               select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary and not i.indimmediate) then ' deferrable' else '' end as identity,
           coalesce((select p.oid || ':' || p.xmin || ':' || coalesce((
               select r.oid || ':' || r.xmin from pg_catalog.pg_publication_rel r where r.prpubid = p.oid and r.prrelid = c.oid), p.puballtables::text)
               from p), '') as publication,
           coalesce((select string_agg(relid::oid::text, ',' order by relid::oid)
                     from pg_catalog.pg_partition_tree(c.oid::regclass) where isleaf), '') as leaves,
           (select jsonb_object_agg(a.attname, a.attnum || ':' || a.atttypid || ':' || a.atttypmod)
            from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))"""

# Enum labels and composite attributes, however deep, of the types made by users (their oids begin at 16384) in some columns of a table:
# ALTER TYPE changes how every stored value is written. '' where there are none.
_LABELS = """
    with recursive used(oid) as (
        select a.atttypid from pg_catalog.pg_attribute a where a.attrelid = %s and a.attname = any(%s) and not a.attisdropped
        union
        select part from used join pg_catalog.pg_type t on t.oid = used.oid, lateral (
            values (t.typbasetype), (t.typelem), ((select r.rngsubtype from pg_catalog.pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)))
            union all select a.atttypid from pg_catalog.pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) p(part)
        where t.oid >= 16384
    )
    select coalesce(md5(string_agg(line, ',' order by line)), '') from (
        select e.oid || ':' || e.enumlabel from used join pg_catalog.pg_enum e on e.enumtypid = used.oid
        union all
        select a.attrelid || ':' || a.attnum || ':' || a.atttypid
        from used join pg_catalog.pg_type t on t.oid = used.oid
        join pg_catalog.pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) lines(line)"""


LEAVES = "leaves"  # the part of a fingerprint that names the partitions


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
        """The index the replica identity names: the primary key under DEFAULT and FULL, else the one of USING INDEX."""
        named = self.table.identity == "i"
        return next(
            (
                index
                for index in self.indexes
                if (index.replica_identity if named else index.primary)
            ),
            None,
        )


class Publication(NamedTuple):
    """The publication as it stands. `tables`: (schema, name) -> (has a row filter, has a column list)."""

    all_tables: bool
    operations: str  # letters of insert, update, delete, truncate
    via_root: bool
    generated: str  # pubgencols on 18+, else ''
    tables: dict[tuple[str, str], tuple[bool, bool]]


def server(
    replication: psycopg.Connection[Any], connection: psycopg.Connection[Any], slot: str
) -> Server:
    """What checks A and B need to know, from a replication connection and an ordinary one."""
    system = replication.pgconn.exec_(b"IDENTIFY_SYSTEM")
    if system.status != ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError("IDENTIFY_SYSTEM was not answered")
    system_id, timeline, flushed = ((system.get_value(0, i) or b"").decode() for i in range(3))
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        recovery: Any = cursor.execute("select pg_is_in_recovery() as yes").fetchone()
        s: Any = cursor.execute(_SLOT, (slot,)).fetchone()
    elsewhere = s.database or "?" if s is not None and s.elsewhere is not False else ""
    if elsewhere:
        s = None
    return Server(
        system_id=system_id,
        timeline=int(timeline),
        flushed=position_number(flushed),
        in_recovery=recovery.yes,
        slot_exists=s is not None,
        confirmed=position_number(s.confirmed) if s is not None and s.confirmed else 0,
        active_pid=s.active_pid if s is not None else None,
        wal_status=s.wal_status if s is not None else "",
        conflict=s.conflict if s is not None else "",
        reader=(s.reader or "") if s is not None else "",
        elsewhere=elsewhere,
    )


def branched_at(replication: psycopg.Connection[Any], server: Server, timeline: int) -> int | None:
    """Where the server's history left an older timeline; None where that one is not part of it, or its history file is gone.

    Up to there both histories are the same.
    """
    told = replication.pgconn.exec_(f"TIMELINE_HISTORY {server.timeline}".encode())
    if told.status != ExecStatus.TUPLES_OK:
        return None
    return branch((told.get_value(0, 1) or b"").decode(errors="replace"), timeline)


def tables(
    connection: psycopg.Connection[Any], names: list[tuple[str, str]]
) -> dict[tuple[str, str], Catalogued]:
    """The named tables that exist."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(
            _TABLES, ([schema for schema, _ in names], [name for _, name in names])
        ).fetchall()
        keys: list[Any] = cursor.execute(_KEYS, ([row.oid for row in rows],)).fetchall()
    indexes: dict[int, list[Index]] = {}
    for k in keys:
        indexes.setdefault(k.oid, []).append(
            Index(
                k.indisprimary,
                k.indisreplident,
                k.indimmediate,
                k.indisvalid,
                k.plain,
                tuple(k.columns),
                k.name,
                _order(k.orders),
            )
        )
    found: dict[tuple[str, str], Catalogued] = {}
    for row in rows:
        column = _column(row)
        before = found.get((row.nspname, row.relname))
        columns = (*before.table.columns, column) if before else (column,)
        table = SourceTable(
            row.oid, row.nspname, row.relname, columns, (), row.identity, row.kind == "p"
        )
        found[row.nspname, row.relname] = Catalogued(
            table, row.kind, tuple(indexes.get(row.oid, []))
        )
    return {
        name: entry._replace(
            table=entry.table._replace(
                key=_key(entry), deferrable=_deferrable(entry), order=_order_of(entry)
            )
        )
        for name, entry in found.items()
    }


def _order(columns: list[dict[str, Any]]) -> tuple[KeyOrder, ...] | None:
    """The order of an index; None where it is no btree, or its operator class is not whole."""
    found = []
    for column in columns:
        operators = column["operators"] or {}
        if not {"1", "3", "4", "5"} <= operators.keys():
            return None
        equal, less, more, at_least = (_named(operators[strategy]) for strategy in "3154")
        collation = None if column["collation"] is None else _named(column["collation"])
        found.append(KeyOrder(equal, less, more, at_least, collation, column["enum"]))
    return tuple(found)


def _named(pair: list[str]) -> Named:
    schema, name = pair
    return schema, name


def _order_of(entry: Catalogued) -> tuple[KeyOrder, ...]:
    index = entry.identity_index
    return () if index is None or index.order is None else index.order


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


def _key(entry: Catalogued) -> tuple[str, ...]:
    index = entry.identity_index
    not_null = {column.name for column in entry.table.columns if column.not_null}
    if (
        index is None
        or entry.table.identity == "n"
        or not (index.valid and index.plain and not_null.issuperset(index.columns))
        or index.order is None
    ):
        return ()
    return index.columns if index.immediate or _deferrable(entry) else ()


def _deferrable(entry: Catalogued) -> bool:
    """Under FULL a deferrable primary key serves too: the log names each row by all its values."""
    index = entry.identity_index
    return (
        index is not None and index.primary and not index.immediate and entry.table.identity == "f"
    )


def publication(connection: psycopg.Connection[Any], name: str) -> Publication | None:
    """The publication, or None."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        one: Any = cursor.execute(_PUBLICATION, (name,)).fetchone()
        if one is None:
            return None
        rows: list[Any] = cursor.execute(_PUBLISHED, (name,)).fetchall()
    operations = "".join(
        letter
        for letter, on in zip(
            "iudt", (one.pubinsert, one.pubupdate, one.pubdelete, one.pubtruncate), strict=True
        )
        if on
    )
    return Publication(
        one.puballtables,
        operations,
        one.pubviaroot,
        one.generated,
        {(r.nspname, r.relname): (r.filtered, r.listed) for r in rows},
    )


def snapshot(connection: psycopg.Connection[Any]) -> Snapshot:
    """What a new snapshot sees now."""
    text = str(connection.execute("select pg_current_snapshot()::text").fetchone()[0])  # type: ignore[index]
    return snapshot_of(text)


def new_xid(connection: psycopg.Connection[Any]) -> int:
    """The xid of a transaction that begins now."""
    return int(connection.execute("select pg_current_xact_id()::text").fetchone()[0])  # type: ignore[index]


def estimate(connection: psycopg.Connection[Any], oid: int) -> int:
    """Rows of a table and its partitions by the statistics; 0 where there are none."""
    query = f"select coalesce(sum(greatest(c.reltuples, 0)), 0)::int8 from pg_catalog.pg_class c where c.oid in ({_TREE}) and c.relkind <> 'p'"
    return int(connection.execute(query, {"oid": oid}).fetchone()[0])  # type: ignore[index]


def storage(connection: psycopg.Connection[Any], oid: int) -> str:
    """Where a table and all its partitions are stored now: a rewrite changes it, and makes an older snapshot read nothing.

    As a page, it must be right whatever the session's search_path: so each name stands with its schema.
    """
    query = (
        "select pg_catalog.string_agg(pg_catalog.concat(relid::pg_catalog.oid, ':',"
        " coalesce(pg_catalog.pg_relation_filenode(relid), 0)), ',' order by relid::pg_catalog.oid)"
        f" from ({_TREE}) t"
    )
    return str(connection.execute(query, {"oid": oid}).fetchone()[0])  # type: ignore[index]


def labels(connection: psycopg.Connection[Any], oid: int, columns: Collection[str]) -> str:
    """How values of the users' own types are written in these columns of a table."""
    return str(connection.execute(_LABELS, (oid, list(columns))).fetchone()[0])  # type: ignore[index]


def fingerprints(
    connection: psycopg.Connection[Any],
    publication: str,
    listed: Mapping[tuple[str, str], Collection[str]],
) -> dict[tuple[str, str], Fingerprint]:
    """What moves when rows may have changed without a row in the stream; `listed`: the columns that matter of each table."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(
            _FINGERPRINTS,
            (publication, [schema for schema, _ in listed], [name for _, name in listed]),
        ).fetchall()
    found = {}
    for r in rows:
        name = r.nspname, r.relname
        ours, others = _divided(r.columns, listed[name])
        found[name] = Fingerprint(
            copy={
                "publication": r.publication,
                LEAVES: r.leaves,
                "columns": ours,
                "identity": r.identity,
            },
            # Files, which a rewrite moves; and how values of the users' own types are written,
            # which ALTER TYPE may change
            verify={
                "storage": storage(connection, r.oid) + labels(connection, r.oid, listed[name])
            },
            notice={"others": others},
        )
    return found


def _divided(columns: Mapping[str, str], listed: Collection[str]) -> tuple[str, str]:
    """Returns the traits of the columns that are shared or tested, and those of the others."""
    ours: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, traits in sorted(columns.items()):
        (ours if name in listed else others)[name] = traits
    return json.dumps(ours), json.dumps(others)


def written_bytes_past(connection: psycopg.Connection[Any], position: str) -> int:
    """Bytes of log written past a position."""
    query = "select pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)::int8"
    return int(connection.execute(query, (position,)).fetchone()[0])  # type: ignore[index]


def slot_lag(connection: psycopg.Connection[Any], slot: str) -> tuple[Any, ...]:
    """Bytes of log written past what the slot has confirmed, and whether somebody reads it; empty where there is no such slot."""
    query = "select pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::int8, active from pg_replication_slots where slot_name = %s"
    return connection.execute(query, (slot,)).fetchone() or ()


def heartbeat(connection: psycopg.Connection[Any], prefix: str, content: str) -> None:
    """A sign of life in the log; non-transactional, so it touches nothing and waits for nobody."""
    connection.execute("select pg_logical_emit_message(false, %s, %s::text)", (prefix, content))
