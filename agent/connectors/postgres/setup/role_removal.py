"""Takes the agent's role out of the business database, where it is the agent's alone."""

from typing import Any

import psycopg

from agent.connectors.postgres.setup import statements
from agent.connectors.postgres.setup.subscription import Subscription
from agent.messages import Phrase, mark, phrase

Connection = psycopg.Connection[Any]

# Whether the role is more than the agent's: what else it owns or may, in this database or another.
# Rights on what `init` knows are the agent's own ('a'), ownership ('o') is so of the publication
# alone: what a role owns is dropped with it.
_USES = """
    with role as (select oid, rolname, rolsuper from pg_catalog.pg_roles where rolname = %(role)s),
    known (kind, class, object) as (
        select 'a', 'pg_catalog.pg_database'::regclass, oid from pg_catalog.pg_database
        where datname = current_database()
        union all
        select 'o', 'pg_catalog.pg_publication'::regclass, oid from pg_catalog.pg_publication
        where pubname = %(publication)s
        union all
        select 'a', 'pg_catalog.pg_class'::regclass, c.oid
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where (n.nspname, c.relname) in
              (select * from unnest(%(schemas)s::text[], %(tables)s::text[]))
        union all
        select 'a', 'pg_catalog.pg_namespace'::regclass, oid from pg_catalog.pg_namespace
    )
    select role.rolsuper or role.rolname = current_user,
           exists (select from pg_catalog.pg_auth_members m
                   where m.member = role.oid
                      or (m.roleid = role.oid and m.member <> current_user::regrole)),
           exists (select from pg_catalog.pg_shdepend d
                   where d.refclassid = 'pg_catalog.pg_authid'::regclass and d.refobjid = role.oid
                     and (d.dbid not in (0, (select oid from pg_catalog.pg_database
                                             where datname = current_database()))
                          or not exists (select from known
                                         where (kind, class, object)
                                             = (d.deptype, d.classid, d.objid)))),
           (select min(slot_name::text) from pg_catalog.pg_replication_slots
            where plugin = 'pgoutput' and slot_name <> %(slot)s)
    from role"""


def role_removal(
    subscription: Subscription, administrator: Connection
) -> tuple[list[str], Phrase | None]:
    """Returns the statements that drop the role with its rights, and else why it stays.

    Both are empty where there is no such role. It stays where anything in the server hangs on it
    that `init` has not made: then it may be used by somebody else.
    """
    places = [subscription.place(resource) for resource in subscription.resources]
    values = {
        "role": subscription.source.user,
        "publication": subscription.publication,
        "slot": subscription.slot,
        "schemas": [schema for schema, _ in places],
        "tables": [table for _, table in places],
    }
    found = administrator.execute(_USES, values).fetchone()
    if found is None:
        return [], None

    administers, member, other, slot = found
    if administers:
        return [], phrase(mark("it administers this server"))
    if member or other:
        return [], phrase(mark("it owns or may something that is not this agent's"))
    if slot is not None:
        return [], phrase(mark("another agent may use it, with replication slot {slot}"), slot=slot)
    return statements.drop_role(subscription.source.user), None
