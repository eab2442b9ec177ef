"""Texts whose bytes are in another encoding than the database says."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.config import Settings
from agent.config.polling import PollingSettings
from agent.connectors.database import catalogue
from agent.connectors.database.rows import RowReader, Texts
from agent.connectors.database.session import Database
from agent.connectors.polling.inspection import inspect
from agent.connectors.trigger.databases.opening import trigger_log_of
from agent.connectors.trigger.inspection import inspected
from agent.connectors.trigger.keys import logged
from agent.errors import ValueUnreadable
from tests.source.databases import Place, place_of
from tests.source.polled import polling_settings

KINDS = ("sqlite", "mariadb", "mysql8")
# Of the application: bytes in GBK, in columns that are declared otherwise
NAMES = ("中文", "李四", "abc", "镕")
CREATE = {
    "sqlite": "CREATE TABLE t (k TEXT NOT NULL, n INTEGER NOT NULL, note TEXT, PRIMARY KEY (k, n))",
    "mysql": "CREATE TABLE t (k VARCHAR(20) NOT NULL, n INTEGER NOT NULL, note TEXT, "
    "u VARCHAR(20) CHARACTER SET utf8mb4, PRIMARY KEY (k, n)) CHARACTER SET latin1",
}
CREATE["mariadb"] = CREATE["mysql"]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """A database of each kind in turn, with rows in GBK."""
    with place_of(request.param, request, tmp_path) as made:
        made.execute(CREATE[made.family])
        for number, name in enumerate(NAMES):
            insert(made, number, name.encode("gbk"))
        yield made


def insert(place: Place, number: int, octets: bytes) -> None:
    """Writes a row whose texts have these bytes."""
    text = f"x'{octets.hex()}'"
    if place.family == "sqlite":
        text = f"CAST({text} AS TEXT)"
    rest = "" if place.family == "sqlite" else ", '统一'"
    place.execute(f"INSERT INTO t VALUES ({text}, {number}, {text}{rest})")


def database(place: Place, encoding: str = "gbk") -> Database:
    """The agent's way to it."""
    url = place.url.render_as_string(hide_password=False)
    return Database(url, None, 20.0, encoding)


def columns(place: Place) -> list[str]:
    """The columns of the table."""
    return ["k", "n", "note"] if place.family == "sqlite" else ["k", "n", "note", "u"]


def read(place: Place, keys: Sequence[tuple[str, str]] = (), encoding: str = "gbk") -> list[Texts]:
    """Reads every row, or those under keys."""
    made = database(place, encoding)
    with made.connect() as connection, made.guarded("r", "t"), made.dialect.snapshot(connection):
        found = catalogue.tables(connection, made.dialect, {("", "t"): ()})["", "t"]
        reader = RowReader(made.dialect, "r", found, columns(place))
        if keys:
            return list(reader.under(connection, keys))
        return list(reader.rows(connection, reader.in_key_order(reader.select(), 100)))


def settings(place: Place, encoding: str) -> Settings:
    """A configuration that compares the table."""
    resource = {
        "name": "t",
        "table": "t",
        "columns": columns(place),
        "poll": {"mode": "compare", "compare": "02:00"},
    }
    url = place.url.render_as_string(hide_password=False)
    return polling_settings(url, resource, encoding=encoding)


def test_texts_and_keys_are_those_of_the_application(place: Place) -> None:
    """A column that is declared rightly stays as it is."""
    rest = () if place.family == "sqlite" else ("统一",)
    expected = sorted((name, str(i), name, *rest) for i, name in enumerate(NAMES))
    assert sorted(read(place)) == expected
    keys = [(name, str(i)) for i, name in enumerate(NAMES)]
    # One that the encoding has no bytes for is under no row
    assert sorted(read(place, [*keys, ("𠀀", "1"), ("中文", "7")])) == expected


