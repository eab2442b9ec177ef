"""Tests the support bundle where nothing runs: what is missing is said, and the rest is there."""

import stat
from pathlib import Path

import pytest

from agent.cli.commands import execute
from agent.config import load
from agent.support.bundle import CONTENTS, pack
from agent.support.parts import Part, parts
from tests.bundles import texts_in

CONFIG = """
state_directory = "{folder}"
[source]
host = "127.0.0.1"
port = 1
database = "business"
user = "agent"
[front]
url = "postgresql+psycopg://agent@127.0.0.1:1/front"
password = { file = "{folder}/password" }
[kafka]
bootstrap_servers = ["127.0.0.1:1"]
prefix = "unit"
[service]
listen = "127.0.0.1:1"
[[resource]]
name = "person"
table = "public.person"
columns = ["id"]
filter = [{ column = "district", is_in = ["of a row]"] }]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    (tmp_path / "password").write_text("hidden")
    path.write_text(CONFIG.replace("{folder}", str(tmp_path)), encoding="utf-8")
    return path


def broken() -> str:
    raise OSError("with a row's value")


def test_a_part_that_fails_is_named_and_the_others_are_there(tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    said: list[str] = []
    made = [Part("a.txt", lambda: "all is well"), Part("b.txt", broken)]
    assert pack(target, made, said.append) == ["b.txt"]
    assert said == ["a.txt", "b.txt"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    found = texts_in(target)
    assert found["a.txt"] == "all is well"
    assert "b.txt: not collected: OSError\n" in found[CONTENTS]
    assert "value" not in found[CONTENTS]


def test_passwords_and_values_in_filters_are_left_out(config: Path, tmp_path: Path) -> None:
    """Nothing runs and no peer answers: what can be known is there all the same."""
    target = tmp_path / "bundle.tar.gz"
    missing = pack(target, parts(config, load(config)), lambda part: None)
    assert missing == ["metrics.txt", "ready.json"]
    found = texts_in(target)
    shown = found["configuration.toml"]
    assert 'filter = "(left out)"' in shown
    assert "public.person" in shown
    assert "of a row" not in shown
    assert "hidden" not in "".join(found.values())
    assert "SOURCE_NETWORK" in found["check.json"]


def test_no_module_of_the_current_folder_is_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root gives the command in a folder that may be anybody's."""
    foreign = tmp_path / "agent"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise SystemExit('foreign')")
    monkeypatch.chdir(tmp_path)
    made = {part.file: part for part in parts(config, load(config))}
    assert "public.person" in made["configuration.toml"].collect()


def test_a_wrong_configuration_is_part_of_what_is_told(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("nonsense", encoding="utf-8")
    target = tmp_path / "bundle.tar.gz"
    assert execute(["-c", str(config), "doctor", "--output", str(target)]) == 0
    assert "CONFIG_INVALID" in capsys.readouterr().err
    assert "CONFIG_INVALID" in texts_in(target)["status.json"]


def test_no_file_is_replaced(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bundle.tar.gz"
    target.write_text("kept")
    assert execute(["-c", str(config), "doctor", "--output", str(target)]) != 0
    assert "--output" in capsys.readouterr().err
    assert target.read_text() == "kept"
