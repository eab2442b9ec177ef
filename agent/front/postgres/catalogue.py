"""Reads what PostgreSQL says of a front-end table.

No statement here waits for a lock on the table.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, TextClause, text

from agent.front import catalogue as c
from agent.front.catalogue import Catalogue, ForeignKey, Hazard
from agent.messages import phrase
from agent.resource import Target

_TABLE = text("""
    select r.relkind, r.relpersistence, r.relrowsecurity, r.relforcerowsecurity,
           row_security_active(r.oid), r.oid, r.relfilenode,
           array(select h.inhrelid::regclass::text from pg_catalog.pg_inherits h
                 where h.inhparent = r.oid and r.relkind = 'r' order by 1)
    from pg_catalog.pg_class r where r.oid = to_regclass(:table)""")
_COLUMNS = text("""
    select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.attidentity, a.attgenerated, n.nspname, l.collname, l.collisdeterministic,
           pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.quote_ident(a.attname)
    from pg_catalog.pg_attribute a left join pg_catalog.pg_collation l on l.oid = a.attcollation
    left join pg_catalog.pg_namespace n on n.oid = l.collnamespace
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = to_regclass(:table) and a.attnum > 0 and not a.attisdropped""")
_INDEXES = text("""
    select c.relname, i.indexrelid::regclass::text, pg_catalog.pg_get_indexdef(i.indexrelid),
           i.indisvalid, i.indimmediate,
           i.indpred is null and i.indexprs is null and i.indisvalid and i.indimmediate
               and not exists (
                   select from unnest(i.indcollation::oid[]) k
                   join pg_catalog.pg_collation l on l.oid = k where not l.collisdeterministic),
           array(select a.attname from unnest(i.indkey::int2[]) with ordinality k(n, p)
                 join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n
                 where k.p <= i.indnkeyatts),
           pg_catalog.quote_ident(o.conname)
    from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
    left join pg_catalog.pg_constraint o
        on o.conindid = i.indexrelid and o.contype in ('p', 'u') and o.conrelid = i.indrelid
    where i.indrelid = to_regclass(:table) and i.indisunique""")
_CONSTRAINTS = text("""
    select o.conname, o.contype, o.conrelid = to_regclass(:table), o.conrelid::regclass::text,
           o.confrelid::regclass::text, o.confdeltype, o.confupdtype, o.condeferrable,
           o.condeferred, pg_catalog.pg_get_constraintdef(o.oid),
           pg_catalog.quote_ident(o.conname)
    from pg_catalog.pg_constraint o
    where o.contype in ('c', 'f', 'x') and to_regclass(:table) in (o.conrelid, o.confrelid)
      and o.conparentid = 0""")
_TRIGGERS = text("""
    select t.tgname, t.tgenabled, t.tgtype, pg_catalog.pg_get_triggerdef(t.oid), md5(p.prosrc),
           t.tgrelid::regclass::text, pg_catalog.quote_ident(t.tgname)
    from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where not t.tgisinternal and (
        t.tgrelid = to_regclass(:table)
        or t.tgrelid in (select relid from pg_partition_tree(to_regclass(:table))))""")
_RULES = text("""
    select w.rulename, w.ev_type, w.is_instead, w.ev_enabled,
           md5(w.ev_action::text || w.ev_qual::text), pg_catalog.quote_ident(w.rulename)
    from pg_catalog.pg_rewrite w
    where w.ev_class = to_regclass(:table) and w.rulename <> '_RETURN'""")
_POLICIES = text("""
    select polname, polcmd, polpermissive, polroles::text,
           md5(coalesce(polqual::text, '') || coalesce(polwithcheck::text, ''))
    from pg_catalog.pg_policy where polrelid = to_regclass(:table)""")

_ACTIONS = {
    "a": "",
    "r": "RESTRICT",
    "c": "CASCADE",
    "n": "SET NULL",
    "d": "SET DEFAULT",
}
_EVENTS = {
    "2": "UPDATE",
    "3": "INSERT",
    "4": "DELETE",
}

# Of pg_trigger.tgenabled and pg_rewrite.ev_enabled: in a session of ours
_ENABLED = ("O", "A")

# Of pg_trigger.tgtype: INSERT, DELETE, UPDATE; TRUNCATE is none of ours
_ROW_EVENTS = 4 | 8 | 16

_Row = list[Any]


class _Found(NamedTuple):
    """A table as rows of PostgreSQL's catalogue, each as its question above has it."""

    table: list[_Row]
    columns: list[_Row]
    indexes: list[_Row]
    constraints: list[_Row]
    triggers: list[_Row]
    rules: list[_Row]
    policies: list[_Row]


