"""A shared table, compiled once: which columns and rows leave, under which names, with which key.

A `Resource` joins one `[[resource]]` of the configuration with its table in the source's catalogue; `bind` fits it to the table
as the stream describes it, which gives the functions that run per row. Deny by default: nothing but the listed columns passes.
"""

import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple, cast

import orjson

from agent.config import Condition, ResourceSettings, Settings
from agent.connectors.changes import Relation
from agent.connectors.postgres.origin import Origin
from agent.connectors.table import Criterion, SourceTable, passing
from agent.errors import TableChanged
from agent.messages import phrase
from agent.values import connect
from agent.values import forms as values
from agent.values.envelope import Envelope
from agent.values.forms import Form
from agent.values.key_text import text_of
from agent.values.rows import UNCHANGED, Key, Row, Value

FrontRow = tuple[str | None, ...]  # shared columns in order, PostgreSQL's text, complete


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
    """One shared table, ready for work. Raises TableChanged where the source table lacks what the configuration lists.

    `criteria` are the conditions of the filter, in the configuration's order and as the source understands them (`Source.criteria`).
    """

    def __init__(
        self,
        settings: ResourceSettings,
        service: Settings,
        table: SourceTable,
        criteria: Sequence[Criterion] = (),
    ) -> None:
        self.name = settings.name
        self.topic = service.topic(settings)
        self.table = table
        self.collection = f"{table.schema}.{table.table}"
        self.origin = Origin(
            service.kafka.prefix, service.source.database, table.schema, table.table
        )
        columns = {column.name: column for column in table.columns}
        missing = [
            name
            for name in [*settings.columns, *(condition.column for condition in settings.filter)]
            if name not in columns
        ]
        if missing:
            raise self.changed(phrase("column {names} does not exist", names=", ".join(missing)))
        if not table.key:
            raise self.changed(phrase("it has no usable key"))
        unlisted = [name for name in table.key if name not in settings.columns]
        if unlisted:
            raise self.changed(
                phrase("key column {names} is not listed in columns", names=", ".join(unlisted))
            )
        self.columns = tuple(columns[name] for name in settings.columns)
        tested = [condition.column for condition in settings.filter]
        self.reading = self.columns + tuple(
            columns[name] for name in dict.fromkeys(tested) if name not in settings.columns
        )
        places = [column.name for column in self.reading]
        self.criteria = tuple(criteria)
        self._tests = [
            (places.index(criterion.column), passing(criterion)) for criterion in criteria
        ]
        self.key = tuple(settings.columns.index(name) for name in table.key)
        names = [settings.shared_name(name) for name in settings.columns]
        schema, _, target = settings.target_name.rpartition(".")
        self.target = Target(
            resource=self.name,
            schema=schema or None,
            table=target,
            columns=tuple(
                FrontColumn(n, c.base_oid, c.base_type, c.builtin, c.not_null)
                for n, c in zip(names, self.columns, strict=True)
            ),
            key=self.key,
            soft_delete=settings.delete == "soft",
            technical={
                role: name
                for role, name in settings.technical.model_dump().items()
                if name is not None
            },
        )
        self.filtered = bool(self._tests)
        # `before` is the front end's row where the log has none
        self.complete = service.kafka.before == "complete"
        self.shape = json.dumps(
            [
                settings.columns,
                names,
                [_shape(*pair) for pair in zip(settings.filter, criteria, strict=True)],
                self.target.name,
            ],
            ensure_ascii=False,
        )
        # A shared or read row -> its key
        self.key_of = cast("Callable[[Row], Key]", _picker(self.key))
        self._names = names
        schemas = service.kafka.value_format == "json-schema"
        form = connect.form if schemas else values.form
        self._forms = [
            (i, f)
            for i, f in enumerate(form(column.type) for column in self.columns)
            if f is not None
        ]
        self._key_names = [names[i] for i in self.key]
        self._key_forms = [(self.key.index(i), f) for i, f in self._forms if i in self.key]
        self._key_shell = shell = connect.PLAIN
        self.kafka_key = self.key_json
        if schemas:
            types = [connect.schema_of(column.type) for column in self.columns]
            shell = connect.envelope(
                self.topic, [(names[i], schema, i in self.key) for i, schema in enumerate(types)]
            )
            self._key_shell = connect.key(self.topic, [(names[i], types[i]) for i in self.key])
            self.kafka_key = self._schema_key
        self.envelope = Envelope(shell)

    def changed(self, change: str) -> TableChanged:
        """The error for a source table that does not fit; `change` names tables and columns only."""
        return TableChanged(resource=self.name, table=self.collection, change=change)

    def bind(self, relation: Relation) -> "Binding":
        """Fits the resource to the table as the stream describes it. Raises TableChanged where the two differ in what is shared."""
        positions = {column.name: i for i, column in enumerate(relation.columns)}
        for column in self.reading:
            if column.name not in positions:
                raise self.changed(
                    phrase(
                        "column {name} is not in the stream (dropped, or a generated column)",
                        name=column.name,
                    )
                )
            if relation.columns[positions[column.name]].type_oid != column.type_oid:
                raise self.changed(phrase("the type of column {name} changed", name=column.name))
        key = {column.name for column in relation.columns if column.identity}
        if relation.identity == "n" or (
            relation.identity != "f" and (self.table.deferrable or key != set(self.table.key))
        ):
            raise self.changed(phrase("its replica identity changed"))
        return Binding(self, [positions[column.name] for column in self.reading])

    def passes(self, row: Row, shared_before: bool) -> bool | None:
        """Whether a read row meets the filter; None if that hangs on a value the log did not send.

        An unchanged value still meets its condition where the row was shared before the change, since all conditions held then.
        """
        unknown = False
        for place, test in self._tests:
            value = row[place]
            if value is UNCHANGED:
                unknown = unknown or not shared_before
            elif not test(value):
                return False
        return None if unknown else True

    def shared(self, row: Row) -> Row:
        """The shared columns of a read row."""
        return row[: len(self.columns)]

    def row_json(self, row: FrontRow) -> bytes:
        """A whole row as the envelope carries it."""
        return _json(self._names, row, self._forms)

    def key_json(self, key: Key) -> bytes:
        """The key as a compact JSON object of the key columns in key order: the Kafka key (`kafka_key`) unless that has a schema."""
        return _json(self._key_names, key, self._key_forms)

    def _schema_key(self, key: Key) -> bytes:
        return self._key_shell.around(self.key_json(key))

    def key_of_kafka(self, text: str) -> Key | None:
        """The key that `kafka_key` wrote so; None for one whose text cannot be told from its JSON, or of another table."""
        try:
            found = orjson.loads(text)
            found = found if self._key_shell == connect.PLAIN else found["payload"]
            key = tuple(
                [
                    text_of(found[name], self.columns[i].base_oid, self.columns[i].money_forms)
                    for name, i in zip(self._key_names, self.key, strict=True)
                ]
            )
            return key if self.kafka_key(key) == text.encode() else None
        except (ValueError, KeyError, TypeError):
            return None


