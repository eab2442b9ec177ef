"""Tests that what others do to front-end tables is noticed, for the tables are theirs, too.

What they alter is in the fingerprint, what can change or refuse rows is named, and a swallowed row
is noticed.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from agent.errors import FrontTableWrong, RowRefused
from agent.front import catalogue
from agent.front.base import Written
from agent.front.mariadb.catalogue import _grants_trigger
from agent.front.mariadb.front import MariaDbFront
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.resource import FrontColumn, Target
from agent.values import column_types as v
from agent.values.rows import Key
from tests.front.conftest import IDENTITY, fetch, gone, progress, put, target, write
from tests.services.mariadb import MariaDbAddress, execute

TABLE = target("things", ("id", "名称", "code"), (0,))
PARENT = target("parents", ("id", "名称"), (0,))
ALONE = target("ones", ("id",), (0,))
BIN = "ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"


class Place(NamedTuple):
    """A front end, and statements of somebody else in its database."""

    kind: str
    new: Callable[[], SqlFront]
    run: Callable[[str], object]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Returns each database, with the two tables as the agent makes them."""
    if request.param == "sqlite":
        path = tmp_path / "front.db"

        def in_file(statement: str) -> None:
            with sqlite3.connect(path, isolation_level=None) as connection:
                connection.execute(statement)

        made = Place("sqlite", lambda: SqliteFront(f"sqlite:///{path}", 5.0, "unit"), in_file)
    elif request.param == "postgres":
        database, url = (request.getfixturevalue(name) for name in ("database", "postgres_url"))

        def in_postgres(statement: str) -> None:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(statement.encode())

        made = Place("postgres", lambda: PostgresFront(url, None, 5.0, "unit"), in_postgres)
    else:
        server: MariaDbAddress = request.getfixturevalue("mariadb_server")
        url = request.getfixturevalue("mariadb_url")
        admin = server.url.set(database=url.rpartition("/")[2])
        made = Place(
            "mariadb",
            lambda: MariaDbFront(url, None, 5.0, "unit"),
            lambda statement: execute(
                admin, statement.replace('"', "`").replace("WITH CASCADE", "ON DELETE CASCADE")
            ),
        )
    for one in (TABLE, PARENT):
        made.new().create(one)
    return made


def opened(place: Place) -> SqlFront:
    """Returns the front end, open."""
    front = place.new()
    front.initialise(IDENTITY, {})
    front.open("nonce")
    return front


def parts(place: Place, one: Target = TABLE) -> str:
    """Returns the fingerprint as it is stored."""
    return catalogue.stored(place.new().catalogue(one))


# ---- the fingerprint

ALTERED = {
    "sqlite": {
        "CREATE UNIQUE INDEX u ON things (code)": "unique",
        "ALTER TABLE things ADD more TEXT": "others",
        "CREATE TABLE child "
        "(id INTEGER PRIMARY KEY, t INTEGER REFERENCES things (id))": "referenced",
        "CREATE TRIGGER g BEFORE INSERT ON things BEGIN SELECT RAISE(IGNORE); END": "triggers",
        "ALTER TABLE things RENAME COLUMN code TO kode": "columns",
    },
    "postgres": {
        "CREATE UNIQUE INDEX u ON things (code)": "unique",
        "ALTER TABLE things ADD more text": "others",
        "ALTER TABLE things ADD CONSTRAINT c CHECK (code <> 'x') NOT VALID": "checks",
        "CREATE TABLE child "
        "(id int PRIMARY KEY, t bigint CONSTRAINT back REFERENCES things (id))": "referenced",
        "ALTER TABLE child DROP CONSTRAINT back": "referenced",
        "ALTER TABLE things ADD FOREIGN KEY (id) REFERENCES parents (id)": "foreign",
        "CREATE RULE r AS ON DELETE TO things DO INSTEAD NOTHING": "rules",
        "ALTER TABLE things ALTER code TYPE varchar(5)": "columns",
        'ALTER TABLE things ALTER "名称" TYPE text COLLATE "POSIX"': "columns",
        "ALTER TABLE things DROP CONSTRAINT things_pkey": "key",
        "ALTER TABLE things ENABLE ROW LEVEL SECURITY": "security",
        "TRUNCATE things": "storage",
    },
    "mariadb": {
        "CREATE UNIQUE INDEX u ON things (code)": "unique",
        "ALTER TABLE things ADD more text": "others",
        "ALTER TABLE things ADD CONSTRAINT c CHECK (code <> 'x')": "checks",
        "CREATE TABLE child (id int PRIMARY KEY, t bigint, "
        "CONSTRAINT back FOREIGN KEY (t) REFERENCES things (id))": "referenced",
        "ALTER TABLE child DROP CONSTRAINT back": "referenced",
        "ALTER TABLE things ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES parents (id)": "foreign",
        "ALTER TABLE things DROP CONSTRAINT f": "foreign",
        "CREATE TRIGGER g BEFORE INSERT ON things FOR EACH ROW SET NEW.code = 'y'": "triggers",
        "ALTER TABLE things CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci": "columns",
        "ALTER TABLE things DROP PRIMARY KEY": "key",
    },
}


