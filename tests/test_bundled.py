"""Tests what comes with the program, in a wheel that is built as a user builds it.

It holds configuration, unit and runbooks, and shows them.
"""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from agent import __version__
from agent.cli import bundled
from agent.cli.commands import execute
from tools import manual
from tools.constraints import CONSTRAINTS, constraints
from tools.lock import pins, shipped

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the wheel's files, where nothing of the project's checkout is near."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("unit_sync_agent-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def installed(site: Path, *arguments: str, lang: str = "en") -> subprocess.CompletedProcess[str]:
    """`sync-agent` as the wheel has it; its libraries are those of this environment."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "agent", *arguments],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site), "SYNC_AGENT_LANG": lang},
        text=True,
        capture_output=True,
        check=False,
    )


def said_by(ended: subprocess.CompletedProcess[str]) -> str:
    """Returns what the command printed, and fails with its errors when it did not succeed."""
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_wheel_holds_all_that_an_installation_needs(unpacked: Path) -> None:
    listed = said_by(installed(unpacked, "docs", "--list")).split()
    assert listed == bundled.names()
    assert {
        "README.md",
        "constraints.txt",
        "config/agent.example.toml",
        "deploy/prometheus/alerts.yml",
        "deploy/systemd/sync-agent@.service",
        "docs/OPERATIONS.md",
        "docs/OPERATIONS.zh-CN.md",
        "docs/decisions/checks.md",
    } <= set(listed)
    for name in listed:
        assert (unpacked / "agent/share" / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_wheel_prints_configuration_unit_and_runbook(unpacked: Path) -> None:
    example = said_by(installed(unpacked, "example-config"))
    assert tomllib.loads(example) == tomllib.loads(
        (ROOT / "config/agent.example.toml").read_text(encoding="utf-8")
    )
    unit = said_by(installed(unpacked, "docs", "sync-agent@.service"))
    assert "ExecStart=/usr/bin/sync-agent" in unit
    assert installed(unpacked, "docs", "SLOT_LOST").stdout.startswith("### SLOT_LOST\n\nHalt. ")
    chinese = installed(unpacked, "docs", "SLOT_LOST", lang="zh_CN").stdout
    assert chinese.startswith("### SLOT_LOST\n\n停机")


@pytest.mark.parametrize(
    ("wanted", "lang", "begins"),
    [
        ("docs/OPERATIONS.md", "zh_CN", "# Operations\n"),
        ("OPERATIONS.zh-CN.md", "en", "# 运维手册\n"),
        ("OPERATIONS", "zh_CN", "# 运维手册\n"),
        ("OPERATIONS", "en", "# Operations\n"),
        ("events.md", "zh_CN", "# "),
        ("AgentDown", "en", "### AgentDown\n\nCritical. "),
        ("AgentDown", "zh_CN", "### AgentDown\n\n严重。"),
    ],
)
def test_a_page_is_found_by_path_name_and_language(
    wanted: str,
    lang: str,
    begins: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", lang)
    assert execute(["docs", wanted]) == 0
    assert capsys.readouterr().out.startswith(begins)


def test_documents_are_written_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["docs", str(tmp_path)]) == 0
    for name in bundled.names():
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    assert execute(["docs", "nonsense.md"]) == 2
    assert "sync-agent docs --list" in capsys.readouterr().err


def test_version_as_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out == f"sync-agent {__version__}\n"


def test_constraints_are_the_lock_without_tools_and_hashes() -> None:
    text = CONSTRAINTS.read_text(encoding="utf-8")
    assert text == constraints(), "python -m tools.constraints renews it"
    locked = {pin.name: pin.version for pin in pins()}
    lines = [line.split(" ;")[0] for line in text.splitlines() if not line.startswith("#")]
    assert dict(line.split("==") for line in lines) == {name: locked[name] for name in shipped()}


@pytest.mark.parametrize("language", list(manual.PAGES))
def test_the_manual_pages_are_what_the_commands_say(language: str) -> None:
    """Give `python -m tools.manual` after a change."""
    kept = (manual.FOLDER / manual.PAGES[language]).read_text(encoding="utf-8")
    assert kept == manual.made(language)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    """As the runbook says: the script, and what it asks for."""
    script = subprocess.run(
        [sys.executable, "-m", "agent"],
        env={**os.environ, "_SYNC_AGENT_COMPLETE": f"{shell}_source"},
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert f"_SYNC_AGENT_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], ("用法：", "选项", "命令", "显示本帮助并退出。", "[选项] 命令 [参数]...")),
        (["nonsense"], ("错误：没有命令 'nonsense'。", "用法说明见 'sync-agent --help'。")),
        (["status", "--jsn"], ("错误：没有选项 '--jsn'。", "'--json'")),
        (["resume"], ("错误：缺少参数", "[选项]")),
        (["version", "a", "b"], ("错误：多余的参数（a b）",)),
        (["init", "--as"], ("错误：选项 '--as' 后缺少值。",)),
        (["init", "--apply=x"], ("错误：选项 '--apply' 不带值。",)),
    ],
)
def test_the_words_of_the_command_line_are_chinese(
    arguments: list[str],
    said: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", "zh_CN")
    if arguments == ["--help"]:  # the language of the help is the one the program was started in
        shown = said_by(installed(ROOT, *arguments, lang="zh_CN"))
    else:
        execute(arguments)
        captured = capsys.readouterr()
        shown = captured.out + captured.err
    assert all(text in shown for text in said), shown
    for english in ("Usage", "Options", "Commands", "Error", "Try ", "Show this", "No such"):
        assert english not in shown
