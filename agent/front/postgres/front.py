"""The front end in PostgreSQL: its lock, the rights it needs, and what its errors mean."""

import hashlib
import time
from collections.abc import Callable

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from agent.connectors.postgres import sqlstates
from agent.errors import AgentError, AnotherAgent, FrontBusy, FrontDamaged, FrontUnfit
from agent.front.base import Progress
from agent.front.catalogue import with_remedy
from agent.front.corruption import corruption
from agent.front.postgres.errors import client_error, reason_of, server_error
from agent.front.postgres.rows import PostgresRows
from agent.front.schema import AgentTables, former_name, table_name
from agent.messages import mark, phrase
from agent.resource import Target

# The advisory lock of version 0.1: one for a database
_FORMER_LOCK = {"space": 0x53594E43, "key": 0}

# Seconds; the backend of an agent that was killed needs a moment to notice
_LOCK_PATIENCE = 5.0

_LOCK = text("select pg_try_advisory_lock(:space, :key)")
# Other databases of the server may hold agents of the same name
_HELD = """
    from pg_locks where locktype = 'advisory' and granted
       and database = (select oid from pg_catalog.pg_database where datname = current_database())
       and classid = cast(:space & 4294967295 as oid)
       and objid = cast(:key & 4294967295 as oid)"""
_HOLDER = text(f"select pid {_HELD}")
_END = text(f"select pg_terminate_backend(pid) {_HELD} and pid = :session")
_SESSION = text("select pg_backend_pid()")
_OPEN = text("""
    select exists (select from pg_catalog.pg_stat_activity
                   where pid = :session and usename = current_user)""")

# Where the agent's tables lie, or will lie
_SCHEMA = text("""
    select coalesce(
        (select relnamespace from pg_catalog.pg_class where oid = to_regclass(:own)),
        (select relnamespace from pg_catalog.pg_class where oid = to_regclass(:former)),
        (select oid from pg_catalog.pg_namespace where nspname = current_schema()))""")

# What the role may do that no single table gives: the temporary tables of the upsert, and the
# agent's own tables where there are none yet
_RIGHTS = text("""
    select has_database_privilege(current_database(), 'TEMPORARY') as temporary,
           quote_ident(current_database()) as database,
           quote_ident(current_user) as role, quote_ident(current_schema()) as schema,
           exists (select from unnest(cast(:names as text[])) name
                   where to_regclass(quote_ident(name)) is null) as missing,
           has_schema_privilege(current_schema(), 'CREATE') as creates""")


class PostgresFront(PostgresRows):
    """See Front. The lock is an advisory lock of the writing session."""

    errors = (SQLAlchemyError, psycopg.Error)

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None,
        lock_wait: float,
        agent: str,
    ) -> None:
        super().__init__(url, password, lock_wait, agent)
        self._committing = False

        # A deferred constraint has failed: the next transaction checks them at each statement, so
        # that the rows are known
        self._immediate = False

    # ---- lock and rights

    def take_lock(self, connection: Connection, former: bool) -> None:
        """See SqlFront.take_lock."""
        self._staged.clear()
        deadline = time.monotonic() + _LOCK_PATIENCE
        key = _FORMER_LOCK if former else self._lock_key(connection)
        while not connection.execute(_LOCK, key).scalar_one():
            connection.rollback()
            if time.monotonic() > deadline:
                holder = connection.execute(_HOLDER, key).scalar()
                raise AnotherAgent(holder=phrase("server process {holder}", holder=holder))
            connection.execute(text("select pg_sleep(0.1)"))

    def _lock_key(self, connection: Connection) -> dict[str, int]:
        """Returns the key of this agent's lock: two schemas may hold tables of the same names."""
        own = table_name(self.agent, "state")
        names = {"own": own, "former": former_name("state")}
        schema = connection.execute(_SCHEMA, names).scalar_one()
        name = f"{schema}\0{own}"
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        return {
            "space": int.from_bytes(digest[:4], "big", signed=True),
            "key": int.from_bytes(digest[4:], "big", signed=True),
        }

    def unlock(self) -> None:
        """The session's end gives the lock back."""

    def session(self, connection: Connection) -> int:
        """See SqlFront.session: the id of the server's process."""
        return int(connection.execute(_SESSION).scalar_one())

    def holder(self, connection: Connection) -> int:
        """See SqlFront.holder."""
        key = self._lock_key(connection)
        return int(connection.execute(_HOLDER, key).scalar() or 0)

    def is_open(self, connection: Connection, session: int) -> bool:
        """See SqlFront.is_open."""
        return bool(connection.execute(_OPEN, {"session": session}).scalar_one())

    def hasten(self, connection: Connection) -> None:
        """See SqlFront.hasten: they wait for no synchronous standby of the server, either."""
        connection.exec_driver_sql("SET synchronous_commit = off")
        connection.commit()

    def end_holder(self, connection: Connection, session: int) -> None:
        """See SqlFront.end_holder: a role may end its own sessions."""
        key = self._lock_key(connection)
        connection.execute(_END, {**key, "session": session})

    def check_rights(self, connection: Connection) -> None:
        """See SqlFront.check_rights.

        Changed rows go through a temporary table, and the agent makes tables of its own.
        """
        names = {"names": list(AgentTables(self.agent).metadata.tables)}
        found = connection.execute(_RIGHTS, names).one()
        text = mark("the agent's role lacks the right {names}")
        if not found.temporary:
            reason = phrase(text, names="TEMPORARY")
            grant = f"GRANT TEMPORARY ON DATABASE {found.database} TO {found.role};"
            raise FrontUnfit(reason=with_remedy(reason, grant))

        if found.schema is not None and found.missing and not found.creates:
            reason = phrase(text, names="CREATE")
            grant = f"GRANT CREATE ON SCHEMA {found.schema} TO {found.role};"
            raise FrontUnfit(reason=with_remedy(reason, grant))

    # ---- errors, and deferred constraints

    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """See FrontConnection.error."""
        if damaged := corruption(cause):
            return FrontDamaged(reason=damaged)

        user = self.engine.url.username or ""
        sqlstate = getattr(cause, "sqlstate", None) or ""
        of_connection = target is None or isinstance(cause, psycopg.OperationalError)
        if not sqlstate and of_connection:
            return client_error(str(cause), user)

        # With constraints checked at each statement the error of a commit is none of theirs.
        deferred = self._committing and not self._immediate
        if deferred and sqlstates.kind(sqlstate) in ("row", "table"):
            self._immediate = True
            diagnostic = getattr(cause, "diag", None)
            table = getattr(diagnostic, "table_name", None) or ""
            text = mark("deferred constraint of table {table}: {reason}")
            reason = phrase(text, table=table, reason=reason_of(cause))
            return FrontBusy(reason=reason)
        return server_error(cause, target, user)

    def begin(self) -> None:
        """See FrontTransaction.begin.

        After a deferred constraint has failed, the transaction checks constraints at each
        statement.
        """
        if self.connection.in_transaction():
            return
        super().begin()
        if self._immediate:
            with self.guarded():
                self.connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def commit(self, progress: Progress) -> None:
        """See FrontTransaction.commit."""
        self._committing = True
        try:
            super().commit(progress)
        finally:
            self._committing = False
        self._immediate = False
