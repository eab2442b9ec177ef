"""What moves in the catalogue when rows may have changed without a row in the stream."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from agent.connectors.base import Fingerprint
from agent.connectors.postgres.catalogue import tree_of

LEAVES = "leaves"  # the part of a fingerprint that names the partitions

# `publication`: the entry by which it carries the table, and when that was made.
_FINGERPRINTS = """
    with p as (select oid, xmin, puballtables from pg_catalog.pg_publication where pubname = %s)
    select c.oid::int8 as oid, n.nspname, c.relname,
           c.relreplident::text || case when exists (
               select from pg_catalog.pg_index i
               where i.indrelid = c.oid and i.indisprimary and not i.indimmediate)
           then ' deferrable' else '' end as identity,
           coalesce((
               select p.oid || ':' || p.xmin || ':' || coalesce((
                   select r.oid || ':' || r.xmin from pg_catalog.pg_publication_rel r
                   where r.prpubid = p.oid and r.prrelid = c.oid), p.puballtables::text)
               from p), '') as publication,
           coalesce((
               select string_agg(relid::oid::text, ',' order by relid::oid)
               from pg_catalog.pg_partition_tree(c.oid::regclass) where isleaf), '') as leaves,
           (select jsonb_object_agg(
                a.attname, a.attnum || ':' || a.atttypid || ':' || a.atttypmod)
            from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))"""

# Enum labels and composite attributes, however deep, of the types made by users (their oids begin
# at 16384) in some columns of each table; nothing of tables where there are none.
_LABELS = """
    with recursive used(relid, oid) as (
        select a.attrelid, a.atttypid
        from unnest(%s::oid[], %s::text[]) listed(relid, name)
        join pg_catalog.pg_attribute a on a.attrelid = listed.relid and a.attname = listed.name
        where not a.attisdropped
        union
        select used.relid, part from used join pg_catalog.pg_type t on t.oid = used.oid, lateral (
            values (t.typbasetype), (t.typelem), (
                (select r.rngsubtype from pg_catalog.pg_range r
                 where t.oid in (r.rngtypid, r.rngmultitypid)))
            union all
            select a.atttypid from pg_catalog.pg_attribute a
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) p(part)
        where t.oid >= 16384
    )
    select relid::int8, md5(string_agg(line, ',' order by line)) from (
        select used.relid, e.oid || ':' || e.enumlabel
        from used join pg_catalog.pg_enum e on e.enumtypid = used.oid
        union all
        select used.relid, a.attrelid || ':' || a.attnum || ':' || a.atttypid
        from used join pg_catalog.pg_type t on t.oid = used.oid
        join pg_catalog.pg_attribute a
            on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) lines(relid, line) group by relid"""

_FILES = """
    select pg_catalog.string_agg(
        pg_catalog.concat(
            relid::pg_catalog.oid, ':', coalesce(pg_catalog.pg_relation_filenode(relid), 0)),
        ',' order by relid::pg_catalog.oid)
    from ({tree}) t"""
_STORAGE = _FILES.format(tree=tree_of("%(oid)s"))
_ALL_STORAGE = f"""
    select listed.oid::pg_catalog.int8, ({_FILES.format(tree=tree_of("listed.oid"))})
    from pg_catalog.unnest(%(oids)s::pg_catalog.oid[]) listed(oid)"""


def fingerprints(
    connection: psycopg.Connection[Any],
    publication: str,
    listed: Mapping[tuple[str, str], Collection[str]],
) -> dict[tuple[str, str], Fingerprint]:
    """Returns the fingerprints of tables, by schema and name.

    `listed`: by schema and name, the columns that are shared or tested.
    """
    schemas = [schema for schema, _ in listed]
    names = [name for _, name in listed]
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(_FINGERPRINTS, (publication, schemas, names)).fetchall()

    # Files, which a rewrite moves; and how values of the users' own types are written, which ALTER
    # TYPE may change
    files = _all_storage(connection, [row.oid for row in rows])
    labels = _labels(connection, {row.oid: listed[row.nspname, row.relname] for row in rows})

    found = {}
    for row in rows:
        name = row.nspname, row.relname
        ours, others = _divided(row.columns, listed[name])
        stored = files[row.oid] + labels.get(row.oid, "")
        found[name] = Fingerprint(
            copy={
                "publication": row.publication,
                LEAVES: row.leaves,
                "columns": ours,
                "identity": row.identity,
            },
            verify={"storage": stored},
            notice={"others": others},
        )
    return found


def storage(connection: psycopg.Connection[Any], oid: int) -> str:
    """Tells where a table and all its partitions are stored now.

    A rewrite changes it, and makes an older snapshot read nothing. As a page, it must be right
    whatever the session's search_path: so each name stands with its schema.
    """
    row = connection.execute(_STORAGE.encode(), {"oid": oid}).fetchone()
    assert row is not None, "an aggregate has one row"
    return str(row[0])


def _all_storage(connection: psycopg.Connection[Any], oids: Sequence[int]) -> dict[int, str]:
    """Tells the same of many tables, by their oids, with one question."""
    rows = connection.execute(_ALL_STORAGE.encode(), {"oids": list(oids)}).fetchall()
    return {int(oid): str(files) for oid, files in rows}


def _labels(
    connection: psycopg.Connection[Any], listed: Mapping[int, Collection[str]]
) -> dict[int, str]:
    """Tells how values of the users' own types are written in these columns of tables, by oid."""
    oids: list[int] = []
    names: list[str] = []
    for oid, columns in listed.items():
        oids += [oid] * len(columns)
        names += columns
    rows = connection.execute(_LABELS, (oids, names)).fetchall()
    return {int(oid): str(labels) for oid, labels in rows}


def _divided(columns: Mapping[str, str], listed: Collection[str]) -> tuple[str, str]:
    """Returns the traits of the columns that are shared or tested, and those of the others."""
    ours: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, traits in sorted(columns.items()):
        (ours if name in listed else others)[name] = traits
    return json.dumps(ours), json.dumps(others)
