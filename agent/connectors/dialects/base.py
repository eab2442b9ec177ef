"""The contract of a dialect: what a database does in its own way when it is read.

Statements are SQLAlchemy's, and so is the quoting of names. What is left to a dialect: how a
session is opened, what a snapshot is, which canonical type a column has and how its values become
canonical texts (`agent.values`), and what an error of the driver means.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Inspector,
    Select,
    create_engine,
    event,
    inspect,
)
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine

from agent.config.database import ZeroDates
from agent.errors import SourceUnfit
from agent.messages import phrase
from agent.values.column_types import Element
from agent.values.writing import Writer

# What an error of the driver is about: the server is away or ends sessions; it refuses the login;
# something is locked or takes too long; a right is missing; the table or a column is not there; a
# value cannot be handed over; the session cannot be used as it must be
Trouble = Literal["unreachable", "login", "busy", "denied", "missing", "value", "unfit"]


def as_it_is(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Selects the column itself."""
    return column


class Stored(NamedTuple):
    """How a text is stored."""

    encoding: str  # of its bytes, as Python names it
    octets: Callable[[ColumnElement[Any]], ColumnElement[Any]]  # selects its bytes


class Kind(NamedTuple):
    """How the values of a column are read, and given back to the database."""

    oid: int  # the canonical type, see agent.values.column_types
    name: str  # as PostgreSQL's format_type writes it, such as numeric(10,2)

    # What the driver hands out -> canonical text. Raises ValueError, TypeError or ArithmeticError
    # for a value that has none; NULL never comes here
    write: Writer

    # Canonical text of a value -> a parameter or expression that is equal to that value
    bind: Callable[[str], Any]

    # The expression that is selected for the column
    select: Callable[[ColumnElement[Any]], ColumnElement[Any]] = as_it_is

    # Of a text whose bytes the database does not test; None where it does
    stored: Stored | None = None

    # Of an array: what it holds
    elements: tuple[Element, ...] = ()


class Sample(NamedTuple):
    """A value for `sync-agent selftest`."""

    declared: str  # the type of its column
    literal: str  # the value in the database's own SQL
    text: str  # the canonical text as which it is read
    since: tuple[int, ...] = ()  # the first version of the server that has the type


class Recoded(NamedTuple):
    """A column for `sync-agent selftest` that takes bytes of any encoding for a text."""

    declared: str  # the type of the column
    literal: str  # a text in the database's own SQL; {hex} stands for its bytes


