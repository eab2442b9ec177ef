"""The front end in MariaDB, and MySQL 8 by the same statements: its lock and errors."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from agent.errors import (
    AgentError,
    AnotherAgent,
    FrontDamaged,
    FrontUnfit,
    FrontUnreachable,
    LoginRefused,
    RowRefused,
)
from agent.front.corruption import corruption
from agent.front.mariadb import errors as mariadb_errors
from agent.front.mariadb.rows import MariaDbRows
from agent.front.mariadb.tables import DENIED, denied
from agent.front.migration import move_rows, pairs
from agent.messages import mark, phrase
from agent.resource import Target

# Seconds; the server needs a moment to notice that an agent was killed
_LOCK_PATIENCE = 5

_PACKET = text("SELECT database(), @@max_allowed_packet")
_LOCK = text("SELECT get_lock(:name, :patience)")
_HOLDER = text("SELECT is_used_lock(:name)")
_SESSION = text("SELECT connection_id()")
_OPEN = text("SELECT count(*) FROM information_schema.processlist WHERE id = :session")
_UNKNOWN_SESSION = 1094

_UNKNOWN_COLLATION = 1273

# An earlier attempt to move the rows was ended
_EXISTS = frozenset({1050})


class MariaDbFront(MariaDbRows):
    """See Front. The lock is GET_LOCK of the writing session, named after database and agent."""

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None,
        lock_wait: float,
        agent: str,
        types: str = "native",
    ) -> None:
        super().__init__(url, password, lock_wait, agent, types)

        # The open transaction has met an error
        self._failed = False

    # ---- lock, and tables of version 0.1

    def take_lock(self, connection: Connection, former: bool) -> None:
        """See SqlFront.take_lock."""
        name = self._lock_name(connection, former)
        lock = {"name": name, "patience": _LOCK_PATIENCE}
        taken = connection.execute(_LOCK, lock).scalar_one()
        if taken != 1:
            holder = connection.execute(_HOLDER, lock).scalar_one()
            raise AnotherAgent(holder=phrase("server session {holder}", holder=holder))

    def _lock_name(self, connection: Connection, former: bool = False) -> str:
        database, self._packet = connection.execute(_PACKET).one()
        what = database if former else f"{database}\0{self.agent}"
        digest = hashlib.blake2b(what.encode(), digest_size=16)
        return f"sync_agent.{digest.hexdigest()}"

    def unlock(self) -> None:
        """The session's end gives the lock back."""

    def session(self, connection: Connection) -> int:
        """See SqlFront.session."""
        return int(connection.execute(_SESSION).scalar_one())

    def holder(self, connection: Connection) -> int:
        """See SqlFront.holder."""
        name = self._lock_name(connection)
        return int(connection.execute(_HOLDER, {"name": name}).scalar() or 0)

    def is_open(self, connection: Connection, session: int) -> bool:
        """See SqlFront.is_open: a user sees its own sessions."""
        return bool(connection.execute(_OPEN, {"session": session}).scalar_one())

    def end_holder(self, connection: Connection, session: int) -> None:
        """See SqlFront.end_holder: a user may end its own sessions."""
        if self.holder(connection) != session:
            return
        try:
            connection.exec_driver_sql(f"KILL CONNECTION {session:d}")
        except DBAPIError as error:
            # It has ended by itself meanwhile
            if error.orig is None or error.orig.args[0] != _UNKNOWN_SESSION:
                raise

    def rename(
        self,
        connection: Connection,
        agent: str,
        suffixes: Sequence[str],
    ) -> None:
        """See migration.Mover.

        To rename takes rights (ALTER, DROP) that version 0.1 did not ask for. Without them the
        rows are moved.
        """
        changes = [f"{before} TO {after}" for before, after in pairs(agent, suffixes)]
        statement = f"RENAME TABLE {', '.join(changes)}"
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            number = error.orig.args[0] if error.orig is not None else None
            if number not in (DENIED | _EXISTS):
                raise
            connection.rollback()
            move_rows(connection, agent, suffixes)

    def drop_emptied(self, connection: Connection, name: str) -> None:
        """See migration.Mover: DROP commits at once what was moved, and may be denied."""
        connection.commit()
        if denied(connection, f"DROP TABLE {name}"):
            connection.rollback()

    # ---- the transaction after an error

    @contextmanager
    def guarded(self, target: Target | None = None) -> Iterator[None]:
        """See FrontConnection.guarded. After an error the transaction is rolled back whole.

        The server itself may have undone one statement only. A refusal within `saved` goes back to
        its savepoint instead.
        """
        try:
            with super().guarded(target):
                yield
        except AgentError as error:
            if self.saving and isinstance(error, RowRefused):
                # The savepoint still holds
                raise
            if self._connection is not None and self._connection.in_transaction():
                super().rollback()
                self._failed = True
            raise

    @property
    def connection(self) -> Connection:
        """The writing connection.

        None until `rollback` or `close` when the transaction has met an error.
        """
        if self._failed:
            raise FrontUnreachable(reason=phrase("the transaction has failed"))
        return super().connection

    def rollback(self) -> None:
        """See FrontTransaction.rollback."""
        self._failed = False
        super().rollback()

    def close(self) -> None:
        """See FrontTransaction.close."""
        self._failed = False
        super().close()

    # ---- errors

    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """See FrontConnection.error. Messages that may quote a value are left out."""
        if damaged := corruption(cause):
            return FrontDamaged(reason=damaged)

        number, message = _number_and_message(cause)
        if number in mariadb_errors.LOGIN:
            peer = phrase("the front-end database")
            user = self.engine.url.username or ""
            return LoginRefused(peer=peer, user=user, reason=message)

        if not number or 2000 <= number < 3000:
            # The client's own errors: addresses at the most
            return FrontUnreachable(reason=message)

        if number == _UNKNOWN_COLLATION:
            reason = phrase(
                "it does not know {collation}: MariaDB from 10.2 and MySQL from 8.0.17 do, under "
                "mariadb+pymysql:// and mysql+pymysql://",
                collation=self._collation,
            )
            return FrontUnfit(reason=reason)

        sqlstate = getattr(cause, "sqlstate", None) or ""
        if target is not None and number == mariadb_errors.BAD_NULL:
            first = target.columns[target.key[0]]
            if f"'{first.name}'" in message:
                return self._another_row(target, number)
        return mariadb_errors.server_error(number, sqlstate, message, target)

    @staticmethod
    def _another_row(target: Target, number: int) -> RowRefused:
        """Makes the error of an upsert that has met a row of another key (see `_same_row`)."""
        text = mark("error {number}: another row has its value in a unique index besides the key")
        reason = phrase(text, number=number)
        return RowRefused(resource=target.resource, table=target.name, reason=reason)


def _number_and_message(cause: BaseException) -> tuple[int, str]:
    """Returns what the driver says; 0 where it has no number of an error."""
    number = 0
    if cause.args and isinstance(cause.args[0], int):
        number = cause.args[0]

    message = type(cause).__name__
    if len(cause.args) > 1:
        message = str(cause.args[1])
    return number, message
