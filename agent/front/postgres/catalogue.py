"""Reads what PostgreSQL says of a front-end table. No statement here waits for a lock on the table."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

from agent.front import catalogue as c
from agent.front.catalogue import Catalogue, ForeignKey, Hazard
from agent.messages import phrase
from agent.resource import Target

_TABLE = text("""
    select r.relkind, r.relpersistence, r.relrowsecurity, r.relforcerowsecurity, row_security_active(r.oid), r.oid, r.relfilenode,
           array(select h.inhrelid::regclass::text from pg_catalog.pg_inherits h where h.inhparent = r.oid and r.relkind = 'r' order by 1)
    from pg_catalog.pg_class r where r.oid = to_regclass(:table)""")
_COLUMNS = text("""
    select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, n.nspname, l.collname,
           l.collisdeterministic, pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.quote_ident(a.attname)
    from pg_catalog.pg_attribute a left join pg_catalog.pg_collation l on l.oid = a.attcollation
    left join pg_catalog.pg_namespace n on n.oid = l.collnamespace
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = to_regclass(:table) and a.attnum > 0 and not a.attisdropped""")
_INDEXES = text("""
    select c.relname, i.indexrelid::regclass::text, pg_catalog.pg_get_indexdef(i.indexrelid), i.indisvalid, i.indimmediate,
           i.indpred is null and i.indexprs is null and i.indisvalid and i.indimmediate and not exists (
               select from unnest(i.indcollation::oid[]) k join pg_catalog.pg_collation l on l.oid = k where not l.collisdeterministic),
           array(select a.attname from unnest(i.indkey::int2[]) with ordinality k(n, p)
                 join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n where k.p <= i.indnkeyatts),
           pg_catalog.quote_ident(o.conname)
    from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
    left join pg_catalog.pg_constraint o on o.conindid = i.indexrelid and o.contype in ('p', 'u') and o.conrelid = i.indrelid
    where i.indrelid = to_regclass(:table) and i.indisunique""")
_CONSTRAINTS = text("""
    select o.conname, o.contype, o.conrelid = to_regclass(:table), o.conrelid::regclass::text, o.confrelid::regclass::text,
           o.confdeltype, o.confupdtype, o.condeferrable, o.condeferred, pg_catalog.pg_get_constraintdef(o.oid), pg_catalog.quote_ident(o.conname)
    from pg_catalog.pg_constraint o
    where o.contype in ('c', 'f', 'x') and to_regclass(:table) in (o.conrelid, o.confrelid) and o.conparentid = 0""")
_TRIGGERS = text("""
    select t.tgname, t.tgenabled, t.tgtype, pg_catalog.pg_get_triggerdef(t.oid), md5(p.prosrc), t.tgrelid::regclass::text, pg_catalog.quote_ident(t.tgname)
    from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where not t.tgisinternal and (
        t.tgrelid = to_regclass(:table) or t.tgrelid in (select relid from pg_partition_tree(to_regclass(:table))))""")
_RULES = text("""
    select w.rulename, w.ev_type, w.is_instead, w.ev_enabled, md5(w.ev_action::text || w.ev_qual::text), pg_catalog.quote_ident(w.rulename)
    from pg_catalog.pg_rewrite w where w.ev_class = to_regclass(:table) and w.rulename <> '_RETURN'""")
_POLICIES = text("""
    select polname, polcmd, polpermissive, polroles::text, md5(coalesce(polqual::text, '') || coalesce(polwithcheck::text, ''))
    from pg_catalog.pg_policy where polrelid = to_regclass(:table)""")

_ACTIONS = {"a": "", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_EVENTS = {"2": "UPDATE", "3": "INSERT", "4": "DELETE"}
_ROW_EVENTS = 4 | 8 | 16  # of pg_trigger.tgtype: INSERT, DELETE, UPDATE; TRUNCATE is none of ours


def read(connection: Connection, target: Target, table: str) -> Catalogue:
    """Reads the catalogue; a table that is not there has empty parts."""
    place = {"table": table}
    found = {
        name: [list(row) for row in connection.execute(question, place)]
        for name, question in (
            ("table", _TABLE),
            ("columns", _COLUMNS),
            ("indexes", _INDEXES),
            ("constraints", _CONSTRAINTS),
            ("triggers", _TRIGGERS),
            ("rules", _RULES),
            ("policies", _POLICIES),
        )
    }
    rules = [row for row in found["rules"] if row[3] in "OA" and row[1] in _EVENTS]
    triggers = [row for row in found["triggers"] if row[1] in "OA" and row[2] & _ROW_EVENTS]
    hazards = [
        *_of_table(target, table, found["table"]),
        *_of_columns(target, table, found["columns"]),
        *_of_indexes(target, table, found["indexes"]),
        *_of_constraints(found["constraints"]),
        *(
            Hazard(c.TRIGGER, row[0], f"ALTER TABLE {row[5]} DISABLE TRIGGER {row[6]};")
            for row in triggers
        ),
        *_of_rules(table, rules),
    ]
    return Catalogue(
        _parts(target, found),
        hazards,
        rewriting=", ".join(str(row[0]) for row in [*rules, *triggers]),
    )


def _parts(target: Target, found: dict[str, list[list[Any]]]) -> dict[str, str]:
    ours = {column.name for column in target.columns} | set(target.technical.values())
    key = {target.columns[i].name for i in target.key}
    constraints = [row[:10] for row in found["constraints"]]
    return {
        "table": c.text(row[:2] + row[7:] for row in found["table"]),
        "storage": c.text(row[5:7] for row in found["table"]),
        "columns": c.text(row for row in found["columns"] if row[0] in ours),
        "others": c.text(row for row in found["columns"] if row[0] not in ours),
        "key": c.text(row[:6] for row in found["indexes"] if set(row[6]) == key),
        "unique": c.text(row[:6] for row in found["indexes"] if set(row[6]) != key),
        "checks": c.text(row for row in constraints if row[1] in "cx"),
        "foreign": c.text(row for row in constraints if row[1] == "f" and row[2]),
        "referenced": c.text(row for row in constraints if row[1] == "f" and not row[2]),
        "triggers": c.text(found["triggers"]),
        "rules": c.text(found["rules"]),
        "security": c.text([*(row[2:5] for row in found["table"]), *found["policies"]]),
    }


def _of_table(target: Target, table: str, rows: list[list[Any]]) -> Iterator[Hazard]:
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
                "row security holds for the agent's role and can hide rows from it; {remedy} or ALTER ROLE ... BYPASSRLS;",
                remedy=remedy,
            )
            yield Hazard(c.SECURITY, target.table, remedy, reason)


def _of_columns(target: Target, table: str, rows: list[list[Any]]) -> Iterator[Hazard]:
    columns = [(row[0], row[9]) for row in rows if row[8] is not None or row[3] or row[2]]
    yield from c.extra_columns(target, columns, f"ALTER TABLE {table}", "DROP COLUMN")


def _of_indexes(target: Target, table: str, rows: list[list[Any]]) -> Iterator[Hazard]:
    key = {target.columns[i].name for i in target.key}
    for name, place, _, _, _, usable, columns, constraint in rows:
        if not (usable and set(columns) == key):
            drop = (
                f"ALTER TABLE {table} DROP CONSTRAINT {constraint};"
                if constraint
                else f"DROP INDEX {place};"
            )
            yield Hazard(c.UNIQUE, name, drop)


def has_key(rows: list[list[Any]], key: set[str]) -> bool:
    """Whether one of the unique indexes holds on the key alone, at once and for every row."""
    return any(row[5] and set(row[6]) == key for row in rows)


def _of_constraints(rows: list[list[Any]]) -> list[Hazard]:
    outgoing: list[ForeignKey] = []
    incoming: list[ForeignKey] = []
    others: list[Hazard] = []
    for name, kind, ours, holder, other, deleted, updated, _, deferred, _, quoted in rows:
        drop = f"ALTER TABLE {holder} DROP CONSTRAINT {quoted}"
        defer = f"ALTER TABLE {holder} ALTER CONSTRAINT {quoted} DEFERRABLE INITIALLY DEFERRED"
        if kind != "f":
            if ours:
                others.append(Hazard(c.CHECK if kind == "c" else c.EXCLUSION, name, f"{drop};"))
            continue
        actions = _ACTIONS.get(deleted, ""), _ACTIONS.get(updated, "")
        end = other if ours else holder
        found = ForeignKey(name, end, *actions, drop, "" if deferred else defer)
        (outgoing if ours else incoming).append(found)
    return others + c.foreign_keys(outgoing, incoming)


def _of_rules(table: str, rows: list[list[Any]]) -> Iterator[Hazard]:
    for name, event, *_, quoted in rows:
        remedy = f"DROP RULE {quoted} ON {table};"
        reason = (
            phrase(
                "rule {name} ON {event}: PostgreSQL takes no INSERT ... ON CONFLICT there; {remedy}",
                name=name,
                event=_EVENTS[event],
                remedy=remedy,
            )
            if event in "23"
            else ""
        )
        yield Hazard(c.RULE, name, remedy, reason)


def indexes(connection: Connection, table: str) -> list[list[Any]]:
    """The unique indexes of a table, as `has_key` reads them."""
    return [list(row) for row in connection.execute(_INDEXES, {"table": table})]
