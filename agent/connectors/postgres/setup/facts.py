"""Asks the server what `init` and `check` want to know beside the catalogue of the stream.

That is server, role, rights, slots, and traits of tables.
"""

from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row

from agent.connectors.table import SourceTable

_SERVER = """
    select current_setting('server_version_num')::int as version,
           pg_is_in_recovery() as standby, current_setting('wal_level') as wal_level,
           current_setting('server_encoding') as encoding,
           current_setting('max_replication_slots')::int as slots,
           current_setting('max_replication_slots')::int
               - (select count(*) from pg_catalog.pg_replication_slots)::int as slots_left,
           current_setting('max_wal_senders')::int as senders,
           current_setting('max_wal_senders')::int
               - (select count(*) from pg_catalog.pg_stat_get_wal_senders())::int as senders_left,
           coalesce((select setting::int8 from pg_catalog.pg_settings
                     where name = 'idle_replication_slot_timeout'), 0) as slot_idle,
           coalesce(current_setting('idle_replication_slot_timeout', true), '') as slot_idle_text,
           (select setting::int8 from pg_catalog.pg_settings
            where name = 'max_slot_wal_keep_size') as slot_keep_mb,
           extract(epoch from clock_timestamp())::float8 as clock,
           extract(epoch from pg_postmaster_start_time())::text as started,
           current_database()::text as database"""

_ROLE = """
    select rolreplication as replication, rolsuper as super, rolcanlogin as login
    from pg_catalog.pg_roles where rolname = %s"""

_SLOT = """
    select slot_type, coalesce(plugin, '') as plugin, coalesce(database, '') as database,
           active_pid, coalesce(wal_status, '') as wal_status,
           coalesce(to_jsonb(s) ->> 'invalidation_reason', '') as conflict,
           confirmed_flush_lsn::text as confirmed,
           coalesce(pg_wal_lsn_diff(
               case when pg_is_in_recovery() then null else pg_current_wal_lsn() end,
               confirmed_flush_lsn), 0)::int8 as behind,
           safe_wal_size::int8 as safe,
           (select host(a.client_addr) from pg_catalog.pg_stat_activity a
            where a.pid = s.active_pid) as reader
    from pg_catalog.pg_replication_slots s where slot_name = %s"""

_LONG = """
    select pid::text, coalesce(nullif(application_name, ''), '?'),
           extract(epoch from clock_timestamp() - xact_start)::int8
    from pg_catalog.pg_stat_activity
    where backend_xid is not null and pid <> pg_backend_pid()
      and xact_start < clock_timestamp() - make_interval(secs => %s)
    union all
    select gid, '(prepared)', extract(epoch from clock_timestamp() - prepared)::int8
    from pg_catalog.pg_prepared_xacts
    order by 3 desc limit 10"""

# Whether the role may read: columns it lacks, schemas it may not use,
# policies that would hide rows from it.
_RIGHTS = """
    select has_schema_privilege(r.rolname, n.oid, 'usage') as usage,
           array(select a.attname::text from pg_catalog.pg_attribute a
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                   and a.attname::text = any(%(columns)s)
                   and not has_column_privilege(r.rolname, c.oid, a.attnum, 'select')
                 order by a.attnum) as lacking,
           array(select s.name from unnest(%(schemas)s::text[]) s(name)
                 join pg_catalog.pg_namespace m on m.nspname = s.name
                 where m.oid <> n.oid and not has_schema_privilege(r.rolname, m.oid, 'usage')
                 order by 1) as closed,
           c.relrowsecurity and not (
               r.rolsuper or r.rolbypassrls
               or (pg_has_role(r.rolname, c.relowner, 'usage') and not c.relforcerowsecurity)
           ) as hidden
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace,
         pg_catalog.pg_roles r
    where c.oid = %(oid)s and r.rolname = %(role)s"""

_CONNECT = "select has_database_privilege(%s, current_database(), 'connect')"

