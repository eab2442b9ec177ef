"""Plans what the transactions of a workload do.

It is a pure function of seed and writer, so that every run of a seed means the same.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from random import Random
from typing import NamedTuple

from psycopg import sql

from tests.checker.inputs import Value
from tests.checker.unit import RESIDENTS, Key, UnitTable

Statement = tuple[sql.Composed, Sequence[Value | int]]

SAVEPOINT: Statement = sql.Composed([sql.SQL("SAVEPOINT kept")]), ()
ROLLBACK_TO: Statement = sql.Composed([sql.SQL("ROLLBACK TO SAVEPOINT kept")]), ()
HOT = 200  # keys of each table, on which all writers meet
WEIGHTS = {
    "insert": 30.0,
    "update": 30.0,
    "delete": 10.0,
    "move": 5.0,  # a key changes
    "upsert": 5.0,
    "many": 5.0,  # rows in one statement
    "savepoint": 4.0,  # rolled back, the rest goes on
    "rollback": 4.0,  # of everything
    "toast": 3.0,  # large values
    "big": 1.0,
    "long": 1.0,  # stays open for a while
    "prepared": 1.0,  # committed in two phases
    "swap": 1.0,  # of two keys
    "truncate": 0.3,
    "ddl": 0.5,
}
LATER = frozenset({"ddl"})  # until the issue that builds it takes it out
ENABLED = frozenset(WEIGHTS) - LATER
# Kinds of transactions; the others are kinds of changes
WHOLE = frozenset({"savepoint", "rollback", "big", "long", "prepared"})


class Plan(NamedTuple):
    """One transaction: its statements, and how it is meant to end."""

    kind: str
    statements: tuple[Statement, ...]
    ops: int  # statements that change data, undone ones included

    @property
    def digest(self) -> str:
        """Names what is done."""
        whole = "\n".join(
            f"{statement.as_string(None)} {values!r}" for statement, values in self.statements
        )
        return sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Planner:
    """Draws the transactions of one writer.

    All writers use the same hot keys, and know nothing of the rows that exist.
    """

    def __init__(
        self,
        seed: int,
        writer: int,
        tables: Sequence[UnitTable],
        kinds: Collection[str] = ENABLED,
        big: int = 2_000,
    ) -> None:
        self._random = Random(f"{seed}/{writer}")
        self._writer = writer
        self._tables = [table for table in tables if table.values]
        self._keys = {table.name: hot_keys(table) for table in tables}
        self._kinds = [kind for kind in WEIGHTS if kind in kinds]
        self._changes = [kind for kind in self._kinds if kind not in WHOLE]
        self._big = big
        self._bigs = 0
        self._makers: dict[str, Callable[[UnitTable], Iterator[Statement]]] = {
            "insert": self._insert,
            "update": self._update,
            "delete": self._delete,
            "move": self._move,
            "upsert": self._upsert,
            "many": self._many,
            "toast": self._toast,
            "swap": self._swap,
            "truncate": self._truncate,
            "ddl": self._ddl,
        }

    def plan(self) -> Plan:
        """Returns the next transaction."""
        kind = self._draw(self._kinds)
        if kind == "big":
            statements = list(self._big_one())
        elif kind == "savepoint":
            statements = [*self._some(), SAVEPOINT, *self._some(), ROLLBACK_TO, *self._some()]
        elif kind in WHOLE:
            statements = self._some()
        else:
            statements = self._some(kind)
        return Plan(
            kind,
            tuple(statements),
            sum(statement not in (SAVEPOINT, ROLLBACK_TO) for statement in statements),
        )

    def _draw(self, kinds: Sequence[str]) -> str:
        return self._random.choices(kinds, weights=[WEIGHTS[kind] for kind in kinds])[0]

    def _some(self, first: str = "") -> list[Statement]:
        """Returns a few changes; one of the kind `first`, if given."""
        kinds = [first or self._draw(self._changes)]
        kinds += [
            self._draw(self._changes)
            for _ in range(self._random.choices((0, 1, 4), weights=(70, 20, 10))[0])
        ]
        return [
            statement
            for kind in kinds
            for statement in self._makers[kind](self._random.choice(self._tables))
        ]

    # ---- kinds of changes

    def _insert(self, table: UnitTable) -> Iterator[Statement]:
        """Yields a new row; an application that does not look first fails where the key exists."""
        careful = sql.SQL(" ON CONFLICT DO NOTHING") if self._random.random() < 0.8 else sql.SQL("")
        statement, values = self._row(table)
        yield statement + careful, values

    def _upsert(self, table: UnitTable) -> Iterator[Statement]:
        statement, values = self._row(table)
        excluded = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in table.values
        )
        yield (
            statement
            + sql.SQL(" ON CONFLICT ({}) DO UPDATE SET {}").format(columns(table.key), excluded),
            values,
        )

    def _update(self, table: UnitTable) -> Iterator[Statement]:
        """Changes some columns; large ones seldom, so that the log leaves them out."""
        often = [
            column
            for column in table.values
            if column not in table.large or self._random.random() < 0.1
        ]
        yield self._set(
            table,
            self._random.sample(often, self._random.randint(1, min(3, len(often)))),
            [self._key(table)],
        )

    def _delete(self, table: UnitTable) -> Iterator[Statement]:
        for _ in range(self._random.randint(1, 3)):
            yield (
                sql.SQL("DELETE FROM {} WHERE {}").format(relation(table), match(table)),
                self._key(table),
            )

    def _move(self, table: UnitTable) -> Iterator[Statement]:
        yield self._moved(table, self._key(table), self._key(table))

    def _many(self, table: UnitTable) -> Iterator[Statement]:
        column = self._random.choice(
            [column for column in table.values if column not in table.large]
        )
        yield self._set(table, [column], self._random.sample(self._keys[table.name], 20))

    def _toast(self, table: UnitTable) -> Iterator[Statement]:
        """Writes large values into a table that has them.

        Then comes a change that leaves them as they are.
        """
        table = self._random.choice([one for one in self._tables if one.large] or [table])
        key, small = (
            self._key(table),
            [column for column in table.values if column not in table.large],
        )
        yield self._set(table, table.large or small, [key])
        yield self._set(table, small[:1], [key])

    def _swap(self, table: UnitTable) -> Iterator[Statement]:
        one, other, aside = self._random.sample(self._keys[table.name], 3)
        for old, new in ((one, aside), (other, one), (aside, other)):
            yield self._moved(table, old, new)

    def _truncate(self, table: UnitTable) -> Iterator[Statement]:
        yield sql.SQL("TRUNCATE {}").format(relation(table)), ()

    def _ddl(self, table: UnitTable) -> Iterator[Statement]:
        added = sql.Identifier(f"加列{self._random.randint(1, 9)}")
        change = self._random.choice(
            (sql.SQL("ADD COLUMN IF NOT EXISTS {} text"), sql.SQL("DROP COLUMN IF EXISTS {}"))
        )
        yield sql.SQL("ALTER TABLE {} ").format(relation(table)) + change.format(added), ()

    def _big_one(self) -> Iterator[Statement]:
        """Makes, changes and deletes many residents of this writer, in turn.

        No other statement meets their keys.
        """
        first = -((self._writer + 1) << 32)
        turn = self._bigs % 3
        self._bigs += 1
        where = sql.SQL("{} BETWEEN %s AND %s").format(sql.Identifier(*RESIDENTS.key))
        bounds = [first, first + self._big - 1]
        if turn == 0:
            make = (
                'INSERT INTO {} ("编号", "姓名", "余额") SELECT n, md5(n::text), n / 7.0 '
                "FROM generate_series(%s::bigint, %s::bigint) n ON CONFLICT DO NOTHING"
            )
            yield sql.SQL(make).format(relation(RESIDENTS)), bounds
        elif turn == 1:
            yield (
                sql.SQL('UPDATE {} SET "余额" = "余额" + 1 WHERE ').format(relation(RESIDENTS))
                + where,
                bounds,
            )
        else:
            yield sql.SQL("DELETE FROM {} WHERE ").format(relation(RESIDENTS)) + where, bounds

    # ---- pieces

    def _key(self, table: UnitTable) -> Key:
        return self._random.choice(self._keys[table.name])

    def _row(self, table: UnitTable) -> Statement:
        values = [*self._key(table), *(make(self._random) for make in table.values.values())]
        places = sql.SQL(", ").join([sql.Placeholder()] * len(values))
        return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            relation(table), columns([*table.key, *table.values]), places
        ), values

    def _set(self, table: UnitTable, changed: Sequence[str], keys: Sequence[Key]) -> Statement:
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = %s").format(sql.Identifier(column)) for column in changed
        )
        where = sql.SQL(" OR ").join([sql.SQL("({})").format(match(table))] * len(keys))
        values = [table.values[column](self._random) for column in changed]
        return sql.SQL("UPDATE {} SET {} WHERE {}").format(relation(table), assignments, where), [
            *values,
            *(part for key in keys for part in key),
        ]

    def _moved(self, table: UnitTable, old: Key, new: Key) -> Statement:
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = %s").format(sql.Identifier(column)) for column in table.key
        )
        return sql.SQL("UPDATE {} SET {} WHERE {}").format(
            relation(table), assignments, match(table)
        ), [*new, *old]


def hot_keys(table: UnitTable) -> list[Key]:
    """Returns the keys on which all writers meet, the same in every run.

    They are fewer than HOT where the table's keys have not so many values.
    """
    random = Random(table.name)
    makers = {**table.key, **table.hot}
    drawn = (tuple(make(random) or "" for make in makers.values()) for _ in range(3 * HOT))
    return list(dict.fromkeys(drawn))[:HOT]


def relation(table: UnitTable) -> sql.Identifier:
    """Returns the table's name."""
    return sql.Identifier(*filter(None, (table.schema, table.name)))


def columns(names: Iterable[str]) -> sql.Composed:
    """Returns a list of columns."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def match(table: UnitTable) -> sql.Composed:
    """Returns the condition for one key."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = %s").format(sql.Identifier(column)) for column in table.key
    )
