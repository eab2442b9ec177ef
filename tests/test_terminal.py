"""Tests output on any terminal and into any pipe, and configuration from any editor.

There is never INTERNAL, and never a traceback.
"""

import contextlib
import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.config import Settings, load
from agent.config.display import effective
from agent.config.secret import Secret
from tests.test_config import SMALL

ROOT = Path(__file__).parent.parent
PROGRAM = [sys.executable, "-m", "agent"]
BEYOND = "𠮷"  # outside the first 65,536 characters, as in personal names


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Returns a configuration with Chinese names, whose peers are away."""
    path = tmp_path / "tax.toml"
    text = SMALL.replace('host = "127.0.0.1"', 'host = "127.0.0.1"\nport = 1')
    text = text.replace("public.person", f"公共.人口{BEYOND}").replace('"name"]', '"姓名"]')
    text = text.replace(":9092", ":1")
    head = f'state_directory = "{tmp_path}"\n'
    path.write_text(head + text + '[service]\nlisten = "127.0.0.1:1"\n', encoding="utf-8")
    return path


def run(config: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, "-c", str(config), *arguments],
        cwd=ROOT,
        env={**os.environ, "SYNC_AGENT_LANG": "en", **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "gb2312"},  # has Chinese, not every character
    ],
    ids=["C", "latin-1", "gb2312"],
)
def test_a_terminal_that_cannot_show_a_character(config: Path, environment: dict[str, str]) -> None:
    """show-config is TOML that loads again, `--json` is JSON, the rest is readable."""
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    done = run(config, "show-config", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode("utf-8" if encoding == "ascii" else encoding)
    assert Settings.model_validate(tomllib.loads(shown)) == Settings.model_validate(
        tomllib.loads(effective(load(config)))
    )
    done = run(config, "check", "--all", **environment, SYNC_AGENT_LANG="zh_CN")
    assert done.returncode == 78
    assert b"SOURCE_NETWORK" in done.stdout
    assert b"INTERNAL" not in done.stdout + done.stderr
    found = json.loads(run(config, "check", "--json", **environment).stdout)
    assert "SOURCE_NETWORK" in [finding["code"] for finding in found]


def test_chinese_is_not_forced_on_a_terminal_without_it(config: Path) -> None:
    done = run(config, "status", SYNC_AGENT_LANG="zh_CN", PYTHONIOENCODING="latin-1")
    assert b"NOT_INITIALISED: This agent is not initialised" in done.stderr
    assert "→".encode() not in done.stderr
    assert b"\n  -> " in done.stderr
    done = run(config, "status", SYNC_AGENT_LANG="zh_CN", PYTHONIOENCODING="gbk")
    assert "前置库".encode("gbk") in done.stderr


def test_a_name_that_is_no_text(config: Path) -> None:
    """Bytes of another encoding in a path: shown as escapes."""
    done = subprocess.run(
        [*[part.encode() for part in PROGRAM], b"-c", b"/tmp/\xff.toml", b"check"],
        cwd=ROOT,
        env={**os.environ, "SYNC_AGENT_LANG": "en"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 78
    assert done.stderr.startswith(
        b"CONFIG_INVALID: The configuration /tmp/\\udcff.toml has 1 problem"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "--json"],
        ["show-config", "--schema"],  # larger than a pipe's buffer is
        ["docs", "OPERATIONS.md"],
        ["--help"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_a_reader_that_has_gone(config: Path, arguments: list[str]) -> None:
    """As with `| head -1`, neither INTERNAL nor a traceback is shown.

    stdout and stderr may go into one broken pipe, too.
    """
    for both in (False, True) if arguments in (["check"], ["nonsense"]) else (False,):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [*PROGRAM, "-c", str(config), *arguments],
            cwd=ROOT,
            env={**os.environ, "SYNC_AGENT_LANG": "en"},
            stdout=write,
            stderr=write if both else subprocess.PIPE,
            check=False,
        )
        os.close(write)
        assert done.returncode in (0, 1, 2, 3, 78), (
            done.returncode
        )  # not 120: the interpreter's own flush
        told = done.stderr or b""
        assert b"INTERNAL" not in told
        assert b"Traceback" not in told
        assert b"BrokenPipe" not in told


@pytest.mark.parametrize("arguments", [["check"], ["show-config", "--schema"], ["--version"]])
def test_output_on_a_full_disk_is_told(config: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, "-c", str(config), *arguments],
            cwd=ROOT,
            env={**os.environ, "SYNC_AGENT_LANG": "en"},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == b"Standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(config: Path, closed: str) -> None:
    """As a careless cron job or init script gives them."""
    command = " ".join([*PROGRAM, "-c", str(config), "check", closed])
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, "SYNC_AGENT_LANG": "en"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 78
    assert b"INTERNAL" not in done.stdout + done.stderr


def test_a_mark_at_the_head_of_configuration_and_password(config: Path) -> None:
    """Windows editors save UTF-8 so (byte order mark)."""
    before = load(config)
    text = config.read_text(encoding="utf-8")
    config.write_text(text, encoding="utf-8-sig")
    assert config.read_bytes().startswith(b"\xef\xbb\xbf")
    assert load(config) == before
    password = config.with_name("password")
    password.write_text("geheim\r\n", encoding="utf-8-sig")
    assert Secret(file=str(password)).read("source.password") == "geheim"


def test_an_administrator_is_asked_for_the_password_at_a_terminal(
    config: Path, tmp_path: Path
) -> None:
    """It is not shown while it is typed, nor in the error that follows."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "-c", str(config), "init", "--as", "postgresql://owner@127.0.0.1:1/business"],
        cwd=ROOT,
        env={**os.environ, "SYNC_AGENT_LANG": "en", "HOME": str(tmp_path)},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    ) as process:
        os.close(follower)
        shown = b""
        while b"Password of owner" not in shown:
            shown += os.read(leader, 4096)
        os.write(leader, b"un:hidden\n")
        with contextlib.suppress(OSError):  # the terminal is gone with the process
            while more := os.read(leader, 4096):
                shown += more
    assert process.returncode == 0, shown
    assert b"--as: the connection fails" in shown
    assert b"hidden" not in shown
    os.close(leader)
