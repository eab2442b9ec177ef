"""Tests what is no longer shared and still stands in the front end, on every database.

It is known by table and column, and goes by the statements that are named.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from sqlalchemy import delete, inspect

from agent.config import Settings
from agent.front import unshared
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.schema import AgentTables
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.resource import Target
from tests.front.conftest import IDENTITY, target
from tests.services.mariadb import MariaDbAddress, execute

COLUMNS = ("id", "名称", "ok")
PERSON = target("person", COLUMNS, (0,))
Share = Callable[[Mapping[str, Sequence[str]]], Settings]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> SqlFront:
    """Returns a front end whose agent may drop what it has made."""
    if request.param == "sqlite":
        return SqliteFront(f"sqlite:///{tmp_path}/front.db", 5.0, "unit")
    url = request.getfixturevalue(f"{request.param}_url")
    if request.param == "postgres":
        return PostgresFront(url, None, 5.0, "unit")
    front = MariaDbFront(url, None, 5.0, "unit")
    server: MariaDbAddress = request.getfixturevalue("mariadb_server")
    place = front.engine.url
    execute(
        server.url.render_as_string(hide_password=False),
        f"GRANT ALTER, DROP ON `{place.database}`.* TO '{place.username}'@'%'",
    )
    return front


@pytest.fixture
def share(front: SqlFront, tmp_path: Path) -> Share:
    """Returns settings that share these columns of tables named like their resources."""

    def settings(tables: Mapping[str, Sequence[str]]) -> Settings:
        resources = [
            {"name": name, "table": f"public.{name}", "columns": list(columns)}
            for name, columns in tables.items()
        ]
        return Settings.model_validate(
            {
                "name": "unit",
                "state_directory": str(tmp_path),
                "source": {"host": "h", "database": "d", "user": "u"},
                "front": {"url": front.engine.url.render_as_string(hide_password=False)},
                "kafka": {"bootstrap_servers": ["k:9092"], "prefix": "p"},
                "resource": resources,
            }
        )

    return settings


def initialised(front: SqlFront, *targets: Target, made: bool = True) -> None:
    """What `init --apply` does; or, with tables that others have made."""
    front.initialise(IDENTITY, {one.resource: f"p.{one.resource}" for one in targets})
    for one in targets:
        front.claim(one)
        front.create(one)
        if made:
            front.note_made(one)


def test_columns_and_tables_are_known_and_dropped(front: SqlFront, share: Share) -> None:
    """As long as they stand there; what others have in the tables is none of it."""
    initialised(front, PERSON, target("other", COLUMNS, (0,)))
    other = {"other": COLUMNS}
    assert unshared.leftovers(share({"person": COLUMNS, **other}).resource, front) == []
    fewer = share({"person": ("id", "名称"), **other})
    (left,) = unshared.leftovers(fewer.resource, front)
    assert (left.resource, left.columns, left.made) == ("person", ("ok",), True)
    unshared.drop(front, left)
    columns = {column["name"] for column in inspect(front.engine).get_columns("person")}
    assert columns == {"id", "名称"}
    assert unshared.leftovers(fewer.resource, front) == []

    gone = share(other)
    front.release("person")  # as the service does at its next start
    (left,) = unshared.leftovers(gone.resource, front)
    assert (left.resource, left.columns, left.made) == ("person", (), True)
    assert (
        unshared.topic_left(gone.topics, {"person": {"topic": "p.person"}}, "person") == "p.person"
    )
    unshared.drop(front, left)
    unshared.forget_rows(front, "person")
    assert not inspect(front.engine).has_table("person")
    assert inspect(front.engine).has_table("other")
    assert unshared.leftovers(gone.resource, front) == []


def test_a_table_that_another_goes_on_with_is_not_left(front: SqlFront, share: Share) -> None:
    """Of another resource only the columns that it does not share; of another agent nothing."""
    initialised(front, PERSON, made=False)
    moved = share({"citizen": ("id", "ok")})
    resource = moved.resource[0].model_copy(update={"target": "person"})
    moved = moved.model_copy(update={"resource": [resource]})
    (left,) = unshared.leftovers(moved.resource, front)
    assert (left.columns, left.made) == (("名称",), False)
    gone = share({"other": COLUMNS})
    assert [left.columns for left in unshared.leftovers(gone.resource, front)] == [()]
    front.release("person")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "agent", "second")
        patch.setattr(front, "own", AgentTables("second"))
        front.initialise(IDENTITY | {"agent_name": "second"}, {"person": "q.person"})
        front.claim(PERSON)
    assert unshared.leftovers(gone.resource, front) == []


def test_what_an_earlier_version_has_written_is_known(front: SqlFront, share: Share) -> None:
    """Of the last start: table and columns. Who has made the table is not known."""
    initialised(front, PERSON)
    with front.engine.begin() as connection:
        connection.execute(delete(front.own.written))
    front.open("nonce")
    front.keep_fingerprint("person", {"shared": f'[["id"], ["id", "before"], [], "{PERSON.name}"]'})
    front.close()
    (left,) = unshared.leftovers(share({"other": COLUMNS}).resource, front)
    assert (left.resource, left.columns, left.made) == ("person", (), False)
    statement = front.alter(PERSON, f"ADD COLUMN {front.quote('before')} INTEGER").rstrip(";")
    with front.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    front.claim(PERSON)
    (left,) = unshared.leftovers(share({"person": COLUMNS}).resource, front)
    assert (left.columns, left.made) == (("before",), False)
