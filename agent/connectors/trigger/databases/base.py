"""The contract of a trigger log: the table in which triggers note the keys of changed rows.

A note is one row: (id, table, operation, key now, key before), and the time by the server's clock.

    operation   key now   key before
    ---------   -------   ----------
    I insert    key
    U update    key       key, where it is another one
    D delete              key
    T truncate

A key is one text, the parts of which stand behind their lengths in characters: `2:42` `5:a:b,c`. So
no part needs quoting, every database can write it, and its value never makes a statement fail. No
column but those of the key is named: the application may add, drop and rename every other one.
A database whose triggers see all rows of a statement may write several keys into one note, one
behind the other.

All statements are texts, made of names alone. Each is a transaction of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar, Literal, NamedTuple

from sqlalchemy import Connection, inspect

# What a part of a key is, where it matters how it is written: bytes in hexadecimal digits, and
# where a session's settings change the texts of numbers and times, these as ISO 8601 has them
Form = Literal["text", "bytes", "number", "date", "moment"]
Operation = Literal["I", "U", "D", "T"]

LOG = "sync_agent_log"
PREFIX = "sync_agent_"  # of the names of triggers and functions


class KeyPart(NamedTuple):
    """A column of a key."""

    name: str
    form: Form = "text"


class LoggedTable(NamedTuple):
    """A table whose changes are noted. `schema` is '' where the session's own is meant."""

    schema: str
    name: str
    key: tuple[KeyPart, ...]
    by_row: bool = False  # triggers of statements would not see all its changes

    @property
    def noted(self) -> str:
        """Names the table in its notes, and in the settings."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


class TriggerLog(ABC):
    """Writes the statements of one kind of database. Knows no connection and no setting.

    `log` names the table of the notes, `schema` the schema of it, '' for the session's own.
    """

    # Whether a TRUNCATE is noted; else only a comparison finds it
    notes_truncate: ClassVar[bool] = False

    # Whether rows that a foreign key changes or deletes by a cascade are noted
    notes_cascades: ClassVar[bool] = True

    # Whether a row that REPLACE removes for another unique column is noted
    notes_replaced: ClassVar[bool] = True

    # Catalogue message: which statements the database refuses for a table that has triggers
    refused: ClassVar[str] = ""

    def __init__(self, log: str = LOG, schema: str = "") -> None:
        self.log = log
        self.schema = schema

    # ---- statements

    @abstractmethod
    def create_log(self) -> list[str]:
        """Makes the table of the notes."""

    def exists(self, connection: Connection) -> bool:
        """Tells whether the table of the notes is there."""
        return inspect(connection).has_table(self.log, schema=self.schema or None)

    def drop_log(self) -> list[str]:
        """Takes the table of the notes away, where it is there."""
        return [f"DROP TABLE IF EXISTS {self.log_name}"]

    @abstractmethod
    def create_triggers(self, table: LoggedTable) -> list[str]:
        """Makes the triggers of a table."""

    @abstractmethod
    def drop_triggers(self, table: LoggedTable) -> list[str]:
        """Takes the triggers of a table away; those that are missing are passed over."""

    def removal(self, connection: Connection, tables: Iterable[LoggedTable]) -> list[str]:
        """Takes triggers and notes away, the notes last; [] where there is neither.

        `tables` are those whose triggers are dropped even where the account cannot see them: it is
        refused then, before the notes are dropped, without which a trigger fails.
        Raises the errors of the driver.
        """
        found = self.drop_found(connection)
        if not self.exists(connection):
            return found
        drops = []
        for table in tables:
            drops += self.drop_triggers(table)
        return [*dict.fromkeys([*drops, *found]), *self.drop_log()]

    def grants(self, account: str) -> list[str]:
        """Lets an account read and delete notes; [] where the database knows no rights."""
        return [f"GRANT SELECT, DELETE ON {self.log_name} TO {account}"]

    # ---- what is there

    def account(self, connection: Connection) -> str:
        """Returns the account of a connection, as `grants` names it."""
        return str(connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar())

    @abstractmethod
    def installed(self, connection: Connection, table: LoggedTable) -> Mapping[str, str]:
        """Returns the triggers of ours that a table has, by name, as the catalogue describes them.

        One that does not fire is left out. Raises the errors of the driver.
        """

    def seen(self, connection: Connection, table: LoggedTable) -> LoggedTable:
        """Returns the table with what the catalogue says of how its changes can be noted.

        Raises the errors of the driver.
        """
        return table

    @abstractmethod
    def drop_found(self, connection: Connection) -> list[str]:
        """Returns what drops every trigger that writes into this log, whosever table it is of.

        Tables may have been taken out of the configuration, or renamed. Raises the errors of the
        driver.
        """

    def writes(self, body: str) -> bool:
        """Tells whether a trigger with this body writes into this log."""
        return f"INSERT INTO {self.log_name} (source_table, " in body

    @abstractmethod
    def expected(self, table: LoggedTable) -> frozenset[str]:
        """Returns the names of the triggers that a table is given."""

    def complete(self, table: LoggedTable, installed: Collection[str]) -> bool:
        """Tells whether triggers of these names note every change of a table."""
        return self.expected(table) <= set(installed)

    # ---- names

    @abstractmethod
    def quoted(self, name: str) -> str:
        """Quotes a name as this database does."""

    @property
    def log_name(self) -> str:
        """The table of the notes, as statements name it."""
        return self.qualified(self.schema, self.log)

    def qualified(self, schema: str, name: str) -> str:
        """Quotes a name with its schema, where it has one."""
        if not schema:
            return self.quoted(name)
        return f"{self.quoted(schema)}.{self.quoted(name)}"

    def trigger(self, table: LoggedTable, what: str) -> str:
        """Names a trigger of a table: alike for ever, and short enough for every database."""
        place = f"{self.schema}\0{self.log}\0{table.schema}\0{table.name}"
        return f"{PREFIX}{sha256(place.encode()).hexdigest()[:10]}_{what}"


class TriggerPerEvent(TriggerLog):
    """The log of a database in which inserts, updates and deletes have a trigger each."""

    EVENTS: ClassVar[Mapping[str, str]] = {
        "insert": "INSERT",
        "update": "UPDATE",
        "delete": "DELETE",
    }

    def drop_triggers(self, table: LoggedTable) -> list[str]:
        """See TriggerLog.drop_triggers."""
        made = []
        for what in self.EVENTS:
            trigger = self.qualified(table.schema, self.trigger(table, what))
            made.append(f"DROP TRIGGER IF EXISTS {trigger}")
        return made

    def expected(self, table: LoggedTable) -> frozenset[str]:
        """See TriggerLog.expected."""
        return frozenset(self.trigger(table, what) for what in self.EVENTS)

    def ours(self, table: LoggedTable, rows: Sequence[Any]) -> dict[str, str]:
        """Returns those of a table's triggers that are ours, from names and descriptions."""
        expected = self.expected(table)
        return {name: described for name, described in names(rows).items() if name in expected}


