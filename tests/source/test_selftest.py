"""The self-test passes on every database that can be had, and leaves nothing behind."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.pool import NullPool

from agent.cli.commands import execute
from agent.connectors.database.session import ADMINISTRATOR_PASSWORD
from agent.connectors.dialects.base import Sample
from agent.connectors.dialects.mariadb import MariaDB
from agent.connectors.dialects.opening import dialect_of
from agent.connectors.dialects.postgres import PostgreSQL
from agent.connectors.dialects.sqlite import SQLite
from agent.connectors.trigger.databases.sqlite import SQLiteLog
from agent.selftest.log_trials import LogTrials
from agent.selftest.scratch import Scratch, ScratchTable
from agent.selftest.trials import Trial, Trials
from tests.source.databases import DRIVERS, KINDS, Place, place_of


def run(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> tuple[int, str]:
    """Runs the command as the owner of a database: the exit code and the report."""
    owner = place.owner
    if owner.password is not None:
        monkeypatch.setenv(ADMINISTRATOR_PASSWORD, str(owner.password))
    url = owner.set(password=None).render_as_string()
    report = folder / "report.txt"
    code = execute(["selftest", "--url", url, "--report", str(report), *options])
    return code, report.read_text(encoding="utf-8")


def left(place: Place, schema: str | None = None) -> list[str]:
    """The tables that are there."""
    engine = create_engine(place.owner, poolclass=NullPool)
    names = inspect(engine).get_table_names(schema=schema)
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
    """Every type of the dialect, pages, snapshot, each mode of polling, and the trigger log."""
    with place_of(kind, request, tmp_path) as place:
        code, report = run(place, tmp_path, monkeypatch)
        assert (code, "FAILED" in report) == (0, False), report
        dialect = dialect_of(place.url)
        assert dialect is not None
        server = re.search(r"^server ([0-9.]+)$", report, re.MULTILINE)
        version = tuple(map(int, server[1].split("."))) if server else ()
        tried = [sample for sample in dialect.samples if sample.since <= version]
        assert report.count("type ") == len(tried)
        assert report.count("polling, mode") == 4
        assert report.count("trigger log") == 2
        assert len(re.findall(r", [0-9]+ statements\)", report)) == report.count("passed  ")
        for secret in (str(tmp_path), "127.0.0.1", place.url.username or "127.0.0.1"):
            assert secret not in report
        assert left(place) == []


def few(monkeypatch: pytest.MonkeyPatch, *titles: str) -> None:
    """Leaves out every trial whose title begins with none of these."""
    every = Trials.__iter__

    def chosen(trials: Trials) -> Iterator[Trial]:
        return (trial for trial in every(trials) if trial.title.startswith(titles))

    monkeypatch.setattr(Trials, "__iter__", chosen)


# A schema beside the user's own, where the database has such
SCHEMAS = {
    "postgresql": ("CREATE SCHEMA prüfung", "DROP SCHEMA prüfung"),
    "mariadb": ("CREATE DATABASE selftest_schema", "DROP DATABASE selftest_schema"),
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_that_the_administrator_names(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tables and triggers are made there alone, and what else it holds stays."""
    few(monkeypatch, "pages", "polling", "trigger log")
    create, drop = SCHEMAS[kind]
    schema = create.split()[-1]
    with place_of(kind, request, tmp_path) as place:
        place.execute(create, f"CREATE TABLE {schema}.others (id INTEGER PRIMARY KEY)")
        try:
            code, report = run(place, tmp_path, monkeypatch, "--schema", schema)
            assert (code, "FAILED" in report) == (0, False), report
            assert report.count("passed  ") == 10, report
            assert schema not in report
            assert (left(place), left(place, schema)) == ([], ["others"])

            # What another run has left may be of use to somebody
            place.execute(f"CREATE TABLE {schema}.sync_agent_st_0 (id INTEGER PRIMARY KEY)")
            code, report = run(place, tmp_path, monkeypatch, "--schema", schema)
            assert code == 1
            assert "the schema holds 1 tables of another self-test" in report
            assert len(left(place, schema)) == 2
        finally:
            place.execute(
                f"DROP TABLE IF EXISTS {schema}.others",
                f"DROP TABLE IF EXISTS {schema}.sync_agent_st_0",
                drop,
            )


