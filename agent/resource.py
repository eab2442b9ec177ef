"""A shared table, compiled once: which columns and rows leave, under which names, with which key.

A `Resource` joins one `[[resource]]` of the configuration with its table in the source's catalogue.
`bind` fits it to the table as the stream describes it, which gives the functions that run per row.
Deny by default: nothing but the listed columns passes.
"""

import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple, cast

import orjson

from agent.config import Condition, KafkaSettings, ResourceSettings
from agent.config.resource import topic_of
from agent.connectors.base import Origin
from agent.connectors.changes import Relation
from agent.connectors.table import Criterion, SourceColumn, SourceTable, passing
from agent.errors import TableChanged
from agent.messages import phrase
from agent.values import connect
from agent.values import forms as values
from agent.values.column_types import Type
from agent.values.envelope import Envelope
from agent.values.forms import Form
from agent.values.key_text import text_of
from agent.values.rows import UNCHANGED, Key, Row, Value

# The shared columns in their order, each as its canonical text (agent.values); complete
FrontRow = tuple[str | None, ...]
# A place in a row, and the condition that its value has to meet
PlacedTest = tuple[int, Callable[[str | None], bool]]
# A place in a row or key, its name in JSON, and how the value is written there
PlacedForm = tuple[int, str, Form]


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
        """Names the table as users write it."""
        if not self.schema:
            return self.table
        return f"{self.schema}.{self.table}"


