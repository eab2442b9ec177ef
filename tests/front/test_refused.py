"""Rows that a table refuses are told apart from their set; keys of several spellings stay apart."""

from pathlib import Path

import pytest

from agent.errors import FrontBusy, FrontTableWrong, RowRefused
from agent.front.base import Front, Refused, Written
from agent.front.memory import MemoryFront
from agent.front.postgres.front import PostgresFront
from agent.front.sqlite.front import SqliteFront
from agent.front.store import SqlFront
from agent.front.table_rows import LOST
from agent.outbox.reader import Reader
from agent.resource import FrontColumn, FrontRow, Target
from agent.values import column_types as v
from agent.values.rows import Key
from tests.front.conftest import (
    TECHNICAL,
    WORDS,
    Fronts,
    fetch,
    gone,
    initialise,
    progress,
    put,
    write,
)


def run(front: SqlFront, *statements: str) -> None:
    """What somebody does to the front-end database beside the agent."""
    with front.engine.begin() as connection:
        for statement in statements:
            connection.execution_options(no_parameters=True).exec_driver_sql(statement)


FEW = WORDS._replace(table="few")


def constrained(front: Front) -> None:
    """Makes the table FEW, which refuses ids of 100 and more."""
    if isinstance(front, MemoryFront):
        front.durable.tables[FEW.name] = {}
        front.refuses = _large
        return
    assert isinstance(front, SqlFront)
    made = front.create_statement(FEW)
    check = f",\n    CONSTRAINT few CHECK ({front.quote('id')} < 100)\n)"
    run(front, check.join(made.rsplit("\n)", 1)))


def _large(target: Target, key: Key, row: FrontRow | None) -> str | None:
    return "few" if row is not None and int(row[1] or 0) >= 100 else None


def words(*ids: int) -> dict[Key, Written]:
    """Returns rows of WORDS."""
    return {("w", str(n)): put(("w", str(n))) for n in ids}


def test_refused_rows_are_told_apart(fronts: Fronts) -> None:
    """All other rows of the set are written, deletes too, and what the transaction held before.

    Each refused row has its reason, and the reason has no value.
    """
    front = fronts.new()
    constrained(front)
    front.open("nonce")
    write(front, FEW, words(1, 2))
    front.begin()
    assert front.write(FEW, {}, 1) == {}
    front.write(FEW, words(3), 1, 5)
    rows = words(*range(4, 40), 100, 101, 50, 777) | {("w", "2"): gone()}
    refused = front.write(FEW, rows, 1, 5)
    front.commit(progress("0/30"))
    assert set(refused) == {("w", "100"), ("w", "101"), ("w", "777")}
    assert all("few" in reason and "777" not in reason for reason in refused.values())
    wanted = {key: written.row for key, written in words(1, *range(3, 40), 50).items()}
    assert fetch(front, FEW, *words(*range(200), 777)) == wanted
    front.close()


def test_too_many_refused_rows_leave_nothing_of_their_set(fronts: Fronts) -> None:
    """What came before it in the transaction stands."""
    front = fronts.new()
    constrained(front)
    front.open("nonce")
    front.begin()
    front.write(FEW, words(1), 1)
    for most in (0, 2):
        with pytest.raises(RowRefused, match="few") as error:
            front.write(FEW, words(2, 100, 101, 102), 1, most)
        assert error.value.resource == FEW.resource
    assert front.insert(FEW, words(3, 100), 1, 1).keys() == {("w", "100")}
    front.commit(progress("0/30"))
    assert set(fetch(front, FEW, *words(1, 2, 3))) >= {("w", "1"), ("w", "3")}
    front.close()


def test_refused_keys_are_kept(fronts: Fronts) -> None:
    """Refused keys are kept with the commit, and read at the next opening.

    Healed ones are gone; a rollback leaves all as it was.
    """
    front = fronts.new()
    front.open("nonce")
    one, two = Refused("few", 5, "abc", "{}"), Refused("other", 6, "", '{"名称":"张"}')
    front.begin()
    front.refuse(WORDS.resource, {("1",): one, ("张", "\\"): two, ("3",): one}, [])
    front.refuse(WORDS.resource, {("1",): two}, [("3",), ("9",)])
    front.commit(progress("0/20"))
    front.begin()
    front.refuse(WORDS.resource, {("4",): one}, [("1",)])
    front.rollback()
    front.close()
    assert fronts.new().open("again").refused[WORDS.resource] == {("1",): two, ("张", "\\"): two}
    if isinstance(front, SqlFront):
        reader = Reader(front.engine, "unit")
        assert reader.refused() == {WORDS.resource: 2}
        assert {row.key for row in reader.refusals(WORDS.resource)} == {'{"名称":"张"}'}


