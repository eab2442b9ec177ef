"""Tests that rows of every PostgreSQL type are the same wherever they are.

They are streamed, read as a page, held by each front end, and published.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import delete

from agent.capture.applier import Applier
from agent.config import KafkaSettings, ResourceSettings
from agent.connectors.base import Ask
from agent.connectors.changes import Change, Commit, Message
from agent.connectors.postgres.source import PostgresSource
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.outbox.frames import OutboxEvent, frames
from agent.outbox.reader import Reader
from agent.resource import FrontRow, Resource
from agent.values.lines import row_of
from agent.values.rows import UNCHANGED, Key
from tests.checker.rows import column_types, front_rows, source_rows
from tests.checker.table import Front as Place
from tests.checker.table import SharedTable
from tests.checker.values import ValueType, from_json
from tests.front.conftest import IDENTITY, progress, sqlalchemy_url
from tests.front.types import KINDS, MADE
from tests.services.fixtures import fresh_database
from tests.services.mariadb import MariaDbAddress
from tests.services.postgres import PostgresAddress
from tests.source.conftest import PostgresBusiness
from tests.source.reading import read_until, silent_never
from tests.waiting import eventually

COLUMNS = {f"c{i}": kind for i, kind in enumerate(KINDS)}
LARGE = 1_000_000  # characters of a text that is stored out of line
VERSIONS = [14, 15, 16, 17, 18]
NUMBERS = count(1)
# Settings of the source that must not matter.
CARELESS = [
    f"DO $$ BEGIN EXECUTE "
    f"format('ALTER DATABASE %I SET {name} = %L', current_database(), '{value}'); END $$"
    for name, value in {
        "DateStyle": "German", "IntervalStyle": "postgres_verbose", "TimeZone": "Asia/Shanghai",
        "extra_float_digits": "-5", "bytea_output": "escape", "client_encoding": "LATIN1",
    }.items()
]  # fmt: skip

KAFKA = KafkaSettings(bootstrap_servers=["nowhere:1"], prefix="p", max_event_bytes=10_000_000)


class Held(NamedTuple):
    """A front end."""

    front: SqlFront
    place: Place  # for the judge

    def apply(self, resource: Resource, messages: Sequence[Message]) -> None:
        """Applies in one front-end transaction, after a start of its own.

        What an example breaks is no other example's.
        """
        applier = Applier(self.front, [resource], self.front.open("nonce"), KAFKA)
        for message in messages:
            applier.take(message)
        self.front.commit(applier.progress())


class Scene(NamedTuple):
    """One source table, and the front ends that follow it."""

    business: PostgresBusiness
    source: PostgresSource
    resource: Resource
    held: dict[str, Held]
    judged: SharedTable
    types: dict[str, ValueType]

    def commit(self, *statements: sql.Composed) -> list[Change]:
        """Commits one transaction and applies it to every front end."""
        with self.business.connect() as application, application.transaction():
            application.execute("SET client_encoding = 'UTF8'")
            for statement in statements:
                application.execute(statement)
        messages = read_until(
            self.source,
            lambda so_far: (
                any(isinstance(m, Change) for m in so_far) and isinstance(so_far[-1], Commit)
            ),
        )
        for held in self.held.values():
            held.apply(self.resource, messages)
        return [message for message in messages if isinstance(message, Change)]

    def page(self, keys: Sequence[Key]) -> list[bytes]:
        """Returns the rows under the keys as a page."""
        token = f"page {next(NUMBERS)}"
        self.source.ask(
            Ask(token, "typed", self.resource.table, self.resource.columns, (), "", keys=keys)
        )

        def read() -> Any:
            list(self.source.read(0.01))
            return self.source.page()

        page = eventually(read, what="the page is read", interval=0)
        self.source.withdraw()
        return list(page.lines)

    def events(self, held: Held) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """What the outbox says of each key, in the judge's form; the outbox is empty afterwards."""
        reader, found, after = Reader(held.front.engine, "unit"), {}, 0
        while batches := reader.waiting(after).batches:
            after = batches[-1].batch
            for frame in chain.from_iterable(map(frames, batches)):
                if isinstance(frame, OutboxEvent):
                    row = json.loads(frame.value)["after"]
                    formed = tuple(
                        from_json(self.types[name], row[name]) for name in self.judged.names
                    )
                    found[formed[:1]] = formed
        with held.front.engine.begin() as connection:
            connection.execute(delete(held.front.own.outbox))
        return found

    def agree(self, streamed: dict[Key, FrontRow]) -> None:
        """Stream, page, every front end and every outbox have these rows."""
        lines = self.page(list(streamed))
        self.same("page", streamed, {self.resource.key_of(row): row for row in map(row_of, lines)})
        stored = {
            key: row
            for key, row in source_rows(self.business.conninfo, self.judged, self.types)
            if (str(key[0]),) in streamed
        }
        for name, held in self.held.items():
            target = self.resource.target
            held.front.begin()
            self.same(name, streamed, held.front.fetch(target, list(streamed)))
            if held.front.same_order(target):
                assert set(lines) <= set(held.front.lines(target, None, None)), name
            held.front.rollback()
            self.same(
                name,
                stored,
                {
                    key: row
                    for key, row in front_rows(held.place, self.judged, self.types)
                    if key in stored
                },
            )
            self.same(f"events of {name}", stored, self.events(held))

    def same(
        self, who: str, expected: Mapping[Any, Sequence[Any]], found: Mapping[Any, Sequence[Any]]
    ) -> None:
        """Compares value by value, so that a failure names the type."""
        assert found.keys() == expected.keys(), who
        for key, row in expected.items():
            for name, one, other in zip(self.judged.names, row, found[key], strict=True):
                assert one == other, (who, COLUMNS[name].name if name in COLUMNS else name)


