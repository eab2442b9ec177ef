"""Brings the values of row filters into the text that PostgreSQL writes for them.

It is done once, so that rows are compared with just that. The server casts each value to the
column's own type. What is none of the type is a problem of the configuration; so is a value that
the cast would change in silence, one that means something else tomorrow, and a type whose equal
values have several spellings.
"""

import re
from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from agent.config import Condition, ResourceSettings
from agent.config.problems import Place, Problem
from agent.connectors.table import Criterion, SourceColumn, SourceTable, Spelling, plainest
from agent.errors import ReadRefused
from agent.messages import mark, phrase, translate
from agent.values import column_types as v
from agent.values.forms import unpadded

Connection = psycopg.Connection[Any]
Raw = str | int | bool

_TEXTS = (v.TEXT, v.VARCHAR, v.BPCHAR, v.NAME, v.CHAR)
_NUMBERS = (v.INT2, v.INT4, v.INT8, v.OID, v.NUMERIC, v.FLOAT4, v.FLOAT8)
_DAYS = (v.DATE, v.TIMESTAMP, v.TIMESTAMPTZ)
_BIT, _VARBIT, _MACADDR, _MACADDR8, _PG_LSN = 1560, 1562, 829, 774, 3220
# Types of PostgreSQL's own whose equal values are written alike, each value in one way
_ALIKE = (
    *_TEXTS, *_NUMBERS, *_DAYS, v.BOOL, v.TIME, v.UUID, v.BYTEA, v.INET, v.CIDR, v.MONEY,
    _BIT, _VARBIT, _MACADDR, _MACADDR8, _PG_LSN,
)  # fmt: skip
_SPELLINGS: dict[int, Spelling] = {
    v.NUMERIC: "number",
    v.FLOAT4: "signed zero",
    v.FLOAT8: "signed zero",
    v.BPCHAR: "padded",
}
# Whether the cast kept the value: `text` is what was configured, `cast` the column's type.
_NUMBER_KEPT = "pg_catalog.concat(text::{cast})::pg_catalog.numeric = text::pg_catalog.numeric"
_MOMENT_KEPT = "(text::{cast})::pg_catalog.timestamptz = text::pg_catalog.timestamptz"
_BITS_KEPT = "pg_catalog.concat(text::{cast}) = pg_catalog.concat(text::pg_catalog.varbit)"
_KEPT = {
    **dict.fromkeys(_NUMBERS, _NUMBER_KEPT),
    **dict.fromkeys(_DAYS, _MOMENT_KEPT),
    **dict.fromkeys((_BIT, _VARBIT), _BITS_KEPT),
    v.TIME: "text::{cast} = text::pg_catalog.time",
    v.MONEY: """case when pg_catalog.concat(text::{cast}) = text then true
        else (text::{cast})::pg_catalog.numeric = text::pg_catalog.numeric end""",
}
_CAST = """
    select pg_catalog.concat(text::{cast}), {kept}
    from pg_catalog.unnest(%s::pg_catalog.text[]) with ordinality t(text, place) order by place"""
_COLUMNS = """
    select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
           coalesce(c.collisdeterministic, true)
    from pg_catalog.pg_attribute a left join pg_catalog.pg_collation c on c.oid = a.attcollation
    where a.attrelid = %s and a.attname = any(%s::pg_catalog.text[]) and not a.attisdropped"""
# Schemas of the columns' types that a role may not use, so that it may not name the types either.
_CLOSED = """
    select distinct n.nspname
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
    join pg_catalog.pg_namespace n on n.oid = t.typnamespace, pg_catalog.pg_roles r
    where a.attrelid = %s and a.attname = any(%s::pg_catalog.text[]) and not a.attisdropped
      and r.rolname = %s and not pg_catalog.has_schema_privilege(r.rolname, n.oid, 'usage')"""
_ENUM = "select typtype = 'e' from pg_catalog.pg_type where oid = %s"

_TOMORROW = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
_TIME_OF_DAY = re.compile(r"\s*\d{1,2}:\d\d(:\d\d(\.\d+)?)?\s*([ap]m)?\s*", re.IGNORECASE)
_TOO_FINE = re.compile(r"\.\d{6}\d*[1-9]")

