"""Tests that worlds are data, that servers take them as drawn, and that a run can be replayed."""

import struct
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.checker.likeness import Condition, compared, condition, connected
from tests.faults import __main__ as faults
from tests.faults.planting import ROOT
from tests.faults.worlds import lanes
from tests.faults.worlds.built import Servers
from tests.faults.worlds.content import Content, type_of
from tests.faults.worlds.kinds import KINDS, Kind
from tests.faults.worlds.life import Told
from tests.faults.worlds.planted import PLANTED, Planted
from tests.faults.worlds.pooler import VERSION_3, startup
from tests.faults.worlds.world import BENIGN, HOSTILE, Column, World, kept
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresAddress

WORLDS = [World.of(seed) for seed in range(1, 1201)]


def test_the_same_seed_gives_the_same_world_and_a_file_gives_it_again() -> None:
    assert [World.of(world.seed) for world in WORLDS[:40]] == WORLDS[:40]
    assert len({world[1:] for world in map(str, WORLDS)}) == len(WORLDS)
    for world in WORLDS[:40]:
        assert World.loads(world.dumps("nothing")) == world


def test_everything_is_drawn_now_and_then() -> None:
    columns = {column.kind for world in WORLDS for column in world.columns}
    assert columns == {kind.name for kind in KINDS}
    assert {kind.name for kind in KINDS if kind.respelled} <= {
        column.kind for world in WORLDS for column in world.key_columns
    }
    filters = {world.columns[one.column].kind for world in WORLDS for one in world.filters}
    assert {kind.name for kind in KINDS if kind.few} - filters == set()
    assert {world.upon[0] for world in WORLDS if world.upon} == {*BENIGN, *HOSTILE}
    assert {(world.front, world.client) for world in WORLDS[:6]} == {
        (front, client)
        for front in ("sqlite", "postgres", "mariadb")
        for client in ("kafka-python", "librdkafka")
    }


def test_a_world_is_shown_in_a_few_lines() -> None:
    for world in WORLDS[:40]:
        lines = world.lines()
        assert len(lines) == 6
        assert all(repr(column.name) in "\n".join(lines) for column in world.key_columns)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_keys_are_many_and_other_spellings_are_other_texts(kind: Kind) -> None:
    numbers = range(min(kind.bounded, 3000))
    assert len({kind.key(number) for number in numbers}) == len(numbers)
    if kind.respelled:
        assert any(kind.respelled(kind.key(number)) != kind.key(number) for number in numbers)


@pytest.fixture(scope="module")
def typed(postgres15: PostgresAddress) -> object:
    """Yields a table with a column of each kind, in a PostgreSQL that has all of them.

    No name is on the search_path.
    """
    with fresh_database(postgres15) as source:
        app = sql.Identifier("of the unit")
        with psycopg.connect(source, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(app))
            made = dict.fromkeys(statement for kind in KINDS for statement in kind.made)
            for statement in made:
                connection.execute(sql.SQL(statement).format(app=app))
            columns = [
                sql.SQL("{} {}").format(
                    sql.Identifier(kind.name), sql.SQL(kind.type).format(app=app)
                )
                for kind in KINDS
            ]
            connection.execute(
                sql.SQL('CREATE TABLE {}."All" ({})').format(app, sql.SQL(", ").join(columns))
            )
        yield source


def test_other_spellings_are_equal_to_the_source_and_other_keys_are_not(typed: str) -> None:
    with connected(typed) as connection:
        columns = compared(connection, "of the unit", "All", [kind.name for kind in KINDS])
        for kind, column in zip(KINDS, columns, strict=True):
            for number in range(min(kind.bounded, 30)):
                text = kind.key(number)
                second = kind.respelled(text) if kind.respelled else text
                other = kind.key((number + 1) % kind.bounded)
                query = sql.SQL("SELECT {}, {}").format(
                    column.same(sql.Literal(text), sql.Literal(second)),
                    column.same(sql.Literal(text), sql.Literal(other)),
                )
                assert connection.execute(query).fetchone() == ("t", "f"), (kind.name, text)


def test_what_a_person_writes_in_a_filter_is_the_value_that_is_meant(typed: str) -> None:
    with connected(typed) as connection:
        columns = compared(connection, "of the unit", "All", [kind.name for kind in KINDS])
        for kind, column in zip(KINDS, columns, strict=True):
            for stored, person in kind.few:
                written = str(person).lower() if isinstance(person, bool) else str(person)
                same = column.same(sql.Literal(stored), sql.Literal(written))
                row = connection.execute(sql.SQL("SELECT {}").format(same)).fetchone()
                assert row == ("t",), (kind.name, stored, person)