def test_a_long_text_is_read_whole(place: Place) -> None:
    """Of more than what a single call of the driver, or a short text of the database, holds."""
    long = "中文字符" * 8000
    insert_long = f"UPDATE t SET note = x'{long.encode('gbk').hex()}' WHERE n = 1"
    if place.family == "sqlite":
        insert_long = insert_long.replace("x'", "CAST(x'").replace("' WHERE", "' AS TEXT) WHERE")
    place.execute(insert_long)
    (found,) = read(place, [(NAMES[1], "1")])
    assert found[2] == long


def test_pages_go_on_behind_a_key(place: Place) -> None:
    made = database(place)
    with made.connect() as connection, made.guarded("r", "t"), made.dialect.snapshot(connection):
        found = catalogue.tables(connection, made.dialect, {("", "t"): ()})["", "t"]
        reader = RowReader(made.dialect, "r", found, ["k", "n"])
        every = list(reader.rows(connection, reader.in_key_order(reader.select(), 100)))
        for i, key in enumerate(every):
            page = reader.page(connection, tuple(map(str, key)), 100)
            assert len(page.lines) == len(every) - i - 1


def test_check_names_the_column_whose_bytes_are_no_text(place: Place) -> None:
    """Of rows that it looks at, and without a value."""
    insert(place, 9, b"\xff\xff!")
    found = inspect(settings(place, "gbk"), database(place)).findings
    wrong = [finding for finding in found if finding.code == "TEXT_UNREADABLE"]
    assert [finding.level for finding in wrong] == ["error", "error"]
    for finding, column in zip(wrong, ("k", "note"), strict=True):
        assert f"column {column} of table t" in finding.message
        assert "gbk, in 1 of 5 rows" in finding.message
        assert "source.encoding" in finding.fix
    with pytest.raises(ValueUnreadable, match="column k"):
        read(place)


def test_a_check_without_an_encoding(place: Place) -> None:
    """SQLite takes any bytes for a text: it is found. latin1 has a letter for each byte."""
    found = inspect(settings(place, ""), database(place, "")).findings
    codes = [finding.code for finding in found if finding.level == "error"]
    expected = ["TEXT_UNREADABLE"] * 2 if place.family == "sqlite" else []
    assert codes == expected

    suspect = [finding for finding in found if finding.code == "TEXT_SUSPECT"]
    if place.family == "sqlite":
        assert suspect == []
        return
    for finding, column in zip(suspect, ("k", "note"), strict=True):
        assert finding.level == "warning"
        assert f"column {column} of table t" in finding.message
        assert 'encoding = "gbk"' in finding.fix
        assert "ÖÐÎÄ" not in finding.message
    log = trigger_log_of(place.url.get_backend_name())
    assert log is not None
    (resource,) = settings(place, "").resource
    codes = [
        one.code for one in inspected(database(place, ""), log, {("", "t"): resource}).findings
    ]
    assert codes.count("TEXT_SUSPECT") == 2

    place.execute("DELETE FROM t")
    for number, name in enumerate(("Müller", "Straße", "François", "Noël", "CRÉÉE", "Jõeäär")):
        insert(place, number, name.encode("latin-1"))
    found = inspect(settings(place, ""), database(place, "")).findings
    assert "TEXT_SUSPECT" not in [finding.code for finding in found]


def test_a_trigger_notes_no_key_in_another_encoding(place: Place) -> None:
    """Its note would be another text than the page's."""
    made = database(place)
    with made.connect() as connection, made.guarded():
        found = catalogue.tables(connection, made.dialect, {("", "t"): ()})["", "t"]
    assert logged(found) is None

    log = trigger_log_of(place.url.get_backend_name())
    assert log is not None
    (resource,) = settings(place, "gbk").resource
    codes = [one.code for one in inspected(made, log, {("", "t"): resource}).findings]
    assert "KEY_MISSING" in codes


def test_an_encoding_is_one_of_texts() -> None:
    made = {"type": "polling", "url": "sqlite:////x"}
    assert PollingSettings.model_validate({**made, "encoding": "gb18030"}).encoding == "gb18030"
    for name in ("gbk2", "hex", "rot13"):
        with pytest.raises(ValidationError) as refused:
            PollingSettings.model_validate({**made, "encoding": name})
        assert "no encoding of texts" in str(refused.value)
