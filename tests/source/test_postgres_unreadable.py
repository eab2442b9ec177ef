"""Tests values that the server cannot put into its stream or into a page.

Their table is suspended, and all others go on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from agent.capture.loop import Capture
from agent.config import Settings
from agent.connectors.position import position_number
from agent.connectors.postgres.source import PostgresSource
from agent.errors import Retry
from agent.front.base import Request, Stored
from agent.front.durable import Durable, empty_store
from agent.front.memory import MemoryFront
from agent.service.control import Control
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresAddress
from tests.source.conftest import PostgresBusiness

GOOD, BAD = "好", "坏"
# Text that the server cannot turn into UTF-8, and what makes it so
UNREADABLE = {
    "EUC_CN": (r"convert_from('\xaaa1', 'EUC_CN')", "22P05"),
    "SQL_ASCII": (r"convert_from('\xff41', 'SQL_ASCII')", "22021"),
}
# The server cannot write the text of this type, as it cannot that of a bytea of 600 MB. It can
# write its binary form.
SHY = """
    CREATE TYPE shy;
    CREATE FUNCTION shy_in(cstring) RETURNS shy LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
    CREATE FUNCTION shy_out(shy) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
    CREATE FUNCTION shy_send(shy) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'int4send';
    CREATE FUNCTION shy_recv(internal) RETURNS shy LANGUAGE internal IMMUTABLE STRICT AS 'int4recv';
    CREATE TYPE shy (
        INPUT = shy_in, OUTPUT = shy_out, SEND = shy_send, RECEIVE = shy_recv,
        PASSEDBYVALUE, INTERNALLENGTH = 4, ALIGNMENT = int4
    )"""
# A value of each kind of type, whose text comes from the server either way
VALUES = {
    "真": "bool", "数": "numeric(12,2)", "时": "timestamptz", "表": "text[]", "定": "char(6)",
    "串": "bytea", "文": "jsonb", "隔": "interval", "浮": "float8",
}  # fmt: skip
ROW = (
    "true, 12.50, '2026-02-28 23:59:59.5+08', array['甲,', NULL, '\"'], '乙', '\\xff00', "
    "'{\"键\": [1.0, null]}', '1 mon -2 days 03:00', -0.1"
)
SECONDS = 30.0


class Unit(PostgresBusiness):
    """A business database with a table that is well and one that is not, captured into memory."""

    def __init__(self, conninfo: str, folder: Path, more: str = "") -> None:
        super().__init__(conninfo, folder)
        listed = ", ".join(f'"{name}" {of}' for name, of in VALUES.items())
        self.transaction(
            f'CREATE TABLE "{GOOD}" (id int PRIMARY KEY, {listed})',
            f'CREATE TABLE "{BAD}" (id int PRIMARY KEY, "注" text{more})',
        )
        self.publish(f'"{GOOD}"', f'"{BAD}"')
        plain = self.settings()
        resources = [
            {"name": name, "table": f"public.{table}", "columns": columns}
            for name, table, columns in (
                ("good", GOOD, ["id", *VALUES]),
                ("bad", BAD, ["id", "注"]),
            )
        ]
        self.configured = Settings.model_validate(
            {
                "source": plain.source.model_dump(exclude_defaults=True),
                "kafka": {"bootstrap_servers": ["127.0.0.1:1"], "prefix": "unit"},
                "resource": resources,
            }
        )
        self.durable: Durable = empty_store({"good": "unit.good", "bad": "unit.bad"}, [GOOD, BAD])
        begun = self.initial()
        self.durable.stored = self.durable.stored._replace(
            position=begun.position,
            identity=begun.identity,
        )

    def write(self, *rows: tuple[str, int, str]) -> None:
        """One transaction of inserts: table, key, and the other values as SQL."""
        self.transaction(
            *(f'INSERT INTO "{table}" VALUES ({key}, {values})' for table, key, values in rows)
        )

    def capture(self, until: Callable[["Watched"], bool]) -> PostgresSource:
        """Captures until `until`, asked twice a second, is content."""
        front = Watched(self.durable, until)
        source = PostgresSource(self.configured)
        try:
            Capture(self.configured, source, front, front.control).run()
        finally:
            front.control.close()
        assert front.content, "not reached in time"
        return source

    def keys(self, table: str) -> set[str]:
        """Returns the keys of a front-end table."""
        return {str(key[0]) for key in self.durable.tables[table]}


class Watched(MemoryFront):
    """Ends the capture when what is waited for has come."""

    def __init__(self, durable: Durable, until: Callable[["Watched"], bool]) -> None:
        super().__init__(durable)
        self.until = until
        self.content = False
        self.control = Control.alone()
        self.ends = time.monotonic() + SECONDS
        durable.holder = None

    def open(self, nonce: str) -> Stored:
        """See Front.open."""
        self._look()
        return super().open(nonce)

    def requests(self) -> list[Request]:
        """See Front.requests."""
        self._look()
        return super().requests()

    def _look(self) -> None:
        self.content = self.content or self.until(self)
        if self.content or time.monotonic() > self.ends:
            self.control.stop()


@contextmanager
def unit(server: PostgresAddress, folder: Path, encoding: str, *before: str) -> Iterator[Unit]:
    """Yields a unit in a database of this encoding."""
    with fresh_database(server, encoding) as conninfo:
        with psycopg.connect(conninfo) as connection:
            for statement in before:
                connection.execute(statement.encode())
        in_utf8 = make_conninfo(conninfo, client_encoding="UTF8")
        made = Unit(in_utf8, folder, ', "羞" shy' if before else "")
        yield made
        made.close()


def texts(durable: Durable) -> Sequence[str | None]:
    """Returns the values of the row that stands under 2."""
    return durable.tables[GOOD]["2",][1:]


@pytest.mark.parametrize("encoding", UNREADABLE)
@pytest.mark.parametrize("version", [14, 18])
def test_text_without_a_counterpart_suspends_its_table(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    encoding: str,
    version: int,
) -> None:
    """The stream goes on past it, in the usual form again.

    Once the value is mended the table is copied.
    """
    bad, sqlstate = UNREADABLE[encoding]
    with unit(request.getfixturevalue(f"postgres{version}"), tmp_path, encoding) as place:
        place.write((GOOD, 1, ROW))
        place.write((BAD, 1, "'好的'"))
        place.write((GOOD, 2, ROW), (BAD, 2, bad), (GOOD, 3, ROW))
        place.write((GOOD, 4, ROW))

        source = place.capture(lambda front: place.keys(GOOD) == set("1234"))
        assert place.durable.suspended == {"bad": "VALUE_UNREADABLE"}
        assert f"SQLSTATE {sqlstate} in column 注, written at " in caplog.text
        assert place.durable.tables[GOOD]["1",] != ()
        assert texts(place.durable) == place.durable.tables[GOOD]["4",][1:]
        assert not source.outdated()

        asked = Request("again", "resume", "bad", allow_deletes=False)
        place.durable.suspended.clear()
        place.durable.requests["again"] = (asked, "asked", {})
        place.capture(lambda front: bool(place.durable.suspended))  # its page cannot be read
        assert f"SQLSTATE {sqlstate} when its rows are read" in caplog.text

        place.transaction(f'UPDATE "{BAD}" SET "注" = \'修好了\' WHERE id = 2')
        place.durable.requests["again"] = (asked, "asked", {})
        place.capture(lambda front: place.durable.stored.resources["bad"].state == "live")
        assert place.durable.tables[BAD] == {("1",): ("1", "好的"), ("2",): ("2", "修好了")}


def test_it_is_passed_again_when_the_server_has_not_heard_of_it(
    postgres18: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent died before its acknowledgement was sent.

    What it has stored comes again, and is passed over.
    """
    bad, _ = UNREADABLE["SQL_ASCII"]
    with unit(postgres18, tmp_path, "SQL_ASCII") as place:
        place.write((GOOD, 1, ROW), (BAD, 2, bad))
        place.write((GOOD, 3, ROW))
        with monkeypatch.context() as lost:
            lost.setattr(
                PostgresSource,
                "acknowledge",
                lambda self, position: setattr(self, "_acknowledged", position),
            )
            place.capture(lambda front: place.keys(GOOD) == set("13"))
        assert place.acknowledged() < position_number(place.durable.stored.position)
        place.write((GOOD, 4, ROW))
        place.capture(lambda front: place.keys(GOOD) == set("134"))
        assert place.durable.suspended == {"bad": "VALUE_UNREADABLE"}


