"""A shared table, compiled once: which columns and rows leave, under which names, with which key.

A `Resource` joins one `[[resource]]` of the configuration with its table in the source's catalogue; `bind` fits it to the table
as the stream describes it, which gives the functions that run per row. Deny by default: nothing but the listed columns passes.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from agent.config import ResourceSettings, Settings
from agent.config.settings import Condition
from agent.errors import TableChanged
from agent.events.changes import UNCHANGED, Relation, Row, Value
from agent.events.envelope import Origin, json_name, json_object
from agent.events.values import form

FrontRow = tuple[str | None, ...]  # shared columns in order, PostgreSQL's text, complete
Key = tuple[str, ...]


class SourceColumn(NamedTuple):
    """A column in the source's catalogue. `base_*` differ from the declared type for domains only."""

    name: str
    type_oid: int
    base_oid: int
    base_type: str  # as format_type writes it, e.g. numeric(10,2)
    builtin: bool  # the base type belongs to PostgreSQL itself
    not_null: bool
    generated: str  # pg_attribute.attgenerated: '', s or v


class SourceTable(NamedTuple):
    """A table in the source's catalogue, with the key its replica identity gives."""

    oid: int
    schema: str
    table: str
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...]  # in the index's order; empty: none usable
    identity: str  # pg_class.relreplident


class FrontColumn(NamedTuple):
    """A column of the front-end table."""

    name: str
    type_oid: int  # base type
    type_name: str
    builtin: bool
    not_null: bool


class Target(NamedTuple):
    """The front-end table of a resource."""

    resource: str
    schema: str | None
    table: str
    columns: tuple[FrontColumn, ...]
    key: tuple[int, ...]  # indexes into columns
    soft_delete: bool
    technical: dict[str, str]  # role -> column name

    @property
    def name(self) -> str:
        """The table as users write it."""
        return f"{self.schema}.{self.table}" if self.schema else self.table


class Resource:
    """One shared table, ready for work. Raises TableChanged where the source table lacks what the configuration lists."""

    def __init__(self, settings: ResourceSettings, service: Settings, table: SourceTable) -> None:
        self.name = settings.name
        self.topic = service.topic(settings)
        self.filter = settings.filter
        self.table = table
        self.origin = Origin(service.kafka.prefix, service.source.database, table.schema, table.table)
        columns = {column.name: column for column in table.columns}
        missing = [name for name in [*settings.columns, *(condition.column for condition in settings.filter)] if name not in columns]
        if missing:
            raise self.changed(f"column {', '.join(missing)} does not exist")
        if not table.key:
            raise self.changed("it has no usable key")
        unlisted = [name for name in table.key if name not in settings.columns]
        if unlisted:
            raise self.changed(f"key column {', '.join(unlisted)} is not listed in columns")
        self.columns = tuple(columns[name] for name in settings.columns)
        self.tested = tuple(columns[condition.column] for condition in settings.filter)
        self.key = tuple(settings.columns.index(name) for name in table.key)
        names = [settings.shared_name(name) for name in settings.columns]
        schema, _, target = settings.target_name.rpartition(".")
        self.target = Target(
            resource=self.name,
            schema=schema or None,
            table=target,
            columns=tuple(FrontColumn(n, c.base_oid, c.base_type, c.builtin, c.not_null) for n, c in zip(names, self.columns, strict=True)),
            key=self.key,
            soft_delete=settings.delete == "soft",
            technical={role: name for role, name in settings.technical.model_dump().items() if name is not None},
        )
        self._names = [json_name(name) for name in names]
        self._forms = [form(column.base_oid) for column in self.columns]
        self._key_names = [self._names[i] for i in self.key]
        self._key_forms = [self._forms[i] for i in self.key]

    def changed(self, change: str) -> TableChanged:
        """The error for a source table that does not fit; `change` names tables and columns only."""
        return TableChanged(resource=self.name, table=f"{self.table.schema}.{self.table.table}", change=change)

    def bind(self, relation: Relation) -> "Binding":
        """Fits the resource to the table as the stream describes it. Raises TableChanged where the two differ in what is shared."""
        positions = {column.name: i for i, column in enumerate(relation.columns)}
        for column in (*self.columns, *self.tested):
            if column.name not in positions:
                raise self.changed(f"column {column.name} is not in the stream (dropped, or a generated column)")
            if relation.columns[positions[column.name]].type_oid != column.type_oid:
                raise self.changed(f"the type of column {column.name} changed")
        key = {column.name for column in relation.columns if column.identity}
        if relation.identity == "n" or (relation.identity != "f" and key != set(self.table.key)):
            raise self.changed("its replica identity changed")
        return Binding(self, [positions[column.name] for column in self.columns], [positions[column.name] for column in self.tested])

    def row_json(self, row: FrontRow) -> bytes:
        """A whole row as the envelope carries it."""
        return json_object(self._names, [b"null" if v is None else f(v) for v, f in zip(row, self._forms, strict=True)])

    def key_json(self, key: Key) -> bytes:
        """The key as a Kafka key: a compact JSON object of the key columns in key order."""
        return json_object(self._key_names, [f(v) for v, f in zip(key, self._key_forms, strict=True)])


def _picker(indexes: Sequence[int]) -> Callable[[Sequence[Value]], tuple[Value, ...]]:
    """Like itemgetter, but always a tuple."""
    if len(indexes) == 1:
        only = indexes[0]
        return lambda row: (row[only],)
    return itemgetter(*indexes)


def _texts(values: Sequence[str | int | bool]) -> frozenset[str]:
    """Configured values as PostgreSQL writes them."""
    return frozenset("t" if v is True else "f" if v is False else str(v) for v in values)


def _test(condition: Condition) -> Callable[[str | None], bool]:
    if condition.is_null is not None:
        wanted = condition.is_null
        return lambda value: (value is None) == wanted
    if condition.is_in is not None:
        inside = _texts(condition.is_in)
        return lambda value: value in inside
    outside = _texts(condition.not_in or ())
    return lambda value: value not in outside


class Binding:
    """A resource fitted to one description of its table: the functions that run per row."""

    def __init__(self, resource: Resource, positions: list[int], tested: list[int]) -> None:
        self.resource = resource
        self.project = _picker(positions)  # stream row -> shared columns; may hold UNCHANGED
        self.key_of = _picker([positions[i] for i in resource.key])  # stream row -> key
        self.front_key = _picker(resource.key)  # front row -> key
        self._tests = list(zip(tested, (_test(condition) for condition in resource.filter), strict=True))
        self.filtered = bool(self._tests)

    def passes(self, row: Row, shared_before: bool) -> bool | None:
        """Whether a row meets the filter; None if that hangs on a value the log did not send.

        An unchanged value still meets its condition where the row was shared before the change, since all conditions held then.
        """
        unknown = False
        for position, test in self._tests:
            value = row[position]
            if value is UNCHANGED:
                unknown = unknown or not shared_before
            elif not test(value):
                return False
        return None if unknown else True
