"""Tests files and users: what root does once, and what the service's user then meets.

Nobody meets INTERNAL.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.agent_process import Installation, url
from tests.checker.inputs import big_number, name
from tests.checker.unit import SCHEMA, UnitTable
from tests.services.kafka import KafkaAddress
from tests.test_config import SMALL
from tests.waiting import PATIENCE, eventually

ROOT = Path(__file__).parent.parent
NOBODY = 65534
DDL = ' ("id" bigint PRIMARY KEY, "name" text)'
PERSON = UnitTable("person", "person", DDL, {"id": big_number}, {"name": name})

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")

# Commands one after the other in one process of root's. The first is of an agent of root's: what
# the others need has been imported then. The Python of a developer mostly lies where no other user
# can read it; a test of its own asks for that.
AS_ROOT = """
import contextlib, io, json, sys
from agent import files
from agent.cli.commands import execute
warm, *commands = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()):
    execute(warm)
files._program = lambda: ()
sys.exit([execute(arguments) for arguments in commands][-1])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yields a folder that every user can reach; pytest's own are closed to others."""
    made = Path(tempfile.mkdtemp(prefix="users-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def as_root(
    *commands: list[str], lang: str = "en", script: str = AS_ROOT, warm: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs commands as root; the last one's exit code counts."""
    own = Path(commands[0][1]).with_name("warm.toml")
    own.write_text(away(own.parent / "warm"), encoding="utf-8")
    first = warm or ["-c", str(own), "check"]
    return subprocess.run(
        [sys.executable, "-c", script, json.dumps([first, *commands])],
        cwd=ROOT,
        env={**os.environ, "SYNC_AGENT_LANG": lang},
        capture_output=True,
        text=True,
        check=False,
    )


def away(state: Path) -> str:
    """Returns a configuration whose peers are all away."""
    text = SMALL.replace('host = "127.0.0.1"', 'host = "127.0.0.1"\nport = 1')
    head = f'state_directory = "{state}"\n'
    return head + text.replace(":9092", ":1") + '[service]\nlisten = "127.0.0.1:1"\n'


def of_nobody(config: Path, *arguments: str) -> list[str]:
    """Returns the command line as the agent's user gives it.

    It may read this Python wherever that lies, and write nothing more.
    """
    drop = f"--reuid={NOBODY} --regid={NOBODY} --clear-groups"
    read = "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
    program = [sys.executable, "-m", "agent", "-c", str(config), *arguments]
    return ["setpriv", *drop.split(), *read.split(), *program]


def as_nobody(config: Path, *arguments: str, lang: str = "en") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        of_nobody(config, *arguments),
        cwd=ROOT,
        env={**os.environ, "SYNC_AGENT_LANG": lang},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def owners(path: Path) -> set[int]:
    return {part.stat().st_uid for part in (path, *path.rglob("*"))}


def installation(folder: Path, database: str, kafka: KafkaAddress, name: str) -> Installation:
    folder.mkdir()
    place = Installation(folder, database, kafka.bootstrap, name, tables=[PERSON])
    place.write_config()
    return place


def test_what_root_makes_belongs_to_the_agents_user_and_works(
    folder: Path, database: str, kafka: KafkaAddress, topic_prefix: str
) -> None:
    """`init --apply` runs as root, once, then the service as its own user.

    Rows arrive, and no file is root's.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{SCHEMA}"'.encode())
        connection.execute(f'CREATE TABLE "{SCHEMA}"."person"{DDL}'.encode())
        connection.execute(f"""INSERT INTO "{SCHEMA}"."person" VALUES (1, '一')""".encode())
    of_root = installation(folder / "root", database, kafka, f"{topic_prefix}r")
    place = installation(folder / "agent", database, kafka, topic_prefix)
    state = place.directory / "state"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    init = ["init", "--apply", "--as", url(database)]
    made = as_root(["-c", str(place.config), *init], warm=["-c", str(of_root.config), *init])
    assert made.returncode == 0, made.stderr
    assert "root acts as user nobody" in made.stderr
    assert owners(state) == {NOBODY}
    with place.log.open("wb") as log:
        service = subprocess.Popen(
            of_nobody(place.config, "run"), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    try:

        def live() -> bool:
            told = as_nobody(place.config, "status", "--json")
            return bool(json.loads(told.stdout)["exit_code"] == 0)

        eventually(live, 60, "the table is live", 0.5)
        place.verdict()
        assert owners(state) == {NOBODY}
        checked = as_root(
            ["-c", str(place.config), "check", "--json"],
            warm=["-c", str(of_root.config), "check"],
        )
        assert checked.returncode in (0, 78)
        assert "INTERNAL" not in checked.stdout + checked.stderr
        assert owners(state) == {NOBODY}
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(PATIENCE)


# ---- without any service: what can be known is said before anything is asked of one ----


@pytest.fixture
def config(folder: Path) -> Path:
    """Returns an agent whose peers are away, and whose state directory belongs to nobody."""
    path = folder / "tax.toml"
    path.write_text(away(folder / "state"), encoding="utf-8")
    (folder / "state").mkdir()
    os.chown(folder / "state", NOBODY, NOBODY)
    return path


@pytest.fixture
def left_by_root(config: Path) -> Path:
    """Returns the agent's folder and front end as root left them, once."""
    left = config.parent / "state" / "tax"
    left.mkdir(mode=0o750)
    (left / "front.db").touch(0o640)
    return left


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", "User nobody cannot use {left}: it belongs to root"),
        ("zh_CN", "用户 nobody 不能使用 {left}：它归 root 所有"),
    ],
)
def test_what_root_left_is_named_with_its_cure(
    config: Path, left_by_root: Path, lang: str, said: str
) -> None:
    """Commands of the agent's user, and `check` as root."""
    told = {"check of root": as_root(["-c", str(config), "check"], lang=lang)}
    told["init"] = as_nobody(config, "init", "--apply", lang=lang)
    for command in ("check", "status", "verify"):
        if lang == "en":
            told[command] = as_nobody(config, command)
    codes = {command: done.returncode for command, done in told.items()}
    assert codes == {command: 3 if command == "status" else 78 for command in told}
    for done in told.values():
        shown = done.stdout + done.stderr
        assert f"FILE_REFUSED: {said.format(left=left_by_root)}" in shown
        assert f"chown -R nobody: {left_by_root}" in shown
        assert "INTERNAL" not in shown
    assert owners(left_by_root) == {0}


