"""The self-test passes on every database that can be had, and leaves nothing behind."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.pool import NullPool

from agent.cli.commands import execute
from agent.connectors.database.session import ADMINISTRATOR_PASSWORD
from agent.connectors.dialects.base import Sample
from agent.connectors.dialects.mariadb import MariaDB
from agent.connectors.dialects.opening import dialect_of
from agent.connectors.dialects.sqlite import SQLite
from agent.connectors.trigger.databases.sqlite import SQLiteLog
from tests.source.databases import DRIVERS, KINDS, Place, place_of


def run(place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Runs the command as the owner of a database: the exit code and the report."""
    owner = place.owner
    if owner.password is not None:
        monkeypatch.setenv(ADMINISTRATOR_PASSWORD, str(owner.password))
    url = owner.set(password=None).render_as_string()
    report = folder / "report.txt"
    code = execute(["selftest", "--url", url, "--report", str(report)])
    return code, report.read_text(encoding="utf-8")


def left(place: Place) -> list[str]:
    """The tables that are there."""
    engine = create_engine(place.owner, poolclass=NullPool)
    names = inspect(engine).get_table_names()
    # SQLite's own, which it never drops
    return [name for name in names if name != "sqlite_sequence"]


@pytest.mark.parametrize(
    "kind", dict.fromkeys([*KINDS, "mysql8", "firebird", *DRIVERS.keys() & {"kingbase"}])
)
def test_everything_passes_and_is_removed(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every type of the dialect, pages, snapshot, three modes of polling, and the trigger log."""
    with place_of(kind, request, tmp_path) as place:
        code, report = run(place, tmp_path, monkeypatch)
        assert (code, "FAILED" in report) == (0, False), report
        dialect = dialect_of(place.url)
        assert dialect is not None
        assert report.count("type ") == len(dialect.samples)
        assert report.count("polling, mode") == 3
        assert report.count("trigger log") == 2
        for secret in (str(tmp_path), "127.0.0.1", place.url.username or "127.0.0.1"):
            assert secret not in report
        assert left(place) == []


def test_what_fails_is_told_and_removed_all_the_same(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value that is read as another one, and triggers that cannot be made."""
    with place_of("sqlite", request, tmp_path) as place:
        monkeypatch.setattr(SQLite, "samples", [Sample("INTEGER", "7", "8")])
        monkeypatch.setattr(SQLiteLog, "create_triggers", lambda _log, _table: ["CREATE NOTHING"])
        monkeypatch.setenv("SYNC_AGENT_LANG", "zh_CN")
        code, report = run(place, tmp_path, monkeypatch)
        assert code == 1
        assert report.count("失败  ") == 2, report
        assert "8" in report
        assert "SOURCE_UNFIT" in report
        assert left(place) == []


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """The report says so, and no more."""
    report = tmp_path / "report.txt"
    url = f"sqlite:///{tmp_path}/none.db"
    assert execute(["selftest", "--url", url, "--report", str(report)]) == 1
    assert "SOURCE_UNREACHABLE" in report.read_text(encoding="utf-8")
    assert str(tmp_path) not in report.read_text(encoding="utf-8")


def test_no_password_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["selftest", "--url", "mysql+pymysql://u:secret@host/db"]) == 2
    said = capsys.readouterr()
    assert "SYNC_AGENT_ADMIN_PASSWORD" in said.err
    assert "secret" not in said.out + said.err


def test_mysql_has_no_type_of_mariadb_alone() -> None:
    """Each dialect tries its own types."""
    dialect = dialect_of(make_url("mysql+pymysql://u@host/db"))
    assert dialect is not None
    names = {sample.declared for sample in dialect.samples}
    assert "UUID" in {sample.declared for sample in MariaDB.samples} - names
