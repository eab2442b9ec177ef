"""Front-end tables in MariaDB and MySQL: names, types, place, and whether one is fit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from agent.errors import FrontUnfit
from agent.front.catalogue import Catalogue, with_remedy
from agent.front.mariadb import catalogue as mariadb_catalogue
from agent.front.mariadb.columns import (
    MARIADB,
    MYSQL,
    ROW_BYTES,
    TEXT,
    column_type,
    declared,
    holds,
    row_size,
)
from agent.front.mariadb.session import COLLATIONS, mariadb_engine
from agent.front.mariadb.values import Values, quoted
from agent.front.schema import AgentTables
from agent.front.store import SqlFront
from agent.front.table_owners import LISTS, Place
from agent.messages import phrase
from agent.resource import Target

_LISTS = text(
    "SELECT table_schema, table_name, table_schema = database() FROM information_schema.tables"
    " WHERE table_name LIKE :lists ESCAPE '!'"
)

# Each changes nothing and needs just this right. Roles count, which no table of rights tells.
_NEEDS = {
    "SELECT": "SELECT 1 FROM {table} WHERE 1 = 0",
    "INSERT": "INSERT INTO {table} ({column}) SELECT NULL FROM DUAL WHERE 1 = 0",
    "UPDATE": "UPDATE {table} SET {column} = NULL WHERE 1 = 0",
    "DELETE": "DELETE FROM {table} WHERE 1 = 0",
}

# It fails in any case, for want of the right first of all, and so makes nothing.
_CREATES = "CREATE TABLE sync_agent_never (a INT, a INT)"

# Errors of a statement that the user has no right to
DENIED = frozenset({1142, 1143})


def denied(connection: Connection, statement: str) -> bool:
    """Whether the user lacks the right to a statement, which is tried."""
    try:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except DBAPIError as error:
        return error.orig is not None and error.orig.args[0] in DENIED
    return False


def _account(connection: Connection) -> str:
    """Returns the account that the session has, as GRANT names it."""
    account = str(connection.execute(text("SELECT current_user()")).scalar_one())
    user, _, host = account.rpartition("@")
    return f"{quoted(user)}@{quoted(host)}"


class MariaDbTables(SqlFront):
    """Defines and checks front-end tables in MariaDB and MySQL."""

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None,
        lock_wait: float,
        agent: str,
        types: str = "native",
    ) -> None:
        super().__init__(mariadb_engine(url, password, lock_wait), agent)
        self._kind = self.engine.url.get_backend_name()
        self._collation = COLLATIONS[self._kind]
        self._forms = {"mariadb": MARIADB, "mysql": MYSQL}[self._kind]
        if types != "native":
            self._forms = TEXT

        # By resource: its columns as `check` found them
        self._values: dict[str, Values] = {}

    # ---- names and types

    def quote(self, name: str) -> str:
        """See TableDefinitions.quote."""
        return "`" + name.replace("`", "``") + "`"

    def name_fault(self, name: str, of_table: bool) -> str:
        """See TableDefinitions.name_fault."""
        if len(name) > 64:
            return phrase("is longer than 64 characters")
        if max(name) > "\uffff":
            return phrase("has a character beyond U+FFFF")
        if name.endswith(tuple(" \t\n\v\f\r")):
            return phrase("ends with a blank")
        return ""

    def most_columns(self) -> int:
        """See TableDefinitions.most_columns: InnoDB's limit."""
        return 1017

    def check_names(self, target: Target) -> None:
        """See TableDefinitions.check_names.

        A server that looks at no case in names of tables may store them in lower case.
        """
        super().check_names(target)
        if target.table == target.table.lower():
            return

        with self.reading() as connection:
            folded = connection.exec_driver_sql("SELECT @@lower_case_table_names").scalar_one()
        if folded:
            reason = phrase(
                "the server compares names of tables without case (lower_case_table_names = "
                "{folded}); set target to a name in lower case",
                folded=folded,
            )
            raise self.wrong(target, reason)

    def check_room(self, target: Target) -> None:
        """See TableDefinitions.check_room.

        InnoDB keeps up to 40 bytes of each long value in the row itself.
        """
        size = row_size(target, self._forms)
        if size > ROW_BYTES:
            reason = phrase(
                "a row of its columns takes {size} bytes in its page, and InnoDB has room for "
                "{room}; share fewer columns",
                size=size,
                room=ROW_BYTES,
            )
            raise self.wrong(target, reason)

    def column_type(self, target: Target, index: int) -> str:
        """See TableDefinitions.column_type; the collation is the table's."""
        return column_type(target, index, self._forms)

    def technical_type(self, role: str) -> str:
        """See TableDefinitions.technical_type. Times are DATETIME(6) in UTC here."""
        declared = super().technical_type(role)
        return "DATETIME(6)" if declared == "TIMESTAMP" else declared

    @staticmethod
    def timestamp(time_us: int) -> str:
        """See TableDefinitions.timestamp; without the zone, which is UTC."""
        return SqlFront.timestamp(time_us).removesuffix("+00")

    def create_statement(self, target: Target) -> str:
        """See TableDefinitions.create_statement."""
        options = f"ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {self._collation}"
        return f"{super().create_statement(target)} {options}"

    # ---- place

    def place(self, connection: Connection, target: Target) -> Place:
        """See TableOwners.place."""
        here = connection.execute(text("SELECT database()")).scalar_one()
        return Place(target.schema or str(here), target.table)

    def folded(self, connection: Connection, place: Place) -> Place:
        """See TableOwners.folded.

        Where files are named without case, names of schemas and tables are compared so.
        """
        setting = text("SELECT @@lower_case_table_names")
        if not connection.execute(setting).scalar_one():
            return place
        return Place(place.schema.lower(), place.table.lower())

    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """See TableOwners.lists."""
        found = connection.execute(_LISTS, {"lists": LISTS})
        return [(schema, name, bool(here)) for schema, name, here in found]

    # ---- rights

    def check_rights(self, connection: Connection) -> None:
        """See SqlFront.check_rights: the agent makes tables of its own."""
        own = AgentTables(self.agent).metadata.tables
        wanted = {name.lower() for name in own}
        found = inspect(connection).get_table_names()
        there = {name.lower() for name in found}

        if wanted - there and denied(connection, _CREATES):
            database = self.quote(str(self.engine.url.database))
            reason = phrase("the agent's role lacks the right {names}", names="CREATE")
            grant = f"GRANT CREATE ON {database}.* TO {_account(connection)};"
            raise FrontUnfit(reason=with_remedy(reason, grant))

    def _check_table_rights(self, target: Target) -> None:
        """Raises FrontTableWrong where the user lacks a right on the table."""
        table = self.table(target)
        first = target.columns[target.key[0]]
        column = self.quote(first.name)

        lacking = []
        with self.guarded(), self.engine.connect() as connection:
            for right, template in _NEEDS.items():
                statement = template.format(table=table, column=column)
                if denied(connection, statement):
                    lacking.append(right)
            place = self.place(connection, target)
            account = _account(connection)

        if lacking:
            names = ", ".join(lacking)
            reason = phrase("the agent's role lacks the right {names}", names=names)
            grant = f"GRANT {names} ON {self.place_name(place)} TO {account};"
            raise self.wrong(target, reason, grant)

    # ---- an existing table

    def read_catalogue(self, connection: Connection, target: Target) -> Catalogue:
        """See TableRows.read_catalogue."""
        return mariadb_catalogue.read(connection, target, self.table(target), self._kind)

    def check_shape(self, target: Target) -> None:
        """See TableRows.check_shape."""
        with self.reading(target) as connection:
            found = mariadb_catalogue.shape(connection, target)
        if not found.tables:
            raise self.wrong(target, phrase("it does not exist"))

        _, engine, *_ = found.tables[0]
        engine = str(engine)
        if engine.upper() != "INNODB":
            reason = phrase(
                "its engine is {engine}; it must be InnoDB, which alone rolls back",
                engine=engine,
            )
            raise self.wrong(target, reason, self.alter(target, "ENGINE = InnoDB"))

        columns = {}
        types = {}
        for _, name, kind, *more, _ in found.columns:
            columns[name] = [kind, *more]
            types[name] = declared(kind)

        self._check_table_rights(target)
        self._check_columns(target, columns)
        self._check_key(target, mariadb_catalogue.indexes(found.indexes))
        self._values[target.resource] = Values(target, types, self._forms)

    def _check_columns(self, target: Target, columns: Mapping[str, Sequence[Any]]) -> None:
        """Raises FrontTableWrong where a column is missing, changes values, or refuses rows."""
        for i, column in enumerate(target.columns):
            if column.name not in columns:
                raise self.missing(target, i)
        for role, name in target.technical.items():
            if name not in columns:
                raise self.missing_technical(target, role)
        for i, column in enumerate(target.columns):
            self._check_column(target, i, columns[column.name])

        ours = self.all_names(target)
        for name, (found, nullable, default, extra, charset, collation) in columns.items():
            optional = nullable != "NO" or default is not None or extra
            if name in ours or optional:
                continue

            form = found
            if charset:
                form += f" CHARACTER SET {charset} COLLATE {collation}"
            reason = phrase("column {name} is NOT NULL without a default and not shared", name=name)
            change = f"MODIFY COLUMN {self.quote(name)} {form} NULL"
            raise self.wrong(target, reason, self.alter(target, change))

    def _check_column(self, target: Target, index: int, row: Sequence[Any]) -> None:
        """Raises FrontTableWrong where a shared column could not hold every value."""
        reason = self._column_fault(target, index, row)
        if reason:
            raise self.wrong(target, reason, self._modified(target, index))

    def _column_fault(self, target: Target, index: int, row: Sequence[Any]) -> str:
        """Returns what is wrong with a shared column; '' where nothing is."""
        column = target.columns[index]
        in_key = index in target.key
        wanted = self.column_type(target, index)
        found, nullable, _, extra, charset, collation = row

        if not holds(target, index, declared(found)):
            return phrase(
                "column {name} is {found}, which cannot hold every {type_name} exactly; it must "
                "be {wanted}",
                name=column.name,
                found=found,
                type_name=column.type_name,
                wanted=wanted,
            )

        extra = extra.upper()
        if "GENERATED" in extra and "DEFAULT_GENERATED" not in extra:
            return phrase("column {name} is generated", name=column.name)

        if charset not in (None, "utf8mb4"):
            return phrase(
                "column {name} has character set {charset}; it must be utf8mb4",
                name=column.name,
                charset=charset,
            )

        if in_key and collation not in (None, self._collation):
            return phrase(
                "key column {name} has collation {collation}, which takes different texts for "
                "one; it must be {wanted}",
                name=column.name,
                collation=collation,
                wanted=self._collation,
            )

        if nullable == "NO" and not column.not_null and not in_key:
            return phrase("column {name} is NOT NULL, the source's is not", name=column.name)
        return ""

    def _modified(self, target: Target, index: int) -> str:
        """Returns the statement that gives a column the form in which we create it."""
        form = self.column_type(target, index)
        if form.startswith(("VARCHAR", "LONGTEXT")):
            form += f" CHARACTER SET utf8mb4 COLLATE {self._collation}"
        null = "NOT NULL" if index in target.key else "NULL"
        column = target.columns[index]
        name = self.quote(column.name)
        return self.alter(target, f"MODIFY COLUMN {name} {form} {null}")

    def _check_key(
        self,
        target: Target,
        indexes: Mapping[str, mariadb_catalogue.IndexParts],
    ) -> None:
        """Raises FrontTableWrong where no unique index holds on the key alone."""
        if mariadb_catalogue.key_parts(target) in indexes.values():
            return

        names = [target.columns[i].name for i in target.key]
        reason = phrase(
            "it has no primary key or unique index on ({listed}) alone and whole",
            listed=", ".join(sorted(names)),
        )
        quoted_names = ", ".join(self.key_names(target))
        raise self.wrong(target, reason, self.alter(target, f"ADD UNIQUE ({quoted_names})"))