def test_a_filter_is_judged_by_the_type_of_its_column(typed: str) -> None:
    names = ["char(8)", "boolean", "citext", "numeric(6,2)"]
    table = sql.Identifier("of the unit", "All")
    rows = [
        ("310101", "true", "aB", "12.5"),
        ("000000", "false", "x", "1"),
        (None, None, None, None),
    ]
    with psycopg.connect(typed) as writer:
        for row in rows:
            listed = sql.SQL(", ").join(map(sql.Identifier, names))
            values = sql.SQL(", ").join(map(sql.Literal, row))
            writer.execute(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(table, listed, values))
    cases = [
        (Condition("char(8)", "not_in", ["000000"]), 2),
        (Condition("boolean", "is_in", ["yes"]), 1),
        (Condition("citext", "is_in", ["AB"]), 1),
        (Condition("numeric(6,2)", "is_in", ["12.50", "1"]), 2),
        (Condition("numeric(6,2)", "not_in", ["12.5"]), 2),
        (Condition("citext", "is_null"), 1),
    ]
    with connected(typed) as connection:
        columns = compared(connection, "of the unit", "All", names)
        for one, wanted in cases:
            query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(
                table, condition(columns, [one])
            )
            assert connection.execute(query).fetchone() == (str(wanted),), one


def test_rows_are_told_apart_by_their_marks() -> None:
    world = next(world for world in WORLDS if world.rows == 300 and world.filters)
    content = Content(world)
    assert [str(one) for one in content.fill()] == [str(one) for one in Content(world).fill()]
    for _ in range(200):
        content.change()
    marks = list(content.marks.values())
    assert len(set(marks)) == len(marks)
    named = Column("x", "citext", "x")
    assert type_of(named, "of the unit").as_string(None) == '"of the unit".citext'


def test_a_pooler_drops_what_it_does_not_know() -> None:
    given = b"user\0me\0options\0-c TimeZone=UTC\0database\0db\0client_encoding\0UTF8\0\0"
    message = struct.pack(">ii", len(given) + 8, VERSION_3) + given
    kept_words = b"user\0me\0database\0db\0client_encoding\0UTF8\0\0"
    assert startup(message + b"more") == (
        struct.pack(">ii", len(kept_words) + 8, VERSION_3) + kept_words + b"more"
    )


def test_what_a_world_may_be_refused_for_hangs_on_what_is_drawn() -> None:
    plain = next(
        world
        for world in WORLDS
        if not world.filters
        and not world.upon
        and not world.made
        and not world.drops
        and world.encoding == world.front_encoding == "UTF8"
    )
    assert not plain._replace(at_source=plain.at_source._replace(values={})).may_refuse
    assert "FRONT_TABLE_WRONG" in plain._replace(upon=("unique index",)).may_refuse
    assert not plain._replace(
        upon=("index",), at_source=plain.at_front._replace(values={})
    ).may_refuse


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of worlds start no server."""

    class NoServers(Servers):
        def __init__(self) -> None:
            """No server."""

        def prepare(self, worlds: object) -> None:
            """Nothing."""

        def close(self) -> None:
            """Nothing."""

    monkeypatch.setattr(lanes, "Servers", NoServers)


def test_what_was_found_is_shown_with_its_world_and_how_to_replay_it(
    no_servers: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(servers: Servers, world: World, evidence: Path, package: Path | None) -> Told:
        found = {2: ["P7 is broken: 3 rows have left"]}.get(world.seed, [])
        return Told(world, found, refused="CONFIG_INVALID" if world.seed == 3 else "")

    monkeypatch.setattr(lanes, "run", run)
    assert faults.main(["--worlds", "3"]) == 1
    told = capsys.readouterr().out
    assert "FOUND P7 is broken: 3 rows have left" in told
    assert World.of(2).lines()[2].strip() in told
    assert "replay: python -m tests.faults --worlds 1 --first 2" in told
    assert "2/3 worlds as promised, 1 of them refused by name" in told
    assert faults.main(["--worlds", "1"]) == 0


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.bug.name)
def test_each_planted_bug_fits_the_product_and_has_a_kept_world(one: Planted) -> None:
    for file in {edit.file for edit in one.bug.edits}:
        text = (ROOT / "agent" / file).read_text(encoding="utf-8")
        compile(one.bug.patched(file, text), file, "exec")
    assert one.world in {known.name for known in kept()}


def test_worlds_that_found_a_fault_are_kept_and_run_as_long_as_there_is_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[World] = []

    def all_of(worlds: list[World], budget: float) -> list[Told]:
        asked.extend(worlds)
        assert budget == lanes.BUDGET
        return []

    monkeypatch.setattr(lanes, "all_of", all_of)
    lanes.short()
    known = [one.world for one in kept()]
    assert len(asked) == len(known) + lanes.FEW
    assert all(world in asked[: len(known)] for world in known)
    page = (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
    for one in kept():
        assert f"| `{one.name}` | {one.world.seed} | {one.found} |" in page


def test_a_run_that_has_no_more_time_says_what_is_left(
    no_servers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lanes.all_of(WORLDS[:3], budget=-1.0) == []
    assert "3 are left for a long run" in capsys.readouterr().out
