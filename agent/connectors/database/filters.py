"""Row filters of the configuration as canonical texts, for sources that are no PostgreSQL log."""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation

from agent.config import Condition, ResourceSettings, Settings
from agent.config.loading import invalid
from agent.config.problems import Problem
from agent.connectors.setup import Shareable
from agent.connectors.table import Criterion, SourceTable, Spelling, plainest
from agent.messages import mark, translate
from agent.values import column_types as v
from agent.values.canonical import canonical
from agent.values.column_types import Type

_NUMBERS = (v.INT2, v.INT4, v.INT8, v.NUMERIC, v.OID)
_TEXTS = (v.TEXT, v.VARCHAR)
# 1 and 0 are the same keys as True and False
_BOOLEANS = {True: "t", "true": "t", False: "f", "false": "f"}
# Types whose equal values have one text, which a person can write
_WRITTEN = (v.DATE, v.TIME, v.TIMESTAMP, v.TIMESTAMPTZ, v.UUID)


class Unfit(Exception):
    """The value is none of the column's type."""


def shareables(settings: Settings, tables: Mapping[str, SourceTable]) -> dict[str, Shareable]:
    """Returns the tables that can be shared, by resource. Raises ConfigInvalid for a wrong filter.

    `tables`: the tables of the resources that can be, by resource.
    """
    made = {}
    problems: list[Problem] = []
    for number, resource in enumerate(settings.resource):
        table = tables.get(resource.name)
        if table is None:
            continue
        found, wrong = criteria(number, resource, table)
        problems += wrong
        made[resource.name] = Shareable(table, found)
    if problems:
        raise invalid(settings.agent, problems)
    return made


def criteria(
    number: int,
    resource: ResourceSettings,
    table: SourceTable,
) -> tuple[tuple[Criterion, ...], list[Problem]]:
    """Returns the conditions of resource `number` in canonical texts, and what is wrong with them.

    Columns that do not exist are left out: somebody else reports them.
    """
    columns = {column.name: column for column in table.columns}
    made = []
    problems: list[Problem] = []
    for place, condition in enumerate(resource.conditions):
        column = columns.get(condition.column)
        if column is None:
            continue
        if condition.is_null is not None:
            made.append(Criterion(condition.column, condition.is_null))
            continue

        spelling = _spelling(column.type)
        if spelling is None:
            problems.append(_problem(number, resource, place, mark(
                "column {column} has a type whose values cannot be compared with a setting"
            )))  # fmt: skip
            continue
        try:
            texts = frozenset(_texts(condition, column.type, spelling))
        except Unfit:
            problems.append(_problem(number, resource, place, mark(
                "a value is none of the type of column {column}"
            )))  # fmt: skip
            continue
        made.append(Criterion(condition.column, condition.is_in is not None, texts, spelling))
    return tuple(made), problems


def _problem(number: int, resource: ResourceSettings, place: int, text: str) -> Problem:
    """Names the condition where it stands: behind the filter comes the deleted flag."""
    column = resource.conditions[place].column
    if place < len(resource.filter):
        where: tuple[str | int, ...] = ("resource", number, "filter", place)
    else:
        where = ("resource", number, "poll", "deleted")
    return Problem(where, translate(text, column=column))


def _spelling(declared: Type) -> Spelling | None:
    """Returns how equal values of a type may be written; None where texts cannot be compared."""
    if declared.oid == v.BPCHAR:
        return "padded"
    if declared.oid == v.NUMERIC:
        return "number"
    known = (v.BOOL, *_NUMBERS, *_TEXTS, *_WRITTEN)
    return "one" if declared.oid in known else None


def _texts(condition: Condition, declared: Type, spelling: Spelling) -> Iterator[str]:
    for value in condition.is_in or condition.not_in or ():
        yield plainest(text_of(value, declared), spelling)


def text_of(value: object, declared: Type) -> str:
    """Returns a configured value as the text of a type. Raises Unfit."""
    if declared.oid == v.BOOL:
        found = _BOOLEANS.get(value)
        if found is None:
            raise Unfit
        return str(found)
    if isinstance(value, bool):
        raise Unfit
    if declared.oid in _NUMBERS:
        return _number(str(value), declared)
    text = str(value)
    if declared.oid in _WRITTEN and not canonical(text, declared):
        raise Unfit
    return text


def _number(text: str, declared: Type) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Unfit from None
    if not number.is_finite():
        raise Unfit
    written = format(number, "f")
    if declared.oid != v.NUMERIC and not canonical(written, declared):
        raise Unfit
    return written
