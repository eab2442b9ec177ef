"""What the pages of sources say to paste: it works as it stands there."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.connectors.database.session import ADMINISTRATOR_PASSWORD
from agent.connectors.opening import open_source, setup_of
from agent.connectors.setup import Setup
from agent.selftest.sources import await_condition, await_state, opened, settle
from tests.agent_process import uncovered
from tests.checker.front import Rows, at_front
from tests.services.firebird import firebird_url
from tests.services.kafka import KafkaAddress
from tests.services.processes import HOST, free_port
from tests.source.databases import Place, place_of

PAGES = Path(__file__).parents[2] / "docs" / "sources"
PATIENCE = 300.0  # seconds, on a busy machine
# Stands for the program of the same name, which not every host has
SQLITE = f"""#!{sys.executable}
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
statement = ""
for part in sys.argv[2].split(";"):
    statement += part + ";"
    if sqlite3.complete_statement(statement):
        for row in connection.execute(statement):
            print("|".join(map(str, row)))
        statement = ""
"""


def block(page: str, title: str, heading: str = "## What it needs") -> str:
    """Returns the first block of this title in a page, behind a heading."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8").partition(heading)[2]
    found = re.search(rf"^```{title}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, (page, title)
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with the programs that are called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sqlite3").write_text(SQLITE, encoding="utf-8")
    (programs / "sqlite3").chmod(0o755)
    (programs / "sync-agent").symlink_to(Path(sys.executable).with_name("sync-agent"))
    return tmp_path


@pytest.mark.parametrize(("page", "left"), [("polling", []), ("trigger", [(2, "李四")])])
def test_five_minutes(
    page: str, left: Rows, kafka: KafkaAddress, topic_prefix: str, folder: Path
) -> None:
    """The block ends with success, and has made the events of which the page speaks."""
    script = block(page, "sh", "## Try it in five minutes")
    listen = f'[service]\nlisten = "{HOST}:{free_port()}"\n[kafka]'
    for old, new in (
        ("/tmp/", f"{folder}/"),
        ("127.0.0.1:9092", kafka.bootstrap),
        ('prefix = "try"', f'prefix = "{topic_prefix}"'),
        ("[kafka]", listen),
        ("sleep 1;", "sleep 0.2;"),
    ):
        assert old in script
        script = script.replace(old, new)

    search = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    running = subprocess.Popen(
        ["bash", "-c", script],
        env=uncovered() | {"PATH": search, "SYNC_AGENT_LANG": "en"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = running.communicate(timeout=PATIENCE)
    finally:
        # What was broken off leaves an agent behind
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, said

    front = folder / "sync-agent" / "unit" / "front.db"
    assert at_front(front, "SELECT state, seq FROM sync_agent_resource") == [("live", 3)], said
    assert at_front(front, "SELECT id, holder FROM permit") == left


# ---- grants

COLUMNS = {
    "mariadb": "id INT PRIMARY KEY, note VARCHAR(40), changed DATETIME(3), sync_flag INT",
    "postgresql": "id INT PRIMARY KEY, note VARCHAR(40), changed TIMESTAMP(3), sync_flag INT",
    "firebird": "id INT NOT NULL PRIMARY KEY, note VARCHAR(40), changed TIMESTAMP, sync_flag INT",
}
MODES: list[dict[str, Any]] = [
    {"mode": "timestamp", "column": "changed"},
    {"mode": "flag", "column": "sync_flag", "pending": [0], "done": 1, "write_back": True},
]


class Granted:
    """A database with the table of the pages, and the agent's account as it is pasted there."""

    def __init__(self, place: Place, page: str) -> None:
        self.place = place
        database = str(place.url.database)
        self._user = f"agent_{uuid.uuid4().hex[:8]}"
        if place.kind == "firebird":
            self.url = firebird_url(Path(database), self._user)
        else:
            self.url = place.url.set(username=self._user, password=None)
        place.execute(f"CREATE TABLE permit ({COLUMNS[place.kind]})")
        place.execute("CREATE INDEX permit_flag ON permit (sync_flag, id)")
        place.execute("CREATE INDEX permit_changed ON permit (changed, id)")
        place.execute("INSERT INTO permit (id, note, sync_flag) VALUES (1, 'first', 1)")

        for statement in block(page, f"sql {place.kind}").split(";\n"):
            pasted = re.sub(r"\bsync_agent\b", self._user, statement)
            pasted = pasted.replace("business.", f"{database}.").replace("'...'", "''")
            # No server of Firebird's runs here that has accounts
            if pasted and not (place.kind == "firebird" and pasted.startswith("CREATE USER")):
                place.execute(self._escaped(pasted))

    def _escaped(self, statement: str) -> str:
        """Returns a statement as the driver takes it."""
        return statement.replace("%", "%%") if self.place.kind == "mariadb" else statement

    def forget(self) -> None:
        """Takes away the account."""
        if self.place.kind == "mariadb":
            self.place.execute(self._escaped(f"DROP USER {self._user}@'%'"))
        elif self.place.kind == "postgresql":
            self.place.execute(f"DROP OWNED BY {self._user}", f"DROP ROLE {self._user}")

    def settings(self, kind: str, **resource: Any) -> Settings:
        """Returns a configuration in which the agent shares the table."""
        source = {"type": kind, "url": self.url.render_as_string()}
        table = {"name": "permit", "table": "permit", "target": "permit", **resource}
        return Settings.model_validate(
            {
                "name": "unit",
                "source": source,
                "kafka": {"bootstrap_servers": ["nowhere:1"], "prefix": "p"},
                "resource": [table | {"columns": ["id", "note"]}],
            }
        )


@pytest.fixture(params=list(COLUMNS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database of each kind in turn."""
    with place_of(request.param, request, tmp_path) as made:
        yield made


def levels(setup: Setup) -> dict[str, str]:
    """Returns what `check` finds: level by code."""
    return {finding.code: finding.level for finding in setup.check(None).findings}


def test_the_grants_of_polling_suffice(place: Place) -> None:
    """To find a change, and to reset a flag."""
    granted = Granted(place, "polling")
    try:
        for poll in MODES:
            settings = granted.settings("polling", poll=poll)
            assert set(levels(setup_of(settings)).values()) == {"ok"}

        source = open_source(settings)
        try:
            opened(source)
            place.execute("UPDATE permit SET note = 'found', sync_flag = 0 WHERE id = 1")
            await_state(source, "1", "found")
            asked = "SELECT COUNT(*) FROM permit WHERE sync_flag = 1"

            def reset() -> bool:
                settle(source)
                with place.open() as connection:
                    return bool(connection.exec_driver_sql(asked).scalar())

            await_condition(reset)
        finally:
            source.close()
    finally:
        granted.forget()


def test_the_grants_of_a_trigger_log_suffice(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make it, by whom the page says, to follow it, and to take it away."""
    monkeypatch.delenv(ADMINISTRATOR_PASSWORD, raising=False)
    granted = Granted(place, "trigger")
    settings = granted.settings("trigger")
    administrator = None if place.kind == "mariadb" else place.owner.render_as_string()
    setup = setup_of(settings)
    try:
        with setup.prepare(print, administrator, None) as preparation:
            preparation.finish()
        assert levels(setup) == {"SOURCE_OK": "ok", "LOG_SIZE": "ok", "LOG_GIVEN_UP": "ok"}

        source = open_source(settings)
        try:
            opened(source)
            place.execute("UPDATE permit SET note = 'found' WHERE id = 1")
            await_state(source, "1", "found")
            place.execute("DELETE FROM permit WHERE id = 1")
            await_state(source, "1", None)

            def emptied() -> bool:
                settle(source)
                return bool(setup.status(()).values["notes"] == 0)

            await_condition(emptied)
        finally:
            source.close()
        setup.remove(print, administrator)
        place.execute("INSERT INTO permit (id, note) VALUES (2, 'the application goes on')")
    finally:
        granted.forget()