def _json(
    names: Sequence[str], values: Sequence[str | None], forms: Sequence[tuple[int, Form]]
) -> bytes:
    """A JSON object; the hottest line of the product: `forms` names only the values that are no strings."""
    formed: list[object] = list(values)
    for i, form_of in forms:
        text = values[i]
        if text is not None:
            formed[i] = form_of(text)
    return orjson.dumps(dict(zip(names, formed, strict=True)))


def _picker(indexes: Sequence[int]) -> Callable[[Sequence[Value]], tuple[Value, ...]]:
    """Like itemgetter, but always a tuple."""
    if len(indexes) == 1:
        only = indexes[0]
        return lambda row: (row[only],)
    return itemgetter(*indexes)


def _shape(condition: Condition, criterion: Criterion) -> dict[str, object]:
    """What is stored of a condition: as configured, and its texts where those are not simply the configured ones.

    Version 0.1.0 compared with the configured ones: where that was right, nothing has to be compared anew.
    """
    configured = condition.model_dump()
    given = condition.is_in or condition.not_in or ()
    before = {"t" if v is True else "f" if v is False else str(v) for v in given}
    texts = criterion.texts
    if texts is None or (texts == before and criterion.spelling == "one"):
        return configured
    return {**configured, "texts": sorted(texts), "spelling": criterion.spelling}


class Binding:
    """A resource fitted to one description of its table."""

    def __init__(self, resource: Resource, positions: list[int]) -> None:
        self.resource = resource
        # Stream row -> read row (Resource.reading); may hold UNCHANGED
        self.read = _picker(positions)
        self.key_of = _picker([positions[i] for i in resource.key])  # stream row -> key
