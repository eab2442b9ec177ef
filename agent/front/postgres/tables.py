"""Front-end tables in PostgreSQL: names, types, place, and whether an existing one is fit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text

from agent.front.catalogue import Catalogue
from agent.front.postgres import catalogue as postgres_catalogue
from agent.front.postgres import columns
from agent.front.postgres.session import postgres_engine
from agent.front.store import SqlFront
from agent.front.table_owners import LISTS, Place
from agent.messages import phrase
from agent.resource import Target

_PLACE = text("""
    select coalesce(
        (select n.nspname
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.oid = to_regclass(:table)),
        cast(:schema as text), current_schema())""")

_LISTS = text("""
    select n.nspname, c.relname, pg_table_is_visible(c.oid)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relname like :lists escape '!'
      and has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')""")

_COLUMNS = text("""
    select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.atthasdef or a.attidentity <> '' or a.attgenerated <> '',
           coalesce(c.collisdeterministic, true), a.attgenerated <> ''
    from pg_catalog.pg_attribute a left join pg_catalog.pg_collation c on c.oid = a.attcollation
    where a.attrelid = to_regclass(:table) and a.attnum > 0 and not a.attisdropped""")

# Of a schema where a front-end table is to be made; none named: that of new tables.
_SCHEMA_OF = text("""
    select quote_ident(s.name) as schema, quote_ident(current_user) as role,
           to_regnamespace(quote_ident(s.name)) is not null as there,
           to_regnamespace(quote_ident(s.name)) is null
               or has_schema_privilege(to_regnamespace(quote_ident(s.name)), 'CREATE') as creates
    from (select coalesce(cast(:schema as text), current_schema()) as name) s""")

_ROLE = text("select quote_ident(current_user)")

_LACKING = text("""
    select privilege from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
    where not has_table_privilege(to_regclass(:table), privilege)""")