def test_a_schema_that_is_not_there(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made anywhere; Firebird knows no schemas at all."""
    for kind, reason in (("sqlite", "no such schema"), ("firebird", "Firebird has no schemas")):
        with place_of(kind, request, tmp_path) as place:
            code, report = run(place, tmp_path, monkeypatch, "--schema", "nowhere")
            assert (code, reason in report) == (1, True), report
            assert left(place) == []


@pytest.mark.parametrize("kind", ["sqlite", "mariadb", "mysql8"])
def test_texts_in_another_encoding(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Columns of each length, a key, and what looks find."""
    few(monkeypatch, "type", "rows by key", "polling, texts")
    with place_of(kind, request, tmp_path) as place:
        dialect = dialect_of(place.url)
        assert dialect is not None
        monkeypatch.setattr(type(dialect), "samples", ())
        code, report = run(place, tmp_path, monkeypatch, "--encoding", "gb18030")
        assert (code, "FAILED" in report) == (0, False), report
        assert report.count("texts in gb18030") == len(dialect.recoded) + 2
        assert left(place) == []


def test_an_encoding_that_cannot_be_tried(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a database that tests what texts are, and a name that means none."""
    with place_of("firebird", request, tmp_path) as place:
        url = place.owner.render_as_string()
        report = str(tmp_path / "report.txt")
        execute(["selftest", "--url", url, "--report", report, "--encoding", "gbk"])
        assert "Firebird has no texts in another encoding" in capsys.readouterr().err
        assert execute(["selftest", "--url", url, "--encoding", "nothing"]) == 2
        assert "--encoding" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_removes_what_it_has_made(
    number: signal.Signals,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The signal comes when a trigger log is there, and its transaction is under way."""
    few(monkeypatch, "trigger log", "polling")

    def interrupted(_source: object, _key: str, _note: str | None) -> int:
        signal.raise_signal(number)
        return 0

    monkeypatch.setattr("agent.selftest.log_trials.await_state", interrupted)
    before = signal.getsignal(number)
    with place_of("sqlite", request, tmp_path) as place:
        code, report = run(place, tmp_path, monkeypatch)
        assert code == 130
        assert "interrupted: what would have come next was not tried" in report
        assert "trigger log: removed" not in report
        assert "passed  everything removed" in report
        assert left(place) == []
    assert signal.getsignal(number) == before


def test_a_removal_that_is_interrupted_says_what_is_left(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The statements that are shown take it away; the report has how many, and no name."""
    few(monkeypatch, "polling, mode = compare", "trigger log")

    def interrupted(*_given: object) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr("agent.selftest.log_trials.await_state", interrupted)
    monkeypatch.setattr(Scratch, "drop", interrupted)
    monkeypatch.setattr(LogTrials, "remove", lambda _trials: None)
    with place_of("sqlite", request, tmp_path) as place:
        code, report = run(place, tmp_path, monkeypatch)
        assert code == 130
        said = capsys.readouterr().out
        assert "Left in the database" in said
        statements = re.findall(r"^  (DROP .*);$", said, re.MULTILINE)
        assert f"{len(statements)} statements are needed" in report
        assert len(left(place)) == 3
        place.execute(*statements)
        assert left(place) == []


def test_a_server_that_comes_back_is_waited_for(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes away in the middle of a trial, and is there again when everything is removed."""
    few(monkeypatch, "pages")
    away = tmp_path / "away.db"
    with place_of("sqlite", request, tmp_path) as place:
        file = Path(str(place.owner.database))
        filled = Scratch.filled

        def lost(scratch: Scratch, name: str) -> ScratchTable:
            table = filled(scratch, name)
            file.rename(away)
            return table

        monkeypatch.setattr(Scratch, "filled", lost)
        monkeypatch.setattr("agent.selftest.running.time.sleep", lambda _: away.rename(file))
        code, report = run(place, tmp_path, monkeypatch)
        assert code == 1
        assert "SOURCE_UNREACHABLE" in report
        assert "passed  everything removed" in report
        assert left(place) == []


def test_a_session_that_is_ended(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trial fails, the next ones go on, and everything is removed."""
    ends = Sample("integer", "pg_terminate_backend(pg_backend_pid())::int", "1")
    monkeypatch.setattr(PostgreSQL, "samples", [ends, Sample("integer", "2", "2")])
    few(monkeypatch, "type")
    with place_of("postgresql", request, tmp_path) as place:
        code, report = run(place, tmp_path, monkeypatch)
        assert code == 1
        assert report.count("FAILED  ") == 1, report
        assert report.count("passed  ") == 3, report
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