def test_each_part_that_is_altered_moves(place: Place) -> None:
    """And nothing moves by itself."""
    assert parts(place) == parts(place)
    for statement, part in ALTERED[place.kind].items():
        before = parts(place)
        place.run(statement)
        assert part in catalogue.moved(before, parts(place)), statement


def test_a_table_made_again_is_another(place: Place) -> None:
    """The very same statement, and no rows in it."""
    before = parts(place)
    if place.kind == "mariadb":  # the server tells the time of creation in seconds
        place.run("DO SLEEP(1.1)")
    place.run("DROP TABLE things")
    place.new().create(TABLE)
    moved = catalogue.moved(before, parts(place))
    assert moved == {"storage"}
    assert moved - catalogue.LATER


# ---- what can change or refuse rows

HARMFUL = {
    "sqlite": {
        "DROP TABLE things": "",
        'CREATE TABLE things (id INTEGER PRIMARY KEY, "名称" TEXT UNIQUE, '
        "code TEXT CHECK (code <> 'x'), more TEXT DEFAULT 1, \"CHECK (\" TEXT, "
        "p INTEGER REFERENCES parents (id))": "CHECK constraint",
        "CREATE UNIQUE INDEX u ON things (code)": "unique index u ",
        "CREATE TRIGGER g BEFORE INSERT ON things BEGIN SELECT RAISE(IGNORE); END": "trigger g ",
    },
    "postgres": {
        "CREATE UNIQUE INDEX u ON things (code)": "unique index u ",
        "ALTER TABLE things ADD CONSTRAINT c CHECK (code <> 'x')": "CHECK constraint c ",
        "ALTER TABLE things ADD CONSTRAINT f "
        "FOREIGN KEY (id) REFERENCES parents (id)": "foreign key f ",
        "CREATE TABLE child (id int PRIMARY KEY, t bigint "
        "CONSTRAINT back REFERENCES things (id))": "foreign key back (child) ",
        "CREATE RULE r AS ON DELETE TO things DO INSTEAD NOTHING": "rule r ",
        "ALTER TABLE things ADD more int DEFAULT 1": "column more ",
        "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'": "",
        "CREATE TRIGGER g BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION g()": "trigger g ",
        "ALTER TABLE things ADD CONSTRAINT e EXCLUDE (code WITH =)": "exclusion constraint e ",
    },
    "mariadb": {
        "CREATE UNIQUE INDEX u ON things (code)": "unique index u ",
        "ALTER TABLE things ADD CONSTRAINT c CHECK (code <> 'x')": "CHECK constraint c ",
        "ALTER TABLE things ADD CONSTRAINT f "
        "FOREIGN KEY (id) REFERENCES parents (id)": "foreign key f ",
        "CREATE TABLE child (id int PRIMARY KEY, t bigint, "
        "CONSTRAINT back FOREIGN KEY (t) REFERENCES things (id))": "foreign key back (child) ",
        "ALTER TABLE things ADD more int DEFAULT 1": "column more ",
        "CREATE TRIGGER g BEFORE INSERT ON things FOR EACH ROW SET NEW.code = 'y'": "trigger g ",
    },
}