def read(connection: Connection, target: Target, table: str) -> Catalogue:
    """Reads the catalogue; a table that is not there has empty parts."""
    found = _Found(
        table=_asked(connection, _TABLE, table),
        columns=_asked(connection, _COLUMNS, table),
        indexes=_asked(connection, _INDEXES, table),
        constraints=_asked(connection, _CONSTRAINTS, table),
        triggers=_asked(connection, _TRIGGERS, table),
        rules=_asked(connection, _RULES, table),
        policies=_asked(connection, _POLICIES, table),
    )

    rewriting = []
    rules = []
    for row in found.rules:
        name, event, _, enabled, *_ = row
        if enabled in _ENABLED and event in _EVENTS:
            rules.append(row)
            rewriting.append(str(name))

    triggers = []
    for row in found.triggers:
        name, enabled, events, *_ = row
        if enabled in _ENABLED and events & _ROW_EVENTS:
            triggers.append(row)
            rewriting.append(str(name))

    hazards = [
        *_of_table(target, table, found.table),
        *_of_columns(target, table, found.columns),
        *_of_indexes(target, table, found.indexes),
        *_of_constraints(found.constraints),
        *_of_triggers(triggers),
        *_of_rules(table, rules),
    ]
    parts = _parts(target, found)
    return Catalogue(parts, hazards, ", ".join(rewriting))


def _asked(connection: Connection, question: TextClause, table: str) -> list[_Row]:
    rows = connection.execute(question, {"table": table})
    return [list(row) for row in rows]


def _parts(target: Target, found: _Found) -> dict[str, str]:
    """Returns the fingerprint."""
    tables = []
    storage = []
    security = []
    for kind, persistence, enabled, forced, active, oid, file, children in found.table:
        tables.append([kind, persistence, children])
        storage.append([oid, file])
        security.append([enabled, forced, active])

    written = c.shared_columns(target)
    ours = []
    others = []
    for column in found.columns:
        name = column[0]
        if name in written:
            ours.append(column)
        else:
            others.append(column)

    key = {target.columns[i].name for i in target.key}
    on_key = []
    unique = []
    for *described, columns, _ in found.indexes:
        if set(columns) == key:
            on_key.append(described)
        else:
            unique.append(described)

    checks = []
    foreign = []
    referenced = []
    for *described, _ in found.constraints:
        _, kind, of_ours, *_ = described
        if kind != "f":
            checks.append(described)
        elif of_ours:
            foreign.append(described)
        else:
            referenced.append(described)

    return {
        "table": c.text(tables),
        "storage": c.text(storage),
        "columns": c.text(ours),
        "others": c.text(others),
        "key": c.text(on_key),
        "unique": c.text(unique),
        "checks": c.text(checks),
        "foreign": c.text(foreign),
        "referenced": c.text(referenced),
        "triggers": c.text(found.triggers),
        "rules": c.text(found.rules),
        "security": c.text([*security, *found.policies]),
    }