def test_a_swallowed_row_is_refused(database: str, postgres_url: str, tmp_path: Path) -> None:
    """A trigger that leaves a row out raises no error: the number of rows tells."""
    postgres = PostgresFront(postgres_url, None, 5.0, "unit")
    sqlite = SqliteFront(f"sqlite:///{tmp_path}/front.db", 5.0, "unit")
    for front in (postgres, sqlite):
        initialise(front)
    run(
        postgres,
        "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN IF NEW.id = 7 THEN RETURN NULL; END IF; RETURN NEW; END$$",
        "CREATE TRIGGER leave BEFORE INSERT OR UPDATE ON words "
        "FOR EACH ROW EXECUTE FUNCTION leave()",
    )
    run(
        sqlite,
        "CREATE TRIGGER leave BEFORE INSERT ON words WHEN NEW.id = 7 "
        "BEGIN SELECT RAISE(IGNORE); END",
    )
    for front in (postgres, sqlite):
        front.open("nonce")
        front.begin()
        assert front.write(WORDS, words(6, 7, 8), 1, 5) == {("w", "7"): LOST}
        assert front.insert(WORDS, words(9), 1, 5) == {}
        front.commit(progress("0/20"))
        assert set(fetch(front, WORDS, *words(6, 7, 8, 9))) == set(words(6, 8, 9))
        front.close()


def test_a_trigger_names_its_errors_as_it_likes(postgres_url: str) -> None:
    """Any SQLSTATE that is not the server's own trouble refuses the row."""
    front = PostgresFront(postgres_url, None, 5.0, "unit")
    initialise(front)
    run(
        front,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN IF NEW.id = 7 THEN RAISE EXCEPTION 'value %', NEW.id; END IF;"
        " IF NEW.id = 8 THEN RAISE EXCEPTION 'x' USING ERRCODE = 'UE001'; END IF;"
        " RETURN NEW; END$$",
        "CREATE TRIGGER no BEFORE INSERT ON words FOR EACH ROW EXECUTE FUNCTION no()",
    )
    front.open("nonce")
    front.begin()
    refused = front.write(WORDS, words(6, 7, 8), 1, 5)
    assert {key[1]: reason.split()[1] for key, reason in refused.items()} == {
        "7": "P0001",
        "8": "UE001",
    }
    front.commit(progress("0/20"))
    front.close()


def test_a_deferred_constraint_falls_on_its_row(postgres_url: str) -> None:
    """It fails at the commit, where nobody knows the row.

    The next attempt checks at each statement.
    """
    front = PostgresFront(postgres_url, None, 5.0, "unit")
    initialise(front)
    run(
        front,
        "CREATE TABLE parent (id bigint PRIMARY KEY)",
        "ALTER TABLE words ADD CONSTRAINT of_parent "
        "FOREIGN KEY (id) REFERENCES parent DEFERRABLE INITIALLY DEFERRED",
        "INSERT INTO parent VALUES (1)",
    )
    front.open("nonce")
    front.begin()
    assert front.write(WORDS, words(1, 2), 1, 5) == {}
    with pytest.raises(FrontBusy, match=r"words.*of_parent"):
        front.commit(progress("0/20"))
    front.close()
    front.open("again")
    front.begin()
    refused = front.write(WORDS, words(1, 2), 1, 5)
    assert refused.keys() == {("w", "2")} and "of_parent" in refused["w", "2"]
    front.commit(progress("0/20"))
    front.close()