class Resource:
    """One shared table, ready for work.

    `origin` writes what events say of the table as their source (`Source.origin`). `criteria` are
    the conditions of the filter, in the configuration's order and as the source understands them
    (`Source.criteria`).

    Raises TableChanged where the source table lacks what the configuration lists.
    """

    def __init__(
        self,
        settings: ResourceSettings,
        kafka: KafkaSettings,
        table: SourceTable,
        origin: Origin,
        criteria: Sequence[Criterion] = (),
    ) -> None:
        self.name = settings.name
        self.topic = topic_of(settings, kafka.prefix)
        self.table = table
        self.collection = f"{table.schema}.{table.table}" if table.schema else table.table
        self.origin = origin
        self.criteria = tuple(criteria)
        # `before` is the front end's row where the log has none
        self.complete = kafka.before == "complete"

        self._check(settings)
        self._choose_columns(settings)
        self._choose_key(settings)
        self.target = self._target(settings)
        self.shape = self._shape(settings)
        self._choose_format(kafka.value_format)

    # ---- the steps of the compilation

    def _check(self, settings: ResourceSettings) -> None:
        """Raises TableChanged where the table has not what the configuration needs of it."""
        existing = {column.name for column in self.table.columns}
        needed = [*settings.columns, *_tested(settings)]
        missing = [name for name in needed if name not in existing]
        if missing:
            names = ", ".join(missing)
            raise self.changed(phrase("column {names} does not exist", names=names))

        if not self.table.key:
            raise self.changed(phrase("it has no usable key"))

        unlisted = [name for name in self.table.key if name not in settings.columns]
        if unlisted:
            names = ", ".join(unlisted)
            raise self.changed(phrase("key column {names} is not listed in columns", names=names))

    def _choose_columns(self, settings: ResourceSettings) -> None:
        """Chooses the columns that are shared, and those that are read for the filter beside them.

        Notes where in a read row each condition of the filter finds its value.
        """
        places = list(settings.columns)
        for name in _tested(settings):
            if name not in places:
                places.append(name)

        columns = {column.name: column for column in self.table.columns}
        self.reading = tuple(columns[name] for name in places)
        self.columns = self.reading[: len(settings.columns)]
        self._names = [settings.shared_name(name) for name in settings.columns]

        self._tests: list[PlacedTest] = []
        for criterion in self.criteria:
            place = places.index(criterion.column)
            test = passing(criterion)
            self._tests.append((place, test))
        self.filtered = bool(self._tests)

    def _choose_key(self, settings: ResourceSettings) -> None:
        """Notes where in a shared row the columns of the key are."""
        places = settings.columns
        self.key = tuple(places.index(name) for name in self.table.key)
        self._key_names = [self._names[i] for i in self.key]
        # A shared or read row -> its key
        self.key_of = cast("Callable[[Row], Key]", _picker(self.key))

    def _choose_format(self, value_format: str) -> None:
        """Chooses how keys and rows are written, in plain JSON or with a schema around it."""
        if value_format == "json-schema":
            form_of = connect.form
            key_schemas = self._key_schemas()
            self._key_shell = connect.key(self.topic, key_schemas)
            self.kafka_key = self._schema_key
            schemas = self._schemas()
            shell = connect.envelope(self.topic, schemas, self.origin.schema)
        else:
            form_of = values.form
            self._key_shell = connect.PLAIN
            self.kafka_key = self.key_json
            shell = connect.PLAIN
        self._forms = _placed(self._names, self.columns, form_of)
        key_columns = [self.columns[i] for i in self.key]
        self._key_forms = _placed(self._key_names, key_columns, form_of)
        self.envelope = Envelope(shell)

    def _target(self, settings: ResourceSettings) -> Target:
        """Describes the front-end table."""
        columns = []
        for name, column in zip(self._names, self.columns, strict=True):
            front_column = FrontColumn(
                name,
                column.base_oid,
                column.base_type,
                column.builtin,
                column.not_null,
            )
            columns.append(front_column)

        schema, _, table = settings.target_name.rpartition(".")
        return Target(
            resource=self.name,
            schema=schema or None,
            table=table,
            columns=tuple(columns),
            key=self.key,
            soft_delete=settings.delete == "soft",
            technical=settings.technical.model_dump(exclude_none=True),
        )

    def _shape(self, settings: ResourceSettings) -> str:
        """Returns what is stored of the configuration: rows are compared anew where it changes."""
        conditions = []
        for condition, criterion in zip(settings.conditions, self.criteria, strict=True):
            conditions.append(_stored(condition, criterion))
        parts = [
            settings.columns,
            self._names,
            conditions,
            self.target.name,
        ]
        return json.dumps(parts, ensure_ascii=False)

    def _schemas(self) -> list[tuple[str, connect.Schema, bool]]:
        """Returns of each shared column its name and schema, and whether the key has it."""
        found = []
        for i, column in enumerate(self.columns):
            name = self._names[i]
            schema = connect.schema_of(column.type)
            in_key = i in self.key
            found.append((name, schema, in_key))
        return found

    def _key_schemas(self) -> list[tuple[str, connect.Schema]]:
        """Returns name and schema of the key's columns."""
        schemas = self._schemas()
        return [schemas[i][:2] for i in self.key]

    def changed(self, change: str) -> TableChanged:
        """Makes the error for a source table that does not fit.

        `change` names tables and columns only.
        """
        return TableChanged(
            resource=self.name,
            table=self.collection,
            change=change,
        )

    def bind(self, relation: Relation) -> "Binding":
        """Fits the resource to the table as the stream describes it.

        Raises TableChanged where the two differ in what is shared.
        """
        positions = {column.name: i for i, column in enumerate(relation.columns)}
        bound = []
        for column in self.reading:
            name = column.name
            position = positions.get(name)
            if position is None:
                change = phrase(
                    "column {name} is not in the stream (dropped, or a generated column)",
                    name=name,
                )
                raise self.changed(change)
            if relation.columns[position].type_oid != column.type_oid:
                raise self.changed(phrase("the type of column {name} changed", name=name))
            bound.append(position)

        if not self._names_old_rows(relation):
            raise self.changed(phrase("its replica identity changed"))
        return Binding(self, bound)

    def _names_old_rows(self, relation: Relation) -> bool:
        """Returns whether the replica identity says of each change which row it is about."""
        if relation.identity == "n":
            return False
        if relation.identity == "f":
            return True
        if self.table.deferrable:
            return False
        sent = {column.name for column in relation.columns if column.identity}
        return sent == set(self.table.key)

    def passes(self, row: Row, shared_before: bool) -> bool | None:
        """Tells whether a read row meets the filter; None if a value decides that was not sent.

        An unchanged value still meets its condition where the row was shared before the change,
        since all conditions held then.
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
        """Returns the shared columns of a read row."""
        return row[: len(self.columns)]

    def row_json(self, row: FrontRow) -> bytes:
        """Writes a whole row as the envelope carries it."""
        return _json(self._names, self._forms, row)

    def key_json(self, key: Key) -> bytes:
        """Writes the key as a compact JSON object of the key columns in key order.

        It is the Kafka key (`kafka_key`), too, unless that has a schema.
        """
        return _json(self._key_names, self._key_forms, key)

    def _schema_key(self, key: Key) -> bytes:
        return self._key_shell.around(self.key_json(key))

    def key_of_kafka(self, text: str) -> Key | None:
        """Reads the key that `kafka_key` wrote so.

        None for one whose text cannot be told from its JSON, or of another table.
        """
        try:
            key = self._read_key(text)
            same = self.kafka_key(key) == text.encode()
        except (ValueError, KeyError, TypeError):
            return None
        return key if same else None

    def _read_key(self, text: str) -> Key:
        """Reads a Kafka key. Raises ValueError, KeyError or TypeError for one of another table."""
        found = orjson.loads(text)
        if self._key_shell != connect.PLAIN:
            found = found["payload"]

        parts = []
        for name, i in zip(self._key_names, self.key, strict=True):
            column = self.columns[i]
            part = text_of(found[name], column.base_oid, column.money_forms)
            parts.append(part)
        return tuple(parts)


def _placed(
    names: Sequence[str],
    columns: Sequence[SourceColumn],
    form_of: Callable[[Type], Form | None],
) -> list[PlacedForm]:
    """Returns the forms of those columns that are not written as their text."""
    forms = []
    for i, column in enumerate(columns):
        form = form_of(column.type)
        if form is not None:
            forms.append((i, names[i], form))
    return forms


def _json(
    names: Sequence[str],
    forms: Sequence[PlacedForm],
    texts: Sequence[str | None],
) -> bytes:
    """Writes a JSON object of names and texts, in their forms where they have one.

    These are the hottest lines of the product.
    """
    formed: dict[str, object] = dict(zip(names, texts, strict=True))
    for i, name, form in forms:
        text = texts[i]
        if text is not None:
            formed[name] = form(text)
    return orjson.dumps(formed)


def _picker(indexes: Sequence[int]) -> Callable[[Sequence[Value]], tuple[Value, ...]]:
    """Returns what picks these places of a row: as itemgetter, but always into a tuple."""
    if len(indexes) == 1:
        only = indexes[0]
        return itemgetter(slice(only, only + 1))
    return itemgetter(*indexes)


def _tested(settings: ResourceSettings) -> list[str]:
    """Returns the columns that the filter tests, in the order of its conditions."""
    return [condition.column for condition in settings.conditions]


def _stored(condition: Condition, criterion: Criterion) -> dict[str, object]:
    """Returns what is stored of a condition: as configured, and its texts where those differ.

    Version 0.1.0 compared with the configured ones: where that was right, nothing has to be
    compared anew.
    """
    configured = condition.model_dump()
    texts = criterion.texts
    if texts is None:
        return configured

    listed = condition.is_in or condition.not_in or ()
    before = {_text(value) for value in listed}
    if texts == before and criterion.spelling == "one":
        return configured
    return {
        **configured,
        "texts": sorted(texts),
        "spelling": criterion.spelling,
    }


def _text(value: object) -> str:
    """Writes a configured value as version 0.1.0 did."""
    if isinstance(value, bool):
        return "t" if value else "f"
    return str(value)


class Binding:
    """A resource fitted to one description of its table."""

    def __init__(self, resource: Resource, positions: list[int]) -> None:
        self.resource = resource
        # Stream row -> read row (Resource.reading); may hold UNCHANGED
        self.read = _picker(positions)
        # Stream row -> key
        key = [positions[i] for i in resource.key]
        self.key_of = cast("Callable[[Row], Key]", _picker(key))