def test_a_value_nobody_shares_suspends_nothing(
    postgres18: PostgresAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is passed over, and values of each type come as they do in the usual form."""
    with unit(postgres18, tmp_path, "UTF8", SHY) as place:
        place.write((GOOD, 1, ROW))
        place.write((BAD, 1, "'甲', '1'"), (GOOD, 2, ROW))
        place.write((GOOD, 3, ROW))
        place.capture(lambda front: place.keys(GOOD) == set("123"))
        assert place.durable.suspended == {}
        assert "stream_unreadable" in caplog.text
        assert place.durable.tables[BAD] == {("1",): ("1", "甲")}
        assert texts(place.durable) == place.durable.tables[GOOD]["1",][1:]


def test_what_cannot_be_sent_in_any_form_is_named_and_waited_for(
    postgres18: PostgresAddress, tmp_path: Path
) -> None:
    """The stream stands, with position and SQLSTATE, and is not asked again every second."""
    refusing = SHY.replace("'int4send'", "'enum_send'")
    with unit(postgres18, tmp_path, "UTF8", refusing) as place:
        place.write((BAD, 1, "'甲', '1'"))
        front = Watched(place.durable, lambda front: False)
        waits: list[str] = []

        def retry(error: Retry) -> None:
            waits.append(f"{error} {error.first_wait}")
            front.control.stop()

        with patch.object(front.control, "retry", retry):
            Capture(place.configured, PostgresSource(place.configured), front, front.control).run()
        front.control.close()
        (told,) = waits
        assert told.startswith("STREAM_UNREADABLE: ")
        assert told.endswith("SQLSTATE 22P03 30.0")