class PostgresTables(SqlFront):
    """Defines and checks front-end tables in PostgreSQL."""

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None,
        lock_wait: float,
        agent: str,
    ) -> None:
        engine: Engine = postgres_engine(url, password, lock_wait)
        super().__init__(engine, agent)

        # By resource: the type of each column, as `check` found it
        self._declared: dict[str, dict[str, str]] = {}

    # ---- names and types

    def name_fault(self, name: str, of_table: bool) -> str:
        """See TableDefinitions.name_fault."""
        size = len(name.encode())
        return phrase("is longer than 63 bytes") if size > 63 else ""

    def most_columns(self) -> int:
        """See TableDefinitions.most_columns."""
        return 1600

    def column_type(self, target: Target, index: int) -> str:
        """See TableDefinitions.column_type."""
        in_key = index in target.key
        return columns.column_type(target.columns[index], in_key)

    def declared(self, target: Target, index: int) -> str:
        """Returns a column's type as `check` found it, else as we create it, without collation."""
        column = target.columns[index]
        types = self._declared.get(target.resource, {})
        found = types.get(column.name)
        return found or _without_collation(self.column_type(target, index))

    def technical_type(self, role: str) -> str:
        """See TableDefinitions.technical_type. Times carry their zone here."""
        declared = super().technical_type(role)
        return "timestamptz" if declared == "TIMESTAMP" else declared

    # ---- place

    def place(self, connection: Connection, target: Target) -> Place:
        """See TableOwners.place."""
        values = {"table": self.table(target), "schema": target.schema}
        schema = connection.execute(_PLACE, values).scalar_one()
        return Place(str(schema), target.table)

    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """See TableOwners.lists."""
        found = connection.execute(_LISTS, {"lists": LISTS}).all()
        return [(schema, name, here) for schema, name, here in found]

    def check_room(self, target: Target) -> None:
        """See TableDefinitions.check_room.

        The schema must be there, and the agent's role may make a table in it.
        """
        with self.reading() as connection:
            found = connection.execute(_SCHEMA_OF, {"schema": target.schema}).one()

        if found.schema is None:
            # No schema for new tables at all: the statement says so
            return
        if not found.there:
            reason = phrase("its schema does not exist")
            remedy = f"CREATE SCHEMA {found.schema} AUTHORIZATION {found.role};"
            raise self.wrong(target, reason, remedy)
        if not found.creates:
            reason = phrase("the agent's role lacks the right {names}", names="CREATE")
            remedy = f"GRANT CREATE ON SCHEMA {found.schema} TO {found.role};"
            raise self.wrong(target, reason, remedy)

    # ---- an existing table

    def looking(self, target: Target) -> AbstractContextManager[Connection]:
        """See TableRows.looking.

        That is the writing connection where nothing is open on it: a new one takes the server, and
        us, much longer than the look.
        """
        if self._connection is None or self._connection.in_transaction():
            return self.reading(target)
        return self._looking_at(self._connection, target)

    @contextmanager
    def _looking_at(self, connection: Connection, target: Target) -> Iterator[Connection]:
        with self.guarded(target):
            try:
                yield connection
            finally:
                connection.rollback()

    def read_catalogue(self, connection: Connection, target: Target) -> Catalogue:
        """See TableRows.read_catalogue."""
        return postgres_catalogue.read(connection, target, self.table(target))

    def check_shape(self, target: Target) -> None:
        """See TableRows.check_shape."""
        table = self.table(target)
        there = {"table": table}
        with self.reading(target) as connection:
            rows = connection.execute(_COLUMNS, there).all()
            indexes = postgres_catalogue.indexes(connection, table)
            lacking = connection.execute(_LACKING, there).scalars().all()
            agent_role = connection.execute(_ROLE).scalar_one()

        found = {}
        types = {}
        for row in rows:
            name, kind, *_ = row
            found[name] = row
            types[name] = kind

        if not found:
            raise self.wrong(target, phrase("it does not exist"))
        if lacking:
            names = ", ".join(lacking)
            reason = phrase("the agent's role lacks the right {names}", names=names)
            raise self.wrong(target, reason, f"GRANT {names} ON TABLE {table} TO {agent_role};")

        for i, column in enumerate(target.columns):
            if column.name not in found:
                raise self.missing(target, i)
            self._check_column(target, i, found[column.name])
        self._declared[target.resource] = types

        for role, name in target.technical.items():
            if name not in found:
                raise self.missing_technical(target, role)
        self._check_others(target, found)
        self._check_key(target, indexes)

    def _check_column(self, target: Target, index: int, row: Sequence[Any]) -> None:
        """Raises FrontTableWrong where a shared column could not hold every value."""
        column = target.columns[index]
        in_key = index in target.key
        quoted = self.quote(column.name)
        _, declared, not_null, _, deterministic, generated = row
        created = self.column_type(target, index)
        wanted = _without_collation(created)

        if not columns.accepts(wanted, declared):
            reason = phrase(
                "column {name} is {declared}, narrower than the source's {wanted}",
                name=column.name,
                declared=declared,
                wanted=wanted,
            )
            change = f"ALTER COLUMN {quoted} TYPE {created} USING {quoted}::{wanted}"
            raise self.wrong(target, reason, self.alter(target, change))

        if generated:
            reason = phrase("column {name} is generated", name=column.name)
            change = f"ALTER COLUMN {quoted} DROP EXPRESSION"
            raise self.wrong(target, reason, self.alter(target, change))

        if in_key and not deterministic:
            reason = phrase("key column {name} has a nondeterministic collation", name=column.name)
            change = f'ALTER COLUMN {quoted} TYPE {declared} COLLATE "C"'
            raise self.wrong(target, reason, self.alter(target, change))

        if not_null and not column.not_null and not in_key:
            reason = phrase("column {name} is NOT NULL, the source's is not", name=column.name)
            raise self.wrong(target, reason, self._nullable(target, column.name))

    def _check_others(self, target: Target, found: Mapping[str, Sequence[Any]]) -> None:
        """Raises FrontTableWrong for a column of others that no row of ours could be without."""
        ours = self.all_names(target)
        for name, row in found.items():
            _, _, not_null, has_default, *_ = row
            if name not in ours and not_null and not has_default:
                reason = phrase(
                    "column {name} is NOT NULL without a default and not shared",
                    name=name,
                )
                raise self.wrong(target, reason, self._nullable(target, name))

    def _check_key(self, target: Target, indexes: list[list[Any]]) -> None:
        """Raises FrontTableWrong where no unique index holds on the key alone."""
        wanted = {target.columns[i].name for i in target.key}
        if postgres_catalogue.has_key(indexes, wanted):
            return

        reason = phrase(
            "it has no primary key or unique index on ({names}) alone, valid, not deferrable, "
            "without WHERE and of a deterministic collation",
            names=", ".join(sorted(wanted)),
        )
        names = ", ".join(self.key_names(target))
        raise self.wrong(target, reason, self.alter(target, f"ADD UNIQUE ({names})"))

    def _nullable(self, target: Target, name: str) -> str:
        """Returns the statement that lets a column hold NULL."""
        return self.alter(target, f"ALTER COLUMN {self.quote(name)} DROP NOT NULL")


def _without_collation(kind: str) -> str:
    """Returns a column's type without the collation that we create it with."""
    return kind.partition(" COLLATE ")[0]