def _of_table(target: Target, table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields what makes the table itself unfit."""
    for kind, persistence, _, _, active, _, _, children in rows:
        if kind not in ("r", "p"):
            yield Hazard(c.RULE, target.table, "", phrase("it is no table"))
        if persistence == "u":
            remedy = f"ALTER TABLE {table} SET LOGGED;"
            reason = phrase("it is unlogged: a crash empties it; {remedy}", remedy=remedy)
            yield Hazard(c.RULE, target.table, remedy, reason)
        if children:
            reason = phrase(
                "rows of the tables that inherit from it ({names}) would count as its own",
                names=", ".join(children),
            )
            yield Hazard(c.RULE, target.table, "", reason)
        if active:
            remedy = f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;"
            reason = phrase(
                "row security holds for the agent's role and can hide rows from it; {remedy} or "
                "ALTER ROLE ... BYPASSRLS;",
                remedy=remedy,
            )
            yield Hazard(c.SECURITY, target.table, remedy, reason)


def _of_columns(target: Target, table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of columns that are not shared."""
    columns = []
    for name, _, not_null, identity, _, _, _, _, expression, quoted in rows:
        if expression is not None or identity or not_null:
            columns.append((name, quoted))

    alter = f"ALTER TABLE {table}"
    yield from c.extra_columns(target, columns, alter, "DROP COLUMN")


def _of_indexes(target: Target, table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of unique indexes besides the key."""
    key = {target.columns[i].name for i in target.key}
    for name, place, _, _, _, usable, columns, constraint in rows:
        if usable and set(columns) == key:
            continue

        remedy = f"DROP INDEX {place};"
        if constraint:
            remedy = f"ALTER TABLE {table} DROP CONSTRAINT {constraint};"
        yield Hazard(c.UNIQUE, name, remedy)


def indexes(connection: Connection, table: str) -> list[_Row]:
    """Reads the unique indexes of a table, as `has_key` takes them."""
    return _asked(connection, _INDEXES, table)


def has_key(rows: list[_Row], key: set[str]) -> bool:
    """Whether one of the unique indexes holds on the key alone, at once and for every row."""
    return any(usable and set(columns) == key for *_, usable, columns, _ in rows)


def _of_constraints(rows: list[_Row]) -> list[Hazard]:
    """Returns the hazards of CHECK and exclusion constraints, and of foreign keys."""
    outgoing: list[ForeignKey] = []
    incoming: list[ForeignKey] = []
    others: list[Hazard] = []
    for name, kind, ours, holder, other, deleted, updated, _, deferred, _, quoted in rows:
        drop = f"ALTER TABLE {holder} DROP CONSTRAINT {quoted}"
        if kind != "f":
            if ours:
                message = c.CHECK if kind == "c" else c.EXCLUSION
                others.append(Hazard(message, name, f"{drop};"))
            continue

        defer = ""
        if not deferred:
            alter = f"ALTER TABLE {holder} ALTER CONSTRAINT {quoted}"
            defer = f"{alter} DEFERRABLE INITIALLY DEFERRED"
        key = ForeignKey(
            name,
            table=other if ours else holder,
            on_delete=_ACTIONS.get(deleted, ""),
            on_update=_ACTIONS.get(updated, ""),
            drop=drop,
            defer=defer,
        )
        if ours:
            outgoing.append(key)
        else:
            incoming.append(key)

    return others + c.foreign_keys(outgoing, incoming)


def _of_triggers(rows: list[_Row]) -> Iterator[Hazard]:
    for name, _, _, _, _, table, quoted in rows:
        remedy = f"ALTER TABLE {table} DISABLE TRIGGER {quoted};"
        yield Hazard(c.TRIGGER, name, remedy)


def _of_rules(table: str, rows: list[_Row]) -> Iterator[Hazard]:
    """Yields the hazards of rules; one on INSERT or UPDATE makes the table unfit."""
    for name, event, *_, quoted in rows:
        remedy = f"DROP RULE {quoted} ON {table};"
        reason = ""
        if event in "23":
            reason = phrase(
                "rule {name} ON {event}: PostgreSQL takes no INSERT ... ON CONFLICT there; "
                "{remedy}",
                name=name,
                event=_EVENTS[event],
                remedy=remedy,
            )
        yield Hazard(c.RULE, name, remedy, reason)
