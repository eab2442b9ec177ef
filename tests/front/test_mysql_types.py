"""Tests that rows of MariaDB and MySQL are the same whichever way they came.

They come once by the binary log and once as a page, into front ends of each kind, and are
published.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import KafkaSettings, ResourceSettings
from agent.connectors.base import Ask
from agent.connectors.changes import Change, Commit, Message
from agent.connectors.database.session import Database
from agent.connectors.mysql.source import MySqlSource
from agent.connectors.position import position_text
from agent.connectors.resume import CommitMark, Resume
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.outbox.frames import OutboxEvent, frames
from agent.outbox.reader import Reader
from agent.resource import Resource
from agent.values.lines import row_of
from agent.values.rows import Key
from tests.front.conftest import sqlalchemy_url
from tests.front.test_types import Held, followed
from tests.services.fixtures import fresh_database
from tests.source.logging_mysql import KINDS, Logging, logging_server
from tests.source.reading import page_of, read_until, silent_never
from tests.source.values_of_mysql import EDGES, few_examples, literals

KAFKA = KafkaSettings(bootstrap_servers=["nowhere:1"], prefix="p", max_event_bytes=10_000_000)
NUMBERS = count(1)
POINT = "ST_GeomFromText('POINT(1 2)')"
UUID = "'6ccd780c-baba-1026-9564-5b8c65602400'"

MARIADB_TYPES = {
    "UUID": [UUID, "'00000000-0000-0000-0000-000000000000'"],
    "INET4": ["'192.0.2.0'", "'0.0.0.0'"],
    "INET6": ["'::'", "'2001:db8::'", "'::ffff:192.0.2.1'"],
}
# Of one server alone
OWN: Mapping[str, Mapping[str, list[str]]] = {
    "mariadb": MARIADB_TYPES,
    "mariadb11": {
        **MARIADB_TYPES,
        "VECTOR(3)": ["VEC_FromText('[1,0.5,-2e-30]')", "VEC_FromText('[-0,0,1]')"],
    },
    "mysql8": {},
    "mysql9": {"VECTOR(3)": ["STRING_TO_VECTOR('[1,0.5,-2e-30]')", "STRING_TO_VECTOR('[-0]')"]},
}
SHAPES = {
    "GEOMETRY": [POINT, "ST_GeomFromText('LINESTRING(0 0, 1 2)', 4326)"],
    "POINT": [POINT],
    "POLYGON": ["ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))')"],
}
# No native column of a front end in MariaDB holds the float -0, whose row is a refused one
FRONT = {declared: [one for one in edges if one != "-0e0"] for declared, edges in EDGES.items()}


class Scene:
    """One source table with a column of each type, and the front ends that its rows come to."""

    def __init__(self, server: Logging) -> None:
        self.columns = {**FRONT, **SHAPES, **OWN[server.kind]}
        self._server = server
        self._create(server)
        with server.session() as run:
            executed = server.position(run)

        driver = "mariadb" if server.is_mariadb else "mysql"
        url = server.server.url.set(drivername=f"{driver}+pymysql", database="unit")
        database = Database(url.render_as_string(hide_password=False), None, 20.0)
        shared = ResourceSettings(name="typed", table="typed", columns=list(self.names))
        self.source = MySqlSource(
            database, {("", "typed"): shared}, "unit", server_id=4711, agent="agent"
        )
        resume = Resume(position_text(1 << 20), CommitMark("", 0, 0), {"executed": executed})
        self.source.open(resume, silent_never)
        table = self.source.tables()["", "typed"]
        self.resource = Resource(shared, KAFKA, table, self.source.origin(table))
        self.streamed: dict[str, Held] = {}
        self.copied: dict[str, Held] = {}

    @property
    def names(self) -> list[str]:
        """The columns, with those that the server computes or hides."""
        drawn = [f"c{place}" for place in range(len(self.columns))]
        return ["id", "computed", "kept", "hidden", *drawn]

    def _create(self, server: Logging) -> None:
        hidden = "" if server.kind == "mysql8" else "INVISIBLE"  # from 8.0.23 on
        declared = [f"c{place} {one}" for place, one in enumerate(self.columns)]
        with server.session() as run:
            run("DROP DATABASE unit")
            run("CREATE DATABASE unit CHARACTER SET utf8mb4")
            run(
                "CREATE TABLE unit.typed (id int PRIMARY KEY, "
                "computed int GENERATED ALWAYS AS (id + 1) VIRTUAL, "
                "kept int GENERATED ALWAYS AS (id + 2) STORED, "
                f"hidden int {hidden} DEFAULT 7, {', '.join(declared)})"
            )

    def insert(self, rows: Sequence[Sequence[str]]) -> list[Message]:
        """Commits rows of literals; returns them as they are streamed."""
        drawn = [name for name in self.names if name.startswith("c") and name != "computed"]
        values = [f"({next(NUMBERS)}, {', '.join(row)})" for row in rows]
        with self._server.session() as run:
            run(f"INSERT INTO unit.typed (id, {', '.join(drawn)}) VALUES {', '.join(values)}")
        return read_until(
            self.source, lambda so_far: bool(so_far) and isinstance(so_far[-1], Commit)
        )

    def agree(self, messages: list[Message]) -> None:
        """The stream and a page have the same rows, and so have front ends and events."""
        changes = [message for message in messages if isinstance(message, Change)]
        binding = self.resource.bind(changes[0].relation)
        streamed = {}
        for change in changes:
            assert change.new is not None
            streamed[binding.key_of(change.new)] = binding.read(change.new)

        table, token = self.resource.table, f"page {next(NUMBERS)}"
        keys = list(streamed)
        ask = Ask(token, "typed", table, self.resource.columns, (), "", keys=keys)
        page, _ = page_of(self.source, ask)
        copied = {self.resource.key_of(row): row for row in map(row_of, page.lines)}
        self._same("page", streamed, copied)

        order = [column.name for column in changes[0].relation.columns]
        paged: list[Message] = []
        for message in messages:
            if not isinstance(message, Change):
                paged.append(message)
                continue
            assert message.new is not None
            row = dict(zip(self.names, copied[binding.key_of(message.new)], strict=True))
            paged.append(message._replace(new=tuple(row[name] for name in order)))

        for name in self.streamed:
            one, other = self.streamed[name], self.copied[name]
            one.apply(self.resource, messages)
            other.apply(self.resource, paged)
            self._same(f"{name} by the log", streamed, self._held(one, keys))
            self._same(f"{name} by pages", streamed, self._held(other, keys))
            assert events(one.front) == events(other.front), name

    def _held(self, held: Held, keys: list[Key]) -> Mapping[Any, Sequence[Any]]:
        held.front.begin()
        found = held.front.fetch(self.resource.target, keys)
        held.front.rollback()
        return found

    def _same(
        self, who: str, expected: Mapping[Any, Sequence[Any]], found: Mapping[Any, Sequence[Any]]
    ) -> None:
        """Compares value by value, so that a failure names the type."""
        assert found.keys() == expected.keys(), who
        declared = ["int"] * 4 + list(self.columns)
        for key, row in expected.items():
            for name, one, other in zip(declared, row, found[key], strict=True):
                assert one == other, (who, name)


def events(front: SqlFront) -> dict[int, Any]:
    """Returns what the outbox says of each row, by its key."""
    reader, found, after = Reader(front.engine, "unit"), {}, 0
    while batches := reader.waiting(after).batches:
        after = batches[-1].batch
        for frame in chain.from_iterable(map(frames, batches)):
            if isinstance(frame, OutboxEvent):
                row = json.loads(frame.value)["after"]
                found[row["id"]] = row
    return found


class Place(NamedTuple):
    """A front end that is not opened yet."""

    name: str
    front: SqlFront
    place: str | Path


def places(request: pytest.FixtureRequest, folder: Path, stack: ExitStack) -> Iterator[Place]:
    """Yields a fresh front end of each kind."""
    folder.mkdir()
    url = f"sqlite:///{folder}/front.db"
    yield Place("sqlite", SqliteFront(url, 5.0, "unit"), folder / "front.db")
    server = request.getfixturevalue("mariadb_server")
    address = stack.enter_context(server.fresh_database())
    url = address.replace("mariadb://", "mariadb+pymysql://", 1)
    yield Place("mariadb", MariaDbFront(url, None, 5.0, "unit", "native"), address)
    conninfo = stack.enter_context(fresh_database(request.getfixturevalue("postgres18")))
    yield Place("postgres", PostgresFront(sqlalchemy_url(conninfo), None, 5.0, "unit"), conninfo)


@pytest.fixture(scope="module", params=KINDS)
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("types")
    with ExitStack() as stack:
        found = Scene(stack.enter_context(logging_server(request.param)))
        stack.callback(found.source.close)
        for way, helds in (("streamed", found.streamed), ("copied", found.copied)):
            for place in places(request, folder / way, stack):
                helds[place.name] = followed(place.front, Path(place.place), found.resource)
                stack.callback(place.front.engine.dispose)
                stack.callback(place.front.close)
        yield found


def test_values_at_the_edges_are_the_same_everywhere(scene: Scene) -> None:
    longest = max(map(len, scene.columns.values()))
    rows = []
    for number in range(longest):
        rows.append([edges[number % len(edges)] for edges in scene.columns.values()])
    rows.append(["NULL"] * len(scene.columns))
    scene.agree(scene.insert(rows))


@few_examples(10)
@given(data=st.data())
def test_drawn_values_are_the_same_everywhere(scene: Scene, data: st.DataObject) -> None:
    each = []
    for declared, edges in scene.columns.items():
        found = st.sampled_from(["NULL", *edges])
        if declared in EDGES:
            found |= literals(declared).filter(lambda literal: literal != "-0e0")
        each.append(found)
    rows = data.draw(st.lists(st.tuples(*each), min_size=1, max_size=3))
    scene.agree(scene.insert(rows))