def followed(front: SqlFront, place: Place, resource: Resource, create: str | None = None) -> Held:
    """Returns a front end whose table is live, made by the agent or by this statement."""
    front.initialise(IDENTITY, {resource.name: resource.topic})
    if create is None:
        front.create(resource.target)
    else:
        with front.engine.begin() as connection:
            connection.exec_driver_sql(create)
    front.check(resource.target)
    front.open("nonce")
    front.begin()
    front.set_state(resource.name, "live", None)
    front.commit(progress("0/10"))
    return Held(front, place)


def fronts(
    request: pytest.FixtureRequest,
    resource: Resource,
    folder: Path,
    stack: ExitStack,
    everything: bool,
) -> Iterator[tuple[str, Held]]:
    """Yields SQLite, and if everything is wanted three more front ends.

    These are MariaDB with texts, PostgreSQL, and PostgreSQL with columns of type text that somebody
    else made.

    MariaDB's native columns hold some of these values only: tests/front/test_native_types.py.
    """
    yield (
        "sqlite",
        followed(
            SqliteFront(f"sqlite:///{folder}/front.db", 5.0, "unit"), folder / "front.db", resource
        ),
    )
    if not everything:
        return
    mariadb: MariaDbAddress = request.getfixturevalue("mariadb_server")
    url = stack.enter_context(mariadb.fresh_database())
    yield (
        "mariadb",
        followed(
            MariaDbFront(
                url.replace("mariadb://", "mariadb+pymysql://", 1), None, 5.0, "unit", "text"
            ),
            url,
            resource,
        ),
    )
    server: PostgresAddress = request.getfixturevalue("postgres18")
    texts = ", ".join(f'"{column.name}" text' for column in resource.target.columns)
    for name, create in (
        ("postgres", None),
        ("postgres as text", f"CREATE TABLE typed ({texts}, PRIMARY KEY (id))"),
    ):
        conninfo = stack.enter_context(fresh_database(server))
        yield (
            name,
            followed(
                PostgresFront(sqlalchemy_url(conninfo), None, 5.0, "unit"),
                conninfo,
                resource,
                create,
            ),
        )


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda version: f"postgres{version}")
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Yields a source of each version; all front ends behind the newest."""
    folder = tmp_path_factory.mktemp("types")
    with ExitStack() as stack:
        business = PostgresBusiness(
            stack.enter_context(
                fresh_database(request.getfixturevalue(f"postgres{request.param}"))
            ),
            folder,
        )
        stack.callback(business.close)
        columns = ", ".join(f"{name} {kind.name}" for name, kind in COLUMNS.items())
        create = f"CREATE TABLE typed (id int8 PRIMARY KEY, n int4, {columns}, large text)"
        business.transaction(
            *MADE, create, "ALTER TABLE typed ALTER large SET STORAGE EXTERNAL", *CARELESS
        )
        business.publish("typed")
        names = ["id", "n", *COLUMNS, "large"]
        shared = ResourceSettings(name="typed", table="public.typed", columns=names)
        configured = business.settings(("public.typed",)).model_copy(update={"resource": [shared]})
        source = business.source(configured)
        source.open(business.initial(), silent_never)
        table = source.tables()["public", "typed"]
        resource = Resource(shared, configured.kafka, table, source.origin(table))
        judged = SharedTable(
            "unit.typed", "public", "typed", {name: name for name in names}, ("id",), "typed"
        )
        held = dict(fronts(request, resource, folder, stack, everything=request.param == 18))
        for one in held.values():
            stack.callback(one.front.engine.dispose)
            stack.callback(one.front.close)
        yield Scene(
            business, source, resource, held, judged, column_types(business.conninfo, judged)
        )


def inserted(scene: Scene, rows: Sequence[Sequence[str | None]]) -> dict[Key, FrontRow]:
    """New rows with these values in COLUMNS, as they were streamed."""
    made = [
        sql.SQL(", ").join([sql.Literal(str(next(NUMBERS))), sql.SQL("1"), *map(sql.Literal, row)])
        for row in rows
    ]
    values = sql.SQL(", ").join([sql.SQL("({})").format(row) for row in made])
    changes = scene.commit(sql.SQL("INSERT INTO typed VALUES {}").format(values))
    binding = scene.resource.bind(changes[0].relation)
    return {binding.key_of(change.new): binding.read(change.new) for change in changes}  # type: ignore[misc, arg-type]


@settings(
    max_examples=15,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    rows=st.lists(st.tuples(*[st.none() | kind.values for kind in KINDS]), min_size=4, max_size=4)
)
def test_rows_of_every_type_are_the_same_everywhere(
    scene: Scene, rows: list[tuple[str | None, ...]]
) -> None:
    """Rows are texts, equal byte for byte.

    In an event, and for the judge who reads the databases himself, they have the documented form.
    """
    scene.agree(inserted(scene, rows))


def test_a_large_value_that_did_not_change_is_kept(scene: Scene) -> None:
    """A megabyte that is not in the log, between arrays and other types: each front end has it."""
    (key, row) = next(iter(inserted(scene, [[None] * len(KINDS)]).items()))
    where = sql.SQL(" WHERE id = {}").format(sql.Literal(key[0]))
    filled = sql.SQL(
        "UPDATE typed SET large = "
        "(SELECT string_agg(md5(n::text), '-') FROM generate_series(1, {}) n)"
    ).format(sql.Literal(LARGE // 33))
    scene.commit(filled + where)
    (change,) = scene.commit(sql.Composed([sql.SQL("UPDATE typed SET n = n + 1")]) + where)
    assert change.new is not None
    assert change.new[-1] is UNCHANGED
    large = scene.business.value("SELECT large FROM typed WHERE id = %s", key[0])
    assert len(large) > LARGE * 0.9
    scene.agree({key: (*row[:1], "2", *row[2:-1], large)})


def test_every_shape_of_a_value(scene: Scene) -> None:
    """The JSON itself, value by value: what docs/types.md shows."""
    samples = {
        "bool": ("t", True), "int8": ("-9223372036854775808", -(2**63)), "float8": ("NaN", "NaN"),
        "float4": ("1.1", 1.1), "numeric": ("12.50", "12.50"), "money": ("-1234.5", "-1234.50"),
        "timetz": ("10:15:04.5+08", "10:15:04.5+08:00"),
        "timestamptz": ("0044-03-15 12:00+08 BC", "-000043-03-15T04:00:00Z"),
        "interval": ("1 year -1 day 00:00:06.5", "P1Y-1DT6.5S"), "bytea": ("\\x00ff", "AP8="),
        "jsonb": ('{"b":1, "a":[null]}', '{"a": [null], "b": 1}'), "inet": ("10.0.0.1", "10.0.0.1"),
        "int4range": ("[1,5]", "[1,6)"), "mood": ("so so", "so so"),
        "pair": ('(1,"a b")', '(1,"a b")'), "low": ("5", "5.000"),
        "words": ('{a,NULL,"x,y"}', ["a", None, "x,y"]),
        "int4[]": ("{{1,2},{3,NULL}}", [[1, 2], [3, None]]), "float8[]": ("{}", []),
        "text[]": ("[0:1]={a,b}", "[0:1]={a,b}"), "mood[]": ('{高兴,""}', ["高兴", ""]),
        "pair[]": ('{"(1,x)"}', ["(1,x)"]), "low[]": ("{5}", ["5.000"]),
        "words[]": ('{"{a,b}",NULL}', [["a", "b"], None]),
        "box[]": ("{(2,2),(1,1);(4,4),(3,3)}", ["(2,2),(1,1)", "(4,4),(3,3)"]),
        "bool[]": ("{t,f}", [True, False]), "money[]": ("{1}", ["1.00"]),
        "bit(5)": ("00101", "00101"), "char(6)": ("ab", "ab    "),
        "date": ("12345-06-07", "+012345-06-07"),
    }  # fmt: skip
    (row,) = inserted(
        scene, [[samples[kind.name][0] if kind.name in samples else None for kind in KINDS]]
    ).values()
    made = json.loads(scene.resource.row_json(row))
    assert {kind.name: made[name] for name, kind in COLUMNS.items() if kind.name in samples} == {
        name: form for name, (_, form) in samples.items()
    }


def test_what_a_postgresql_front_end_has_of_its_own(scene: Scene) -> None:
    """PostgreSQL's own types are native, arrays among them.

    What is another database's, or means something else here, is text.
    """
    if "postgres" not in scene.held:
        return
    with psycopg.connect(str(scene.held["postgres"].place)) as connection:
        found = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = 'typed'::regclass AND attnum > 0"
        ).fetchall()
    columns: dict[str, str] = dict(found)
    texts = {
        "money",
        "regclass",
        "span",
        "mood",
        "pair",
        "money[]",
        "mood[]",
        "pair[]",
        "low[]",
        "words[]",
        "text",
    }
    assert {kind.name for name, kind in COLUMNS.items() if columns[name] == "text"} == texts
    native = {
        "words": "text[]",
        "low": "numeric(12,3)",
        "int4[]": "integer[]",
        "numeric(20,4)[]": "numeric(20,4)[]",
        "int4range[]": "int4range[]",
    }
    assert {
        kind.name: columns[name] for name, kind in COLUMNS.items() if kind.name in native
    } == native
