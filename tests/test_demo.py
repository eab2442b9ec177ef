"""The demonstration verifies, stays only when asked to, and leaves nothing behind."""

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from demo.__main__ import main
from demo.parts import Parts
from demo.play import Play
from demo.screen import STEPS, Screen
from tests.agent_process import Installation, uncovered
from tests.checker import Verdict
from tests.services.noida import NoidaBroker
from tests.services.postgres import alive
from tests.waiting import PATIENCE, eventually

SMALL: dict[str, Any] = {"transactions": 50, "big": 200, "rows": 300}
# What `python -m demo` does, with fewer rows
SMALL_DEMO = f"""
import functools, sys
from demo import __main__ as demo
demo.Play = functools.partial(demo.Play, **{SMALL})
sys.exit(demo.main())
"""
VERIFIED = re.compile(
    r"VERIFIED source = front-end = topics: \d+ rows, \d+ events, 0 missing, 0 duplicate"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yields where the demo puts its files.

    The server's unprivileged user can enter it, unlike pytest's own.
    """
    path = Path(tempfile.mkdtemp(prefix="demo-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """The demo, its output in a pipe; `command` are Python's arguments."""
    environment = uncovered() | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def processes(folder: Path) -> list[int]:
    """Every process that was started with a file of the folder or works in it."""
    return [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and _belongs(path, folder) and alive(int(path.name))
    ]


def _belongs(process: Path, folder: Path) -> bool:
    with suppress(OSError):
        return (
            str(folder).encode() in process.joinpath("cmdline").read_bytes()
            or folder in process.joinpath("cwd").readlink().parents
        )
    return False


def assert_nothing_is_left(folder: Path) -> None:
    """No process, no file."""
    eventually(lambda: not processes(folder), what="no process of the demo is left")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_the_demo_verifies_and_leaves_nothing(folder: Path) -> None:
    """Exit 0, the verdict as last line, and everything taken away."""
    with start(folder, "-m", "demo") as demo:
        output, _ = demo.communicate(timeout=2 * PATIENCE)
    assert demo.returncode == 0, output
    assert VERIFIED.fullmatch(output.splitlines()[-1]), output
    assert_nothing_is_left(folder)


@pytest.mark.slow
def test_the_demo_stays_until_it_is_told_to_go(folder: Path) -> None:
    """With --keep the service still answers after the verdict; SIGTERM takes everything away.

    It is played with another front end and client.
    """
    others = ("--front", "mariadb", "--client", "librdkafka")
    with start(folder, "-c", SMALL_DEMO, "--keep", *others) as demo:
        assert demo.stdout is not None
        output = ""
        while not VERIFIED.search(output):
            line = demo.stdout.readline()
            assert line, output
            output += line
        with urllib.request.urlopen(
            output.partition("curl ")[2].split()[0], timeout=5
        ) as answer:  # loopback
            assert answer.status == 200
        demo.terminate()
        demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0
    assert_nothing_is_left(folder)


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """Yields the address of a broker for demonstrations that are played in this process."""
    with NoidaBroker.start() as broker:
        yield broker.bootstrap


def played(kind: type[Play], bootstrap: str, source: str, business: str) -> int:
    """Plays a small demonstration over another source, and returns its exit code."""
    with ExitStack() as everything:
        parts = Parts(kafka=bootstrap, source=source, business=business)
        return kind(Screen(), everything, parts, **SMALL).perform(stays=False)


def test_deletes_that_no_look_shows_are_found(
    bootstrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo over a database that is polled verifies, too, and says what its comparison found.

    The database is MariaDB, at which the agent has the rights of the documents.
    """
    code = played(Play, bootstrap, "polling", "mariadb")
    output = capsys.readouterr().out
    assert code == 0, output
    assert "(MariaDB, polling" in output
    assert " 0 warnings" in output
    assert VERIFIED.fullmatch(output.splitlines()[-1]), output
    assert "70 rows deleted since were found by comparison" in output


def test_a_binary_log_is_followed(bootstrap: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo over MariaDB by its binary log verifies; the agent has the documented rights."""
    code = played(Play, bootstrap, "mysql", "mariadb")
    output = capsys.readouterr().out
    assert code == 0, output
    assert "(MariaDB, binary log" in output
    assert VERIFIED.fullmatch(output.splitlines()[-1]), output


class Tampered(Play):
    """A demonstration in which somebody takes one row from the front end before the comparison."""

    def judge(self, place: Installation) -> Verdict:
        """The comparison, after the deed."""
        with closing(sqlite3.connect(place.front_file, timeout=30)) as connection, connection:
            table = '"居民"'
            assert (
                connection.execute(
                    f"DELETE FROM {table} WHERE rowid = (SELECT min(rowid) FROM {table})"
                ).rowcount
                == 1
            )
        return super().judge(place)


def test_a_missing_row_is_found(
    bootstrap: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verification that cannot fail is worthless.

    The result is not zero, and the difference is named. It is played over a trigger log in SQLite.
    """
    monkeypatch.setattr("tests.agent_process.LASTS", 0.5)  # it lasts
    assert played(Tampered, bootstrap, "trigger", "sqlite") == 1
    output = capsys.readouterr().out
    assert "VERIFIED" not in output
    assert "1 missing" in output
    assert "only in source, topic" in output, output


def test_a_business_database_that_does_not_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is read in PostgreSQL alone: nothing is started."""
    monkeypatch.setattr("sys.argv", ["demo", "--business", "mariadb"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--business" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_behind(folder: Path) -> None:
    """While the agent is at work: exit 130, and no process or file stays."""
    with start(folder, "-m", "demo") as demo:
        assert demo.stdout is not None
        output = ""
        while f"6/{STEPS}" not in output:
            line = demo.stdout.readline()
            assert line, output
            output += line
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 128 + signal.SIGINT, output + rest
    assert_nothing_is_left(folder)