def test_what_can_change_or_refuse_rows_is_named(place: Place) -> None:
    """Each with the statement that removes it; after these nothing is left to say."""
    assert place.new().hazards(TABLE) == []
    for statement in HARMFUL[place.kind]:
        place.run(statement)
    front = place.new()
    front.check(TABLE)
    told = [found.message.format(table="things", name=found.name) for found in front.hazards(TABLE)]
    for expected in filter(None, HARMFUL[place.kind].values()):
        assert any(expected in line for line in told), (expected, told)
    if place.kind == "sqlite":
        assert sum("CHECK constraint" in line for line in told) == 1
        return
    for found in front.hazards(TABLE):
        assert found.remedy.endswith(";")
        place.run(
            found.remedy
            if "DEFERRABLE" not in found.remedy
            else "ALTER TABLE things DROP CONSTRAINT f"
            if found.name == "f"
            else "ALTER TABLE child DROP CONSTRAINT back"
        )
    assert front.hazards(TABLE) == []


@pytest.mark.parametrize(
    "action", ["ON DELETE CASCADE", "ON UPDATE CASCADE", "ON DELETE SET NULL", "ON UPDATE SET NULL"]
)
def test_a_foreign_key_that_acts_makes_a_table_unfit(place: Place, action: str) -> None:
    """Its rows would go without a word of the source; the key's name stands in the reason."""
    place.run("DROP TABLE things")
    columns = {
        "sqlite": 'id INTEGER PRIMARY KEY, "名称" TEXT, code TEXT, p INTEGER',
        "postgres": 'id bigint PRIMARY KEY, "名称" text, code character(5), p bigint',
        "mariadb": 'id bigint PRIMARY KEY, "名称" longtext, code varchar(5), p bigint',
    }[place.kind]
    own = f"CREATE TABLE things ({columns}"
    rest = BIN if place.kind == "mariadb" else ""
    place.run(
        f"{own}, CONSTRAINT its_parent FOREIGN KEY (p) REFERENCES parents (id) {action}) {rest}"
    )
    name = r"\(p\)" if place.kind == "sqlite" else "its_parent"
    with pytest.raises(FrontTableWrong, match=f"foreign key {name} to parents {action} deletes"):
        place.new().check(TABLE)


POSTGRES_UNFIT = {
    "ALTER TABLE things "
    "DROP CONSTRAINT things_pkey, ADD PRIMARY KEY (id) DEFERRABLE": "not deferrable",
    "ALTER TABLE things DROP CONSTRAINT things_pkey; "
    "CREATE UNIQUE INDEX k ON things (id) WHERE id > 0": "without WHERE",
    "ALTER TABLE things SET UNLOGGED": "unlogged",
    "CREATE TABLE heirs () INHERITS (things)": r"inherit from it \(heirs\)",
    "CREATE RULE r AS ON INSERT TO things DO INSTEAD NOTHING": "rule r ON INSERT",
}


@pytest.mark.parametrize("statement", POSTGRES_UNFIT)
def test_postgres_refuses_what_no_row_is_safe_with(
    database: str, postgres_url: str, statement: str
) -> None:
    """A key that holds later or not for all, a table that a crash empties, rows of others."""
    front = PostgresFront(postgres_url, None, 5.0, "unit")
    front.create(TABLE)
    front.check(TABLE)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())
    with pytest.raises(FrontTableWrong, match=POSTGRES_UNFIT[statement]):
        front.check(TABLE)


def test_row_security_that_holds_for_the_agent_is_refused(database: str, postgres_url: str) -> None:
    """For its owner alone it changes nothing."""
    PostgresFront(postgres_url, None, 5.0, "unit").create(TABLE)
    with psycopg.connect(database, autocommit=True) as connection:
        role = connection.execute("select 'r' || substr(current_database(), 6)").fetchone()
        assert role is not None
        connection.execute(f"CREATE ROLE {role[0]} LOGIN".encode())
        connection.execute(f"GRANT ALL ON things TO {role[0]}".encode())
        connection.execute(b"ALTER TABLE things ENABLE ROW LEVEL SECURITY")
        PostgresFront(postgres_url, None, 5.0, "unit").check(TABLE)
        with pytest.raises(FrontTableWrong, match="row security"):
            PostgresFront(
                postgres_url.replace("postgres@", f"{role[0]}@"), None, 5.0, "unit"
            ).check(TABLE)
        connection.execute(f"DROP OWNED BY {role[0]}; DROP ROLE {role[0]}".encode())


