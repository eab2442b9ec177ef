"""Tests what `sync-agent tables` finds on real servers, and how it says that it finds nothing."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from agent.config import load
from tests.agent_process import in_this_process, url
from tests.source.databases import Place, place_of

SCHEMA = """
    CREATE SCHEMA tax;
    CREATE TABLE public.person (
        id bigint PRIMARY KEY, name text, sfzh char(18), c4 varchar(20), twice bigint
    );
    COMMENT ON TABLE public.person IS '人口基本信息';
    COMMENT ON COLUMN public.person.c4 IS '联系电话';
    INSERT INTO public.person SELECT n, 'n', 'card-canary', 'p' FROM generate_series(1, 30) n;
    CREATE TABLE public.note (what text);
    CREATE TABLE public.citizen (sfzh text PRIMARY KEY, town text);
    CREATE TABLE tax.person (id int PRIMARY KEY);
    CREATE TABLE tax.part (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
    CREATE TABLE tax.part1 PARTITION OF tax.part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE VIEW public.seen AS SELECT * FROM public.person;
    CREATE TABLE public.sync_agent_own (id int PRIMARY KEY);
    ANALYZE
"""
KAFKA = '[kafka]\nbootstrap_servers = ["k:9092"]\nprefix = "p"\n'


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    """Returns a configuration that has a source and nothing else, of a database with tables."""
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in SCHEMA.split(";"):
            connection.execute(statement.encode())
    given = conninfo_to_dict(database)
    path = tmp_path / "agent.toml"
    path.write_text(
        f'state_directory = "{tmp_path}"\n[source]\nhost = "{given["host"]}"\n'
        f'port = {given["port"]}\ndatabase = "{given["dbname"]}"\nuser = "{given["user"]}"\n',
        encoding="utf-8",
    )
    return path


def test_tables_of_postgresql(config: Path) -> None:
    done = in_this_process(config, "tables", "*.*", "--json")
    assert done.returncode == 0, done.stderr
    found = {table["table"]: table for table in json.loads(done.stdout)}
    assert sorted(found) == [
        "public.citizen", "public.note", "public.person", "tax.part", "tax.person",
    ]  # fmt: skip
    person = found["public.person"]
    assert (person["rows"], person["key"], person["comment"]) == (30, ["id"], "人口基本信息")
    assert person["bytes"] >= 8192
    assert {"name": "sfzh", "type": "character(18)", "comment": ""} in person["columns"]
    assert found["public.note"]["obstacles"] == ["KEY_MISSING"]
    assert found["tax.part"]["key"] == ["id", "d"]


def test_blocks_load_beside_the_source(config: Path) -> None:
    """Whoever pastes them has a configuration; the guesses are not in it, no value is either."""
    done = in_this_process(config, "tables", "*.*", "--toml")
    assert done.returncode == 0, done.stderr
    assert "card-canary" not in done.stdout
    assert "ALTER TABLE" in done.stdout  # for the table without a key
    with config.open("a", encoding="utf-8") as file:
        file.write(KAFKA + done.stdout)

    made = {resource.table: resource for resource in load(config).resource}
    assert sorted(made) == ["public.person", "tax.part", "tax.person"]
    assert made["public.person"].columns == ["id", "name", "twice"]
    assert made["tax.person"].name == made["tax.person"].target == "tax_person"

    # What is configured already is not proposed once more
    again = in_this_process(config, "tables", "p*", "--toml")
    assert tomllib.loads(again.stdout) == {}
    assert "public.person: configured already" in again.stdout


def test_a_role_needs_no_grant_to_see_what_there_is(config: Path, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS looks_only")
        connection.execute("CREATE ROLE looks_only LOGIN REPLICATION")
    text = config.read_text(encoding="utf-8")
    user = text[text.index("user =") :]
    config.write_text(text.replace(user, 'user = "looks_only"\n'), encoding="utf-8")
    done = in_this_process(config, "tables", "public.p*", "--json")
    assert [table["table"] for table in json.loads(done.stdout)] == ["public.person"]

    config.write_text(text.replace(user, 'user = "nobody_knows"\n'), encoding="utf-8")
    done = in_this_process(config, "tables", "public.p*")
    assert done.returncode == 78
    assert "SOURCE_LOGIN" in done.stdout
    done = in_this_process(config, "tables", "public.p*", "--as", url(database))
    assert done.returncode == 0
    assert "public.person" in done.stdout


def test_no_table_fits(config: Path) -> None:
    done = in_this_process(config, "tables", "nowhere.*")
    assert done.returncode == 1
    assert "nowhere.*" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "source: missing"),
        ('[source]\nhost = "h"\nuser = "u"\n', "source.database: missing"),
        ('[source]\ntype = "polling"\n', "source.url: missing"),
    ],
)
def test_a_configuration_without_a_source(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    done = in_this_process(path, "tables", "*")
    assert done.returncode == 78
    assert "CONFIG_INVALID" in done.stderr
    assert said in done.stderr


# ---- what is read through SQLAlchemy


@pytest.fixture(params=["sqlite", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Returns a database with tables."""
    with place_of(request.param, request, tmp_path) as made:
        comment = " COMMENT 'who holds it'" if made.kind == "mariadb" else ""
        made.execute(
            "CREATE TABLE permit (id INTEGER PRIMARY KEY, holder VARCHAR(40)"
            f"{comment}, phone VARCHAR(20), update_time DATETIME)",
            "CREATE INDEX permit_updated ON permit (update_time)",
            "CREATE TABLE keyless (a INTEGER)",
            "CREATE VIEW seen AS SELECT * FROM permit",
            "INSERT INTO permit VALUES (1, 'a', '13800000000', '2026-01-01 00:00:00')",
        )
        yield made


def configured(folder: Path, place: Place, kind: str) -> Path:
    """Writes a configuration with a source alone."""
    path = folder / "agent.toml"
    text = place.url.render_as_string(hide_password=False)
    path.write_text(f'[source]\ntype = "{kind}"\nurl = "{text}"\n', encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["polling", "trigger"])
def test_tables_of_other_databases(tmp_path: Path, place: Place, kind: str) -> None:
    path = configured(tmp_path, place, kind)
    done = in_this_process(path, "tables", "*", "--json")
    assert done.returncode == 0, done.stderr
    found = {table["table"]: table for table in json.loads(done.stdout)}
    polled = kind == "polling"
    assert sorted(found) == (["keyless", "permit", "seen"] if polled else ["keyless", "permit"])
    assert found["permit"]["key"] == ["id"]
    assert found["keyless"]["obstacles"] == ["KEY_MISSING"]
    if place.kind == "mariadb" and polled:
        # Its account may not see the statement of a view
        assert found["seen"]["obstacles"] == ["READ_REFUSED"]
    if place.kind == "mariadb":
        assert found["permit"]["bytes"] > 0
        assert found["permit"]["columns"][1]["comment"] == "who holds it"

    done = in_this_process(path, "tables", "permit", "--toml")
    with path.open("a", encoding="utf-8") as file:
        file.write(KAFKA + done.stdout)
    (permit,) = load(path).resource
    assert permit.columns == ["id", "holder", "update_time"]
    if polled:
        assert permit.poll is not None
        assert (permit.poll.mode, permit.poll.column) == ("timestamp", "update_time")
        assert permit.poll.compare == "02:00"