def test_the_service_halts_instead_of_trying_for_ever(config: Path, left_by_root: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("127.0.0.1:1", "127.0.0.1:0"), encoding="utf-8")
    done = as_nobody(config, "run", lang="zh_CN")
    assert done.returncode == 78, done.stderr
    (halted,) = [line for line in done.stderr.splitlines() if " halted " in line]
    assert " code=FILE_REFUSED " in halted
    assert halted.isascii(), "the log is English"


def test_a_file_of_roots_in_the_agents_own_folder(config: Path, left_by_root: Path) -> None:
    os.chown(left_by_root, NOBODY, NOBODY)
    done = as_nobody(config, "status")
    assert done.returncode == 3
    assert f"FILE_REFUSED: User nobody cannot use {left_by_root / 'front.db'}: it" in done.stderr


def test_root_is_refused_where_the_agents_user_could_not_read_the_program(config: Path) -> None:
    """Nothing is made, and `check` says what that user would meet."""
    script = AS_ROOT.replace("files._program = lambda: ()", "files._readable = lambda path: False")
    for command in ("init", "check"):
        done = as_root(["-c", str(config), command], script=script)
        assert done.returncode == 78
        assert done.stderr.startswith("FILE_REFUSED: User nobody cannot use /")
        assert list((config.parent / "state").iterdir()) == []


def test_a_folder_that_cannot_be_made_or_entered(config: Path) -> None:
    (config.parent / "state").rmdir()
    done = as_nobody(config, "init", "--apply")
    assert done.returncode == 78
    wanted = config.parent / "state" / "tax"
    assert f"FILE_REFUSED: User nobody cannot use {wanted}: it does not exist" in done.stderr
    assert f"install -d -m 750 -o nobody {wanted}" in done.stderr
    (config.parent / "state").mkdir(mode=0o700)
    for command in ("check", "status"):
        shown = as_nobody(config, command)
        text = shown.stdout + shown.stderr
        assert f"FILE_REFUSED: User nobody cannot use {wanted}: " in text
        assert "INTERNAL" not in text


def test_a_configuration_that_only_root_can_read(config: Path) -> None:
    """The agent's user cannot: root's `check` says so."""
    config.chmod(0o600)
    done = as_root(["-c", str(config), "check"])
    assert done.returncode == 78
    assert "CONFIG_INVALID" in done.stderr
    assert "Permission denied" in done.stderr
