"""Everything the agent asks the source's catalogue; all SQL for the source but init's stands here."""

from typing import Any, NamedTuple

import psycopg
from psycopg.pq import ExecStatus
from psycopg.rows import namedtuple_row

from agent.connectors.postgres.history import Server
from agent.events.changes import Snapshot, lsn_number
from agent.resource import SourceColumn, SourceTable

_SLOT = """
    select confirmed_flush_lsn::text as confirmed, active_pid, coalesce(wal_status, '') as wal_status,
           coalesce(to_jsonb(s) ->> 'invalidation_reason', '') as conflict
    from pg_catalog.pg_replication_slots s where slot_name = %s and database = current_database()"""

_TABLES = """
    select c.oid::int8 as oid, n.nspname, c.relname, c.relreplident::text as identity, c.relkind::text as kind,
           a.attname, a.atttypid::int8 as type_oid, a.attnotnull, a.attgenerated::text as generated,
           b.oid::int8 as base_oid, pg_catalog.format_type(b.oid, coalesce(nullif(a.atttypmod, -1), b.typmod)) as base_type,
           b.builtin
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    cross join lateral (
        with recursive base(oid, typmod, typtype, typbasetype, typnamespace, depth) as (
            select t.oid, -1, t.typtype, t.typbasetype, t.typnamespace, 0 from pg_catalog.pg_type t where t.oid = a.atttypid
            union all
            select t.oid, case when d.typmod = -1 then o.typtypmod else d.typmod end, t.typtype, t.typbasetype, t.typnamespace, d.depth + 1
            from base d join pg_catalog.pg_type o on o.oid = d.oid join pg_catalog.pg_type t on t.oid = d.typbasetype where d.typtype = 'd'
        )
        select oid, typmod, typnamespace = 'pg_catalog'::regnamespace as builtin from base order by depth desc limit 1
    ) b
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))
    order by c.oid, a.attnum"""

# A usable key: unique, immediate, whole (no WHERE, no expression), all columns NOT NULL, and the one the replica identity names.
_KEYS = """
    select i.indrelid::int8 as oid, i.indisprimary, i.indisreplident, i.indimmediate, i.indisvalid, i.indpred is null and i.indexprs is null as plain,
           array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
                 join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                 where k.place <= i.indnkeyatts order by k.place) as columns,
           (select c.relname::text from pg_catalog.pg_class c where c.oid = i.indexrelid) as name
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


class Index(NamedTuple):
    """A unique index of a source table."""

    primary: bool
    replica_identity: bool
    immediate: bool
    valid: bool
    plain: bool
    columns: tuple[str, ...]
    name: str = ""


class Catalogued(NamedTuple):
    """A source table with what decides on its key."""

    table: SourceTable
    kind: str  # pg_class.relkind
    indexes: tuple[Index, ...]

    @property
    def identity_index(self) -> Index | None:
        """The index the replica identity names: the primary key under DEFAULT and FULL, else the one of USING INDEX."""
        named = self.table.identity == "i"
        return next((index for index in self.indexes if (index.replica_identity if named else index.primary)), None)


class Publication(NamedTuple):
    """The publication as it stands. `tables`: (schema, name) -> (has a row filter, has a column list)."""

    all_tables: bool
    operations: str  # letters of insert, update, delete, truncate
    via_root: bool
    generated: str  # pubgencols on 18+, else ''
    tables: dict[tuple[str, str], tuple[bool, bool]]


def server(replication: psycopg.Connection[Any], connection: psycopg.Connection[Any], slot: str) -> Server:
    """What checks A and B need to know, from a replication connection and an ordinary one."""
    system = replication.pgconn.exec_(b"IDENTIFY_SYSTEM")
    if system.status != ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError("IDENTIFY_SYSTEM was not answered")
    system_id, timeline, flushed = ((system.get_value(0, i) or b"").decode() for i in range(3))
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        recovery: Any = cursor.execute("select pg_is_in_recovery() as yes").fetchone()
        s: Any = cursor.execute(_SLOT, (slot,)).fetchone()
    return Server(
        system_id=system_id,
        timeline=int(timeline),
        flushed=lsn_number(flushed),
        in_recovery=recovery.yes,
        slot_exists=s is not None,
        confirmed=lsn_number(s.confirmed) if s is not None and s.confirmed else 0,
        active_pid=s.active_pid if s is not None else None,
        wal_status=s.wal_status if s is not None else "",
        conflict=s.conflict if s is not None else "",
    )


def tables(connection: psycopg.Connection[Any], names: list[tuple[str, str]]) -> dict[tuple[str, str], Catalogued]:
    """The named tables that exist."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(_TABLES, ([schema for schema, _ in names], [name for _, name in names])).fetchall()
        keys: list[Any] = cursor.execute(_KEYS, ([row.oid for row in rows],)).fetchall()
    indexes: dict[int, list[Index]] = {}
    for k in keys:
        indexes.setdefault(k.oid, []).append(Index(k.indisprimary, k.indisreplident, k.indimmediate, k.indisvalid, k.plain, tuple(k.columns), k.name))
    found: dict[tuple[str, str], Catalogued] = {}
    for row in rows:
        column = SourceColumn(row.attname, row.type_oid, row.base_oid, row.base_type, row.builtin, row.attnotnull, row.generated)
        before = found.get((row.nspname, row.relname))
        columns = (*before.table.columns, column) if before else (column,)
        table = SourceTable(row.oid, row.nspname, row.relname, columns, (), row.identity)
        found[row.nspname, row.relname] = Catalogued(table, row.kind, tuple(indexes.get(row.oid, [])))
    return {name: entry._replace(table=entry.table._replace(key=_key(entry))) for name, entry in found.items()}


def _key(entry: Catalogued) -> tuple[str, ...]:
    index = entry.identity_index
    not_null = {column.name for column in entry.table.columns if column.not_null}
    if index is None or entry.table.identity == "n" or not (index.immediate and index.valid and index.plain and not_null.issuperset(index.columns)):
        return ()
    return index.columns


def publication(connection: psycopg.Connection[Any], name: str) -> Publication | None:
    """The publication, or None."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        one: Any = cursor.execute(_PUBLICATION, (name,)).fetchone()
        if one is None:
            return None
        rows: list[Any] = cursor.execute(_PUBLISHED, (name,)).fetchall()
    operations = "".join(letter for letter, on in zip("iudt", (one.pubinsert, one.pubupdate, one.pubdelete, one.pubtruncate), strict=True) if on)
    return Publication(one.puballtables, operations, one.pubviaroot, one.generated, {(r.nspname, r.relname): (r.filtered, r.listed) for r in rows})


def snapshot(connection: psycopg.Connection[Any]) -> Snapshot:
    """What a new snapshot sees now."""
    text = str(connection.execute("select pg_current_snapshot()::text").fetchone()[0])  # type: ignore[index]
    _, xmax, in_progress = text.split(":")
    return Snapshot(int(xmax), frozenset(int(xid) for xid in in_progress.split(",") if xid))


def written_bytes_past(connection: psycopg.Connection[Any], position: str) -> int:
    """Bytes of log written past a position."""
    return int(connection.execute("select pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)::int8", (position,)).fetchone()[0])  # type: ignore[index]


def heartbeat(connection: psycopg.Connection[Any], prefix: str, content: str) -> None:
    """A sign of life in the log; non-transactional, so it touches nothing and waits for nobody."""
    connection.execute("select pg_logical_emit_message(false, %s, %s::text)", (prefix, content))
