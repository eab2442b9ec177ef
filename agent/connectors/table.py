"""Tables as the source's catalogue has them, and the conditions a source makes of a row filter."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from agent.values import forms as values
from agent.values.column_types import Element, Type

TableName = tuple[str, str]  # schema and table
Named = tuple[str, str]  # schema and name of a type, an operator or a collation


class SourceColumn(NamedTuple):
    """A column in the source's catalogue.

    `base_*` differ from the declared type for domains only.
    """

    name: str
    type_oid: int
    base_oid: int
    base_type: str  # as format_type writes it, e.g. numeric(10,2)
    builtin: bool  # the base type belongs to PostgreSQL itself
    not_null: bool
    generated: str  # pg_attribute.attgenerated: '', s or v
    elements: tuple[Element, ...] = ()  # of an array; see column_types.Type
    money_digits: int = 2  # after the point of money in this database
    named: Named = ("", "")  # the base type: its schema and its own name
    # An amount of money with as many digits as there can be, and the same below zero, in this
    # database's text
    money_forms: tuple[str, ...] = ()

    @property
    def type(self) -> Type:
        """The base type, as `agent.values` reads it."""
        return Type(self.base_oid, self.base_type, self.builtin, self.elements, self.money_digits)


class KeyOrder(NamedTuple):
    """How the key's own index orders one of its columns: the operators of its operator class.

    Each stands with its schema, since the bare name may mean another operator, or none, to the
    agent's session.
    """

    equal: Named
    less: Named
    more: Named
    at_least: Named
    collation: Named | None = None  # of the index, where it is not the column's
    enum: bool = False  # the operators are those of all enums

    @property
    def plain(self) -> bool:
        """Tells whether it is a built-in type's own order, as another database has it, too."""
        return self.less == ("pg_catalog", "<") and self.collation is None


class SourceTable(NamedTuple):
    """A table in the source's catalogue, with the key its replica identity gives."""

    oid: int
    schema: str
    table: str
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...]  # in the index's order; empty: none usable
    identity: str  # pg_class.relreplident
    partitioned: bool = False
    # Rows may share a key until their transaction ends; only under REPLICA IDENTITY FULL
    deferrable: bool = False
    order: tuple[KeyOrder, ...] = ()  # of the key's columns

    @property
    def key_schemas(self) -> list[str]:
        """The schemas that a statement must name to look for keys, but PostgreSQL's own."""
        types = {column.name: column.named for column in self.columns}
        named: list[Named | None] = [types[name] for name in self.key]
        for order in self.order:
            named += [order.equal, order.less, order.more, order.at_least, order.collation]
        schemas = {name[0] for name in named if name is not None}
        return sorted(schemas - {"", "pg_catalog"})


# How equal values of a column may be written: in one way; as 1, 1.0 and 1.00; with blanks at the
# end; as 0 and -0.
Spelling = Literal["one", "number", "padded", "signed zero"]


class Criterion(NamedTuple):
    """One condition of a row filter as the source understands it.

    Its texts are as the source writes them for the column's type.
    """

    column: str
    wanted: bool  # the value is one of `texts` (NULL is none), or it is NULL; False: it is not
    texts: frozenset[str] | None = None  # in the plainest spelling; None: the test is for NULL
    spelling: Spelling = "one"


_NORMAL: dict[Spelling, Callable[[str], str]] = {
    "one": str,
    "number": values.plain_number,
    "padded": values.unpadded,
    "signed zero": values.unsigned_zero,
}


def plainest(text: str, spelling: Spelling) -> str:
    """The one spelling in which equal values are compared."""
    return _NORMAL[spelling](text)


def passing(criterion: Criterion) -> Callable[[str | None], bool]:
    """The condition as a test of a value."""
    wanted, texts = criterion.wanted, criterion.texts
    if texts is None:
        return lambda value: (value is None) == wanted
    if criterion.spelling == "one":
        return lambda value: (value in texts) == wanted
    normal = _NORMAL[criterion.spelling]
    return lambda value: (value is not None and normal(value) in texts) == wanted