def note_statements(log: str, table: str, now: str, before: str) -> dict[str, str]:
    """Returns the statements that write notes within triggers: insert, update, delete, truncate.

    `log` is the quoted name of the log; the table's name, the key now and the key before are
    expressions.
    """
    into = f"INSERT INTO {log} (source_table, operation"
    return {
        "insert": f"{into}, key_now) VALUES ({table}, 'I', {now})",
        "update": f"{into}, key_now, key_before) VALUES ({table}, 'U', {now}, {before})",
        "delete": f"{into}, key_before) VALUES ({table}, 'D', {before})",
        "truncate": f"{into}) VALUES ({table}, 'T')",
    }


def literal(text: str) -> str:
    """Writes a text as a constant of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


def parts(key: str) -> tuple[str, ...]:
    """Reads the parts of a noted key. Raises ValueError for a text that is none."""
    found = []
    while key:
        size, colon, rest = key.partition(":")
        if not colon or not size.isdecimal() or len(rest) < int(size):
            raise ValueError("no key")
        found.append(rest[: int(size)])
        key = rest[int(size) :]
    return tuple(found)


def digest(installed: Mapping[str, str]) -> str:
    """Returns one text for the triggers of a table: another one where they were made anew."""
    listed = [f"{name}\0{described}" for name, described in sorted(installed.items())]
    return sha256("\0".join(listed).encode()).hexdigest()[:16]


def names(rows: Sequence[Any]) -> dict[str, str]:
    """Returns rows of two texts as names and descriptions."""
    return {str(name): str(text) for name, text in rows}