_TRAITS = """
    select c.oid::int8 as oid, c.relpersistence::text as persistence, c.relispartition as partition,
           coalesce((select format('%%I.%%I', n.nspname, p.relname) from pg_catalog.pg_inherits i
                     join pg_catalog.pg_class p on p.oid = i.inhparent
                     join pg_catalog.pg_namespace n on n.oid = p.relnamespace
                     where i.inhrelid = c.oid limit 1), '') as parent,
           array(select format('%%I.%%I', n.nspname, h.relname) from pg_catalog.pg_inherits i
                 join pg_catalog.pg_class h on h.oid = i.inhrelid
                 join pg_catalog.pg_namespace n on n.oid = h.relnamespace
                 where i.inhparent = c.oid and c.relkind <> 'p' order by 1) as children,
           array(select jsonb_build_object(
                   'name', format('%%I.%%I', n.nspname, l.relname), 'kind', l.relkind,
                   'persistence', l.relpersistence,
                   'identity', l.relreplident,
                   'named', (select i.indexrelid::int8 from pg_catalog.pg_index i
                             where i.indrelid = l.oid and i.indisreplident),
                   'index', (select format('%%I', x.relname) from pg_catalog.pg_class x
                             where x.oid = d.descended),
                   'descended', d.descended::int8)
                 from pg_catalog.pg_partition_tree(c.oid) t
                 join pg_catalog.pg_class l on l.oid = t.relid
                 join pg_catalog.pg_namespace n on n.oid = l.relnamespace
                 left join lateral (
                     select i.indexrelid as descended
                     from pg_catalog.pg_index i,
                          pg_catalog.pg_partition_ancestors(i.indexrelid) a,
                          pg_catalog.pg_index r
                     where i.indrelid = l.oid and r.indexrelid = a.relid and r.indrelid = c.oid
                       and r.indisreplident) d on true
                 where t.isleaf and c.relkind = 'p' order by l.relname) as leaves
    from pg_catalog.pg_class c where c.oid = any(%s)"""


Connection = psycopg.Connection[Any]


class Leaf(NamedTuple):
    """A partition that holds rows; its own replica identity decides on the application's UPDATE."""

    name: str  # quoted
    kind: str
    persistence: str
    identity: str
    # Quoted: its part of the index that the root's replica identity names, '' where it names none
    key_index: str
    fits: bool  # the leaf's replica identity names just that index


class Traits(NamedTuple):
    """What a table is, beside columns and keys."""

    persistence: str  # pg_class.relpersistence
    partition: bool
    parent: str  # quoted, '' without
    children: tuple[str, ...]  # by plain inheritance, quoted
    leaves: tuple[Leaf, ...]


class Rights(NamedTuple):
    """What the agent's role may do with one table."""

    usage: bool  # of its schema
    closed: list[str]  # schemas of the key's types and operators that it may not use
    lacking: list[str]  # columns it may not read
    hidden: bool  # a row security policy would hide rows from it


def server(connection: Connection) -> Any:
    """Version, settings and clock of the server; fields as `_SERVER` names them."""
    return _one(connection, _SERVER, ())


def role(connection: Connection, name: str) -> Any:
    """Attributes of a role (replication, super, login), or None."""
    return _one(connection, _ROLE, (name,))


def slot(connection: Connection, name: str) -> Any:
    """A slot of that name, of whatever database; or None. Fields as `_SLOT` names them."""
    return _one(connection, _SLOT, (name,))


def may_connect(connection: Connection, name: str) -> bool:
    """Whether the role may connect to this database."""
    row = connection.execute(_CONNECT, (name,)).fetchone()
    return bool(row and row[0])


def rights(
    connection: Connection, table: SourceTable, columns: list[str], name: str
) -> Rights | None:
    """What the role may do with a table; None where there is no such role."""
    asked = {"oid": table.oid, "columns": columns, "role": name, "schemas": table.key_schemas}
    row = _one(connection, _RIGHTS, asked)
    if row is None:
        return None
    return Rights(row.usage, list(row.closed), list(row.lacking), row.hidden)


def long_transactions(connection: Connection, seconds: float) -> list[tuple[str, str, int]]:
    """Writing transactions open for longer: process id or name, application, seconds."""
    return [
        (str(who), str(application), int(age))
        for who, application, age in connection.execute(_LONG, (seconds,)).fetchall()
    ]


def traits(connection: Connection, oids: list[int]) -> dict[int, Traits]:
    """Traits of tables, by oid."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(_TRAITS, (oids,)).fetchall()
    return {
        row.oid: Traits(
            row.persistence,
            row.partition,
            row.parent,
            tuple(row.children),
            tuple(map(_leaf, row.leaves)),
        )
        for row in rows
    }


def _leaf(leaf: dict[str, Any]) -> Leaf:
    return Leaf(
        leaf["name"],
        leaf["kind"],
        leaf["persistence"],
        leaf["identity"],
        leaf["index"] or "",
        leaf["named"] == leaf["descended"],
    )


def _one(connection: Connection, query: Any, parameters: Any) -> Any:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query, parameters).fetchone()