# ---- a statement without an error is not yet a row


def test_another_unique_index_overwrites_no_row(place: Place) -> None:
    """The row that is met has another key: refused, and it stays as it was."""
    front = opened(place)
    write(front, TABLE, {("1",): put(("1", "a", "x")), ("2",): put(("2", "b", "y"))})
    place.run("CREATE UNIQUE INDEX u ON things (code)")
    front.check(TABLE)
    write(front, TABLE, {("1",): put(("1", "c", "x"))})
    for row in (("3", "new", "y"), ("1", "old", "y")):
        front.begin()
        with pytest.raises(RowRefused, match="things"):
            front.write(TABLE, {(row[0],): put(row)}, 1)
        front.rollback()
    found = fetch(front, TABLE, ("1",), ("2",), ("3",))
    assert {key: tuple(map(str.strip, map(str, row))) for key, row in found.items()} == {
        ("1",): ("1", "c", "x"),
        ("2",): ("2", "b", "y"),
    }
    front.close()


def test_a_table_of_its_key_alone_is_written_twice(place: Place) -> None:
    """An upsert then has nothing to change."""
    place.new().create(ALONE)
    front = opened(place)
    for _ in range(2):
        write(front, ALONE, {("1",): put(("1",)), ("2",): put(("2",))})
    assert len(fetch(front, ALONE, ("1",), ("2",))) == 2
    front.close()


SWALLOWING = {
    "sqlite": [
        "CREATE TRIGGER g BEFORE INSERT ON things WHEN NEW.id = 2 BEGIN SELECT RAISE(IGNORE); END"
    ],
    "postgres": [
        (
            "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END'"
        ),
        "CREATE TRIGGER g BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION g()",
    ],
    "mariadb": [
        (
            "CREATE TRIGGER g BEFORE INSERT ON things FOR EACH ROW "
            "SET NEW.code = IF(NEW.id = 2, 'other', NEW.code)"
        )
    ],
}


@pytest.mark.parametrize("way", ["write", "insert"])
def test_a_row_that_a_trigger_swallows_or_changes_is_refused(place: Place, way: str) -> None:
    """No statement failed; the row is read back in the same transaction."""
    for statement in SWALLOWING[place.kind]:
        place.run(statement)
    front = opened(place)
    front.check(TABLE)
    good: dict[Key, Written] = {("1",): put(("1", "a", "xxxxx"))}
    write(front, TABLE, good)
    front.begin()
    assert front.changed_rows(TABLE, {**good, ("2",): put(("2", "b", "yyyyy"))}) == [("2",)]
    with pytest.raises(RowRefused, match=r"NOT_AS_WRITTEN: .*\(g\)"):
        getattr(front, way)(
            TABLE, {("2",): put(("2", "b", "yyyyy")), ("3",): put(("3", "c", "zzzzz"))}, 1
        )
    front.rollback()
    assert fetch(front, TABLE, ("2",), ("3",)) == {}
    front.close()


def test_a_delete_that_a_rule_swallows_is_refused(database: str, postgres_url: str) -> None:
    """The row stands, though the statement went well."""
    front = PostgresFront(postgres_url, None, 5.0, "unit")
    front.initialise(IDENTITY, {})
    front.create(TABLE)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(b"CREATE RULE r AS ON DELETE TO things DO INSTEAD NOTHING")
    front.check(TABLE)
    front.open("nonce")
    write(front, TABLE, {("1",): put(("1", "a", "xxxxx"))})
    front.begin()
    with pytest.raises(RowRefused, match="NOT_AS_WRITTEN"):
        front.write(TABLE, {("1",): gone()}, 1)
    front.rollback()
    front.close()


@pytest.mark.parametrize("clause", ["REPLACE", "IGNORE"])
def test_sqlite_decides_itself_what_happens_at_a_conflict(tmp_path: Path, clause: str) -> None:
    """Constraints that say REPLACE or IGNORE delete another row, or leave this one out.

    No error tells of it.
    """
    front = SqliteFront(f"sqlite:///{tmp_path}/front.db", 5.0, "unit")
    front.initialise(IDENTITY, {})
    with sqlite3.connect(tmp_path / "front.db") as connection:
        connection.execute(
            'CREATE TABLE things (id INTEGER PRIMARY KEY, "名称" TEXT, '
            f"code TEXT UNIQUE ON CONFLICT {clause})"
        )
    front.open("nonce")
    write(front, TABLE, {("1",): put(("1", "a", "x"))})
    front.begin()
    with pytest.raises(RowRefused, match=r"UNIQUE constraint failed: things\.code"):
        front.write(TABLE, {("2",): put(("2", "b", "x"))}, 1)
    front.rollback()
    assert fetch(front, TABLE, ("1",)) == {("1",): ("1", "a", "x")}
    front.close()