class Dialect(ABC):
    """One kind of database. Knows no connection, no table and no setting."""

    name: ClassVar[str]  # as users know it
    extra: ClassVar[str] = ""  # of the Python package, which brings the driver

    # Whether somebody has tried it on a real server of this kind
    tried: ClassVar[bool] = True

    # Whether all tables can be read as they are at one moment
    snapshots: ClassVar[bool] = True

    # Whether (a, b) IN ((1, 2), (3, 4)) is understood, with what `Kind.bind` makes of texts
    row_values: ClassVar[bool] = True

    # Whether an index is used for all of (a, b) > (1, 2), and not for `a > 1 OR (a = 1 AND b > 2)`
    seeks_rows: ClassVar[bool] = False

    # Whether texts can be read as bytes that are in another encoding than the database says, and
    # which one that is; '': the one that it says
    recodes: ClassVar[bool] = False
    encoding: str = ""

    # Whether dates may be none, and what becomes of these
    has_zero_dates: ClassVar[bool] = False
    zero_dates: ZeroDates = "suspend"

    # For the self-test: values of every type; columns that take texts in another encoding, of which
    # the first is fit for a key; the type of a date and time, and how one is written
    samples: ClassVar[Sequence[Sample]] = ()
    recoded: ClassVar[Sequence[Recoded]] = ()
    moment: ClassVar[tuple[str, str]] = ("TIMESTAMP", "TIMESTAMP '{}'")

    # ---- sessions

    def engine(
        self,
        url: URL,
        password: Callable[[], str] | None,
        seconds: float,
    ) -> Engine:
        """Makes an engine of autocommit sessions in which no statement takes longer than `seconds`.

        Times are read in UTC and texts in UTF-8. `password` is asked at each connection. Nothing is
        connected yet, and no connection is kept. Raises SourceUnfit where there is no driver.
        """
        try:
            engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        except ModuleNotFoundError:
            reason = phrase(
                "its driver is not installed: install the agent with the extra {extra}",
                extra=self.extra,
            )
            raise SourceUnfit(reason=reason) from None

        @event.listens_for(engine, "do_connect")
        def connect(
            _dialect: object,
            _record: object,
            arguments: list[Any],
            named: dict[str, Any],
        ) -> Any:
            given = named if password is None else named | {"password": password()}
            return self.connect(arguments, given, seconds)

        # It comes first: SQLAlchemy asks a new session how it is
        @event.listens_for(engine, "connect", insert=True)
        def connected(connection: Any, _record: object) -> None:
            self.settle(connection, seconds)

        return engine

    @abstractmethod
    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """Opens a connection of the driver, with what SQLAlchemy gives for the URL.

        The connection ends when the process is asked to stop (agent.stop_watch).
        """

    @abstractmethod
    def settle(self, connection: Any, seconds: float) -> None:
        """Gives a new connection of the driver its session settings."""

    @abstractmethod
    def snapshot(self, connection: Connection) -> AbstractContextManager[None]:
        """Reads within one snapshot, which ends with the context; writes nothing.

        The snapshot is taken at the beginning, before the first row is read.
        """

    # Begins a transaction that writes, and reads rows as they are by then
    begin_writing: ClassVar[tuple[str, ...]] = ("BEGIN",)

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """Commits what is written within the context as one transaction, or nothing of it."""
        for statement in self.begin_writing:
            connection.exec_driver_sql(statement)
        try:
            yield
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")

    # ---- columns and statements

    def columns(self, inspector: Inspector, schema: str, name: str) -> list[ReflectedColumn]:
        """Returns the columns of a table as the catalogue has them."""
        return inspector.get_columns(name, schema=schema or None)

    @abstractmethod
    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """Returns how a column of this type is read; None for a type that the agent cannot read.

        In a key two equal values have one text, and the text gives back the value.
        """

    def type_name(self, declared: TypeEngine[Any]) -> str:
        """Names a type that the agent cannot read, as the database writes it."""
        try:
            return str(declared)
        except Exception:  # noqa: BLE001 - a type of a dialect may have no name
            return type(declared).__name__

    def full_scan(self, connection: Connection, statement: Select[Any]) -> bool | None:
        """Tells whether a statement reads every row of its table; None where nobody can tell.

        Where the database is not asked for its plan, the catalogue tells whether an index or the
        primary key begins with the column that the statement compares.
        """
        compared = getattr(statement.whereclause, "left", None)
        if compared is None:
            return None
        read: Any = statement.get_final_froms()[0]
        asked = {"table_name": read.name, "schema": read.schema}
        inspector = inspect(connection)
        indexed: list[Any] = [index["column_names"] for index in inspector.get_indexes(**asked)]
        indexed.append(inspector.get_pk_constraint(**asked)["constrained_columns"])
        return all(columns[:1] != [compared.name] for columns in indexed)

    def locking(self, statement: Select[Any]) -> Select[Any]:
        """Returns a statement that locks the rows it reads; those that others lock it leaves out.

        It is one of a single table, within `writing`.
        """
        return statement.with_for_update(key_share=True, skip_locked=True)

    @abstractmethod
    def clock(self, connection: Connection, *, utc: bool) -> str:
        """Returns the date and time of the server's clock, in UTC or in its own zone.

        The text is ISO 8601, without the zone.
        """

    def estimate(self, connection: Connection, schema: str, table: str) -> int | None:
        """Returns how many rows a table has by the server's statistics; None: there are none.

        `schema` is '' for the session's own.
        """
        return None

    def size(self, connection: Connection, schema: str, table: str) -> int | None:
        """Returns how many bytes a table takes; None where the database does not say.

        `schema` is '' for the session's own.
        """
        return None

    # ---- errors

    @abstractmethod
    def trouble(self, error: BaseException) -> Trouble:
        """Tells what an error of the driver is about."""

    @abstractmethod
    def code(self, error: BaseException) -> str:
        """Returns the error's code, which holds no value of a row."""