def test_a_deferred_trigger_on_a_table_that_is_gone_stops_its_table(postgres_url: str) -> None:
    """It fails at the commit, where nobody knows the table.

    The next attempt checks at each statement.
    """
    front = PostgresFront(postgres_url, None, 5.0, "unit")
    initialise(front)
    run(
        front,
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO gone VALUES (1); RETURN NEW; END$$",
        "CREATE CONSTRAINT TRIGGER audit AFTER INSERT ON words DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION audit()",
    )
    front.open("nonce")
    front.begin()
    front.write(WORDS, words(1), 1, 5)
    with pytest.raises(FrontBusy, match="42P01"):
        front.commit(progress("0/20"))
    front.close()
    front.open("again")
    front.begin()
    with pytest.raises(FrontTableWrong, match=r"words.*42P01"):
        front.write(WORDS, words(1), 1, 5)
    front.close()


def test_a_table_that_is_gone_stops_alone(fronts: Fronts) -> None:
    """Whoever asks it, also beside the transaction."""
    front = fronts.new()
    if isinstance(front, MemoryFront):
        return
    assert isinstance(front, SqlFront)
    front.open("nonce")
    for ask in (front.count, front.check, lambda target: front.keys_after(target, None, 1)):
        with pytest.raises(FrontTableWrong):
            ask(WORDS._replace(table="nowhere"))
        front.rollback()
    front.close()


SPELLED = {
    "interval": ("interval", v.INTERVAL, "PT24H", "P1D"),
    "numeric": ("numeric", v.NUMERIC, "1.0", "1.00"),
    "float8": ("double precision", v.FLOAT8, "0", "-0"),
    "jsonb": ("jsonb", v.JSONB, '{"a": 1.0}', '{"a": 1.00}'),
    "numeric[]": ("numeric[]", 1231, "{1.0}", "{1.00}"),
    "numrange": ("numrange", 3906, "[1.0,2)", "[1.00,2)"),
}


def spelled(name: str, soft: bool) -> Target:
    """Returns a table whose key is of such a type."""
    type_name, oid, _, _ = SPELLED[name]
    columns = (
        FrontColumn("k", oid, type_name, builtin=True, not_null=True),
        FrontColumn("w", v.TEXT, "text", builtin=True, not_null=False),
    )
    return Target("spelled", None, "spelled", columns, (0,), soft, TECHNICAL if soft else {})


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("name", list(SPELLED))
def test_a_key_has_the_spelling_it_was_given(
    kind: str, name: str, soft: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """An upsert replaces the equal row and its key.

    A delete of the other spelling deletes nothing; each row is found under its own spelling.
    """
    front: SqlFront = SqliteFront(f"sqlite:///{tmp_path}/front.db", 5.0, "unit")
    if kind == "postgres":
        front = PostgresFront(request.getfixturevalue("postgres_url"), None, 5.0, "unit")
    initialise(front)
    one = spelled(name, soft)
    front.create(one)
    front.check(one)
    before, after = (SPELLED[name][2],), (SPELLED[name][3],)
    front.open("nonce")
    write(front, one, {before: put((*before, "old"))})
    write(front, one, {after: gone()})
    assert fetch(front, one, before) == {before: (*before, "old")}
    found = fetch(front, one, after)
    assert found == ({before: (*before, "old")} if front.spellings(one) else {})
    write(front, one, {before: gone(), after: put((*after, "new"))})
    assert fetch(front, one, after) == {after: (*after, "new")}
    write(front, one, {before: gone()})
    assert fetch(front, one, after) == {after: (*after, "new")}
    front.close()


def test_a_column_with_another_collation_than_its_index(tmp_path: Path) -> None:
    """A table whose key column ignores case, and whose primary key does not, keeps both rows.

    This is an existing table in SQLite.
    """
    front = SqliteFront(f"sqlite:///{tmp_path}/front.db", 5.0, "unit")
    initialise(front)
    run(
        front,
        "DROP TABLE words",
        'CREATE TABLE words ("名称" TEXT COLLATE NOCASE, id INTEGER, '
        'PRIMARY KEY ("名称" COLLATE BINARY, id))',
    )
    front.check(WORDS)
    front.open("nonce")
    write(front, WORDS, {(w, "1"): put((w, "1")) for w in "aA"})
    write(front, WORDS, {("a", "1"): gone()})
    assert fetch(front, WORDS, ("a", "1")) == {}
    assert fetch(front, WORDS, ("A", "1")) == {("A", "1"): ("A", "1")}
    front.close()