_NO_VALUE = mark("this is no value of column {column}, whose type is {type}")
_CHANGED = mark(
    "column {column} cannot hold this exactly: its type {type} would shorten or round it; "
    "write it as the column holds it"
)
_MEANS_ELSE = mark(
    "words such as 'now' and 'today' mean another moment each day: write the date itself"
)
_BOOLEAN = mark(
    "column {column} is no boolean but {type}: write the value as the column holds it, in quotes"
)
_SEVERAL = mark(
    "values of type {type} that are equal can be written in several ways, "
    "so a filter could keep back the wrong rows: test another column, or use is_null"
)


class _Declared(NamedTuple):
    """A column as a cast names it."""

    cast: str  # with length and schema, e.g. character(8), app.level
    deterministic: bool  # its collation


class _Answer(NamedTuple):
    """A value as the server has cast it, and whether the cast kept it."""

    canonical: str
    kept: bool


def criteria(
    connection: Connection,
    number: int,
    resource: ResourceSettings,
    table: SourceTable,
) -> tuple[tuple[Criterion, ...], list[Problem]]:
    """Returns the filter of resource `number` in canonical texts, and what is wrong with it.

    Columns that do not exist are left out. The connection is in autocommit, with the session
    settings of the source. Raises ReadRefused, psycopg.Error.
    """
    columns = {column.name: column for column in table.columns}
    tested = [condition.column for condition in resource.filter]
    declared = _declared(connection, table, tested)

    made: list[Criterion] = []
    problems: list[Problem] = []
    for place, condition in enumerate(resource.filter):
        column = columns.get(condition.column)
        if column is None or condition.column not in declared:
            continue
        if condition.is_null is not None:
            made.append(Criterion(condition.column, condition.is_null, None))
            continue

        where: Place = ("resource", number, "filter", place)
        filter_ = _Filter(connection, column, declared[column.name])
        try:
            texts = filter_.texts(where, condition)
        except psycopg.errors.InsufficientPrivilege:
            name = f"{table.schema}.{table.table}"
            reason = phrase(
                "the agent's role lacks USAGE on the schema of type {cast} of its filter",
                cast=filter_.cast,
            )
            raise ReadRefused(resource=resource.name, table=name, reason=reason) from None
        problems += filter_.problems
        wanted = condition.is_in is not None
        made.append(Criterion(column.name, wanted, texts, filter_.spelling))
    return tuple(made), problems


def _declared(
    connection: Connection,
    table: SourceTable,
    names: list[str],
) -> dict[str, _Declared]:
    """Returns the columns as casts name them, by name."""
    declared = {}
    rows = connection.execute(_COLUMNS, (table.oid, names))
    for name, cast, deterministic in rows:
        declared[name] = _Declared(cast, deterministic)
    return declared


def closed(
    connection: Connection,
    role: str,
    resource: ResourceSettings,
    oid: int,
) -> list[str]:
    """Returns the schemas of the types of tested columns that the role may not use."""
    tested = []
    for condition in resource.filter:
        if condition.is_null is None:
            tested.append(condition.column)
    rows = connection.execute(_CLOSED, (oid, tested, role))
    return [name for (name,) in rows]


