"""Runs the checker's workload on MariaDB or MySQL.

What a statement of PostgreSQL does is said in the words of the other family. Transactions that are
committed in two phases are left out: a table whose changes are prepared is suspended
(docs/sources/mysql.md).
"""

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pymysql
from psycopg import sql

from tests.checker.journal import Intent, Outcome
from tests.checker.plan import WEIGHTS, Plan, Planner, Statement, columns, relation
from tests.checker.transfers import Leg, legs
from tests.checker.unit import ACCOUNTS, LEDGER, UnitTable
from tests.checker.workload import BETWEEN_CONNECTS, Workload
from tests.faults.binary_log.unit import RESIDENTS, run, session

KINDS = frozenset(WEIGHTS) - {"prepared"}
DEFINED = 0.25  # of the definitions that are drawn
# They commit what is under way, so a transaction cannot hold them
DEFINITIONS = ("TRUNCATE", "ALTER")
# Of a server that is away, a session that was ended, writers that meet, a key that is taken
ENDED = (pymysql.err.OperationalError, pymysql.err.InterfaceError, pymysql.err.IntegrityError)
SIGN = 'INSERT INTO "{}" ("txn_no", "op_count", "digest") VALUES (%s, %s, %s)'
BOOK = (
    'INSERT INTO "{}" ("账号", "余额") VALUES (%s, %s) '
    'ON DUPLICATE KEY UPDATE "余额" = "余额" + VALUES("余额")'
)
NUMBERS = (
    "WITH RECURSIVE numbers (n) AS "
    "(SELECT CAST(%s AS SIGNED) UNION ALL SELECT n + 1 FROM numbers WHERE n < %s) "
    "SELECT n, md5(n), n / 7.0 FROM numbers"
)


class LoggedPlanner(Planner):
    """See Planner."""

    def _insert(self, table: UnitTable) -> Iterator[Statement]:
        statement, values = self._row(table)
        if self._random.random() < 0.8:
            kept = sql.SQL(" ON DUPLICATE KEY UPDATE {0} = {0}")
            statement += kept.format(sql.Identifier(next(iter(table.values))))
        yield statement, values

    def _upsert(self, table: UnitTable) -> Iterator[Statement]:
        statement, values = self._row(table)
        given = sql.SQL(", ").join(
            sql.SQL("{0} = VALUES({0})").format(sql.Identifier(column)) for column in table.values
        )
        yield statement + sql.SQL(" ON DUPLICATE KEY UPDATE ") + given, values

    def _ddl(self, table: UnitTable) -> Iterator[Statement]:
        """Yields a definition that moves the places of the shared columns, or changes nothing.

        It fails where the column is there already, or is not. After each one the agent opens the
        source anew: where there are too many of them, a slow machine does nothing else.
        """
        if self._random.random() > DEFINED:
            yield from self._update(table)
            return
        number = self._random.randint(1, 3)
        added = sql.Identifier(f"加列{number}")
        change = self._random.choice(
            (
                sql.SQL("ADD COLUMN {} INT FIRST").format(added),
                sql.SQL("ADD COLUMN {} TEXT").format(added),
                sql.SQL("DROP COLUMN {}").format(added),
                sql.SQL("COMMENT = {}").format(sql.Literal(f"第{number}版")),
            )
        )
        yield sql.SQL("ALTER TABLE {} {}").format(relation(table), change), ()

    def _big_one(self) -> Iterator[Statement]:
        first = -((self._writer + 1) << 32)
        turn = self._bigs % 3
        self._bigs += 1
        bounds = [first, first + self._big - 1]
        table = relation(RESIDENTS)
        if turn == 0:
            make = sql.SQL("INSERT IGNORE INTO {} ({}) ").format(
                table, columns(["编号", "姓名", "余额"])
            )
            yield make + sql.SQL(NUMBERS), bounds
        elif turn == 1:
            change = 'UPDATE {} SET "余额" = "余额" + 1 WHERE "编号" BETWEEN %s AND %s'
            yield sql.SQL(change).format(table), bounds
        else:
            yield sql.SQL('DELETE FROM {} WHERE "编号" BETWEEN %s AND %s').format(table), bounds


class Writing:
    """A session of a writer, which knows whether it has ended."""

    def __init__(self, url: str) -> None:
        self._connection = session(url)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return not self._connection.open

    def run(self, statement: Statement) -> None:
        """Runs a statement."""
        text, values = statement
        run(self._connection, text, values)

    def close(self) -> None:
        """Ends it."""
        with suppress(pymysql.Error):
            self._connection.close()

    def commit(self) -> None:
        """Commits."""
        self._connection.commit()

    def rollback(self) -> None:
        """Undoes what was not committed."""
        self._connection.rollback()


class LoggedWorkload(Workload):
    """See Workload. `source` is an administrator's URL with the database."""

    planner = LoggedPlanner
    breath = 0.03

    def _signed(self) -> int:
        with closing(session(self._source)) as connection:
            found = run(connection, f'SELECT coalesce(max("txn_no"), 0) FROM "{LEDGER.name}"')
        return int(found[0][0])

    def _connect(self, writer: int) -> Any:
        try:
            return Writing(self._source)
        except ENDED:
            self._ended.wait(BETWEEN_CONNECTS)
            return None

    def _perform(self, connection: Writing, plan: Plan, intent: Intent) -> Outcome:
        """Runs a transaction, behind the definitions that its plan has."""
        defined, changes = _apart(plan)
        committing = False
        try:
            for statement in defined:
                connection.run(statement)
            debit, credit = legs(intent.txn)
            for statement in (_book(debit), *changes, _book(credit)):
                connection.run(statement)
            signed = sql.Composed([sql.SQL(SIGN.format(LEDGER.name))])
            connection.run((signed, [intent.txn, intent.ops, intent.digest]))
            if plan.kind == "long":
                self._ended.wait(self._open_seconds)
            if plan.kind == "rollback":
                connection.rollback()
                return "failed"
            committing = True
            connection.commit()
        except ENDED:
            with suppress(pymysql.Error):
                connection.rollback()
            return "unknown" if committing else "failed"
        return "ok"


def _apart(plan: Plan) -> tuple[list[Statement], list[Statement]]:
    """Returns the definitions of a plan, and its changes of rows."""
    defined: list[Statement] = []
    changes: list[Statement] = []
    for statement in plan.statements:
        is_definition = statement[0].as_string().startswith(DEFINITIONS)
        (defined if is_definition else changes).append(statement)
    return defined, changes


def _book(leg: Leg) -> Statement:
    return sql.Composed([sql.SQL(BOOK.format(ACCOUNTS.name))]), leg