# ---- rights and names of MariaDB


def test_triggers_that_may_not_be_seen_may_be_there(
    mariadb_server: MariaDbAddress, mariadb_url: str
) -> None:
    """Without the right TRIGGER the catalogue may show none.

    Then rows are read back, and `check` names the GRANT.
    """
    front = MariaDbFront(mariadb_url, None, 5.0, "unit")
    front.initialise(IDENTITY, {})
    front.create(TABLE)
    admin = mariadb_server.url.set(database=mariadb_url.rpartition("/")[2])
    execute(admin, SWALLOWING["mariadb"][0])
    execute(admin, f"REVOKE TRIGGER ON `{admin.database}`.* FROM `{admin.database}`@`%`")
    hidden = front.hazards(TABLE)[-1]
    assert hidden.message == catalogue.UNSEEN
    assert hidden.remedy.startswith("GRANT TRIGGER ON `things` TO 'test_")
    front.check(TABLE)
    front.open("nonce")
    front.begin()
    with pytest.raises(RowRefused, match="NOT_AS_WRITTEN"):
        front.write(TABLE, {("2",): put(("2", "b", "y"))}, 1)
    front.rollback()
    front.close()


@pytest.mark.parametrize(
    ("line", "granted"),
    [
        ("GRANT ALL PRIVILEGES ON *.* TO `a`@`%`", True),
        ("GRANT SELECT, TRIGGER ON `d\\_b`.* TO `a`@`%`", True),
        ("GRANT SELECT, TRIGGER ON `d%`.* TO `a`@`%`", True),
        ("GRANT TRIGGER ON `d_b`.`t` TO `a`@`%`", True),
        ("GRANT TRIGGER ON `d_b`.`other` TO `a`@`%`", False),
        ("GRANT TRIGGER ON `dxb`.* TO `a`@`%`", False),
        ("GRANT SELECT ON `d_b`.* TO `a`@`%`", False),
        ("GRANT `role` TO `a`@`%`", False),
    ],
)
def test_who_sees_triggers(line: str, granted: bool) -> None:
    """Rights on everything, on databases by pattern, on a table."""
    assert _grants_trigger(line, "d_b", "t") is granted


# ---- widths


def _wide(columns: int) -> Target:
    listed = tuple(
        FrontColumn(f"c{n}", *((v.INT8, "bigint") if n == 0 else (v.TEXT, "text")), True, n == 0)
        for n in range(columns)
    )
    return Target("wide", None, "wide", listed, (0,), soft_delete=False, technical={})


def test_more_columns_than_the_database_holds_are_refused_before(place: Place) -> None:
    """What it says it holds it does, and one more is refused by name."""
    front = place.new()
    most = front.most_columns()
    while not _has_room(front, _wide(most)):  # long texts fill a page of InnoDB before
        most -= 1
    if place.kind != "postgres":  # there a row of so many columns must be narrow: it can be made
        assert front.create(_wide(most))
        place.run("DROP TABLE wide")
    with pytest.raises(FrontTableWrong, match=r"wide: .*share fewer"):
        front.create(_wide(most + 1))
    with pytest.raises(FrontTableWrong, match="columns, and this database holds"):
        front.check_names(_wide(front.most_columns() + 1))


def _has_room(front: SqlFront, one: Target) -> bool:
    try:
        front.check_room(one)
    except FrontTableWrong:
        return False
    return True


def test_progress_is_kept(place: Place) -> None:
    """A front end whose tables were looked at commits as before: the look leaves nothing open."""
    front = opened(place)
    front.catalogue(TABLE)
    front.begin()
    front.commit(progress("0/30"))
    front.close()
    assert front.open("again").position == "0/30"
    front.close()