class _Filter:
    """One condition on its column."""

    def __init__(
        self,
        connection: Connection,
        column: SourceColumn,
        declared: _Declared,
    ) -> None:
        self.problems: list[Problem] = []
        self.cast = declared.cast
        self._connection = connection
        self._column = column
        self._deterministic = declared.deterministic
        self.spelling = _SPELLINGS.get(column.base_oid, "one")

    def texts(self, where: Place, condition: Condition) -> frozenset[str]:
        """Returns the canonical texts of the condition's values.

        What is wrong goes into `problems`.
        """
        if not self._comparable():
            self._problem((*where, "column"), _SEVERAL)
            return frozenset()

        test = "is_in" if condition.is_in is not None else "not_in"
        given = condition.is_in or condition.not_in or []
        written: list[tuple[Place, str]] = []
        for i, value in enumerate(given):
            place = (*where, test, i)
            if self._sound(place, value):
                written.append((place, self._written(value)))

        answers: list[_Answer | None] = []
        together = self._all([text for _, text in written])
        if together is not None:
            answers += together
        else:
            # One by one, to find those that are no values of the type
            for place, text in written:
                answers.append(self._one(place, text))

        texts: set[str] = set()
        for (place, text), answer in zip(written, answers, strict=True):
            if answer is None:
                continue
            canonical, kept = answer
            if kept and self._same_text(text, canonical):
                texts.add(plainest(canonical, self.spelling))
            else:
                self._problem(place, _CHANGED)
        return frozenset(texts)

    def _comparable(self) -> bool:
        """Returns whether equal values of the type are written alike, or in ways we know."""
        column = self._column
        if column.elements:
            return False
        if column.builtin and column.base_oid in _ALIKE:
            return self._deterministic
        row = self._connection.execute(_ENUM, (column.base_oid,)).fetchone()
        return row is not None and bool(row[0])

    def _written(self, value: Raw) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    def _sound(self, place: Place, value: Raw) -> bool:
        """What a cast would take, though it means something else."""
        base = self._column.base_oid
        text = self._written(value)
        if isinstance(value, bool) and base != v.BOOL:
            return self._problem(place, _BOOLEAN)
        if base in _DAYS and _TOMORROW.search(text):
            return self._problem(place, _MEANS_ELSE)
        if base == v.TIME and not _TIME_OF_DAY.fullmatch(text):
            return self._problem(place, _NO_VALUE)
        if base in (*_DAYS, v.TIME) and _TOO_FINE.search(text):
            return self._problem(place, _CHANGED)
        return True

    def _same_text(self, text: str, canonical: str) -> bool:
        """Texts are kept as they are, but for the blanks of char(n)."""
        base = self._column.base_oid
        if base == v.BPCHAR:
            return unpadded(text) == unpadded(canonical)
        return base not in _TEXTS or text == canonical

    def _all(self, texts: list[str]) -> list[_Answer] | None:
        """Casts all values in one statement; None where one of them is none of the type."""
        cast = sql.SQL(self.cast.replace("%", "%%"))  # a name may hold the sign of a parameter
        kept = sql.SQL(_KEPT.get(self._column.base_oid, "true")).format(cast=cast)
        query = sql.SQL(_CAST).format(cast=cast, kept=kept)
        try:
            rows = self._connection.execute(query, (texts,)).fetchall()
        except (psycopg.DataError, psycopg.IntegrityError):
            return None
        except psycopg.errors.RaiseException:  # of a function that a domain's CHECK calls
            return None
        answers = []
        for canonical, kept_value in rows:
            answers.append(_Answer(str(canonical), bool(kept_value)))
        return answers

    def _one(self, place: Place, text: str) -> _Answer | None:
        found = self._all([text])
        if found is None:
            self._problem(place, _NO_VALUE)
            return None
        return found[0]

    def _problem(self, place: Place, message: str) -> bool:
        text = translate(message, column=self._column.name, type=self.cast)
        self.problems.append(Problem(place, text))
        return False


# A column's value in its plainest spelling
_WRITTEN: dict[Spelling, LiteralString] = {
    "one": "pg_catalog.concat({})",
    "number": "pg_catalog.concat(pg_catalog.trim_scale({}::pg_catalog.numeric))",
    "padded": "pg_catalog.rtrim(pg_catalog.concat({}), ' ')",
    "signed zero": "pg_catalog.regexp_replace(pg_catalog.concat({}), '^-0$', '0')",
}
# A column holds one of the texts: the column, its value as it is written, the texts
_HELD = (
    "(pg_catalog.num_nonnulls({}) OPERATOR(pg_catalog.=) 1"
    ' AND {} COLLATE pg_catalog."C" OPERATOR(pg_catalog.=) ANY ({}))'
)


def condition(criteria_: Sequence[Criterion], alias: str = "t") -> sql.Composable:
    """Writes the filter as SQL on the source's table under this alias.

    It is true for just the rows that `Resource.passes` lets pass, and holds literals, so that COPY
    takes it too.
    """
    if not criteria_:
        return sql.SQL("true")
    parts = [_part(criterion, alias) for criterion in criteria_]
    return sql.SQL(" AND ").join(parts)


def _part(criterion: Criterion, alias: str) -> sql.Composable:
    column = sql.Identifier(alias, criterion.column)
    if criterion.texts is None:
        # Not `IS NULL`, which asks a composite value for its parts
        test = "pg_catalog.num_nulls({}) OPERATOR(pg_catalog.=) {}"
        wanted = sql.Literal(int(criterion.wanted))
        return sql.SQL(test).format(column, wanted)

    literals = [sql.Literal(text) for text in sorted(criterion.texts)]
    listed = sql.SQL(", ").join(literals)
    texts = sql.SQL("ARRAY[{}]::pg_catalog.text[]").format(listed)
    written = sql.SQL(_WRITTEN[criterion.spelling]).format(column)
    held = sql.SQL(_HELD).format(column, written, texts)
    if criterion.wanted:
        return held
    return sql.SQL("(NOT {})").format(held)
