"""Compiled modules run only beside the very source that they were built from."""

import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from agent import compiled
from agent.compiled import COMPANION, Build, digest
from agent.preflight import service_checks

AGENT = Path(compiled.__file__).parent
NAMES = ("agent.values.forms", "agent.resource")


@pytest.fixture
def companion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A companion of this source, alone on Python's path; its modules are empty files."""
    folder = tmp_path / COMPANION
    for name in NAMES:
        file = folder / (name.replace(".", "/") + EXTENSION_SUFFIXES[0])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    describe(folder, digest(AGENT))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.delitem(sys.modules, COMPANION, raising=False)
    yield folder
    sys.modules.pop(COMPANION, None)


def describe(folder: Path, source: str) -> None:
    text = f"SOURCE = {source!r}\nMODULES = {NAMES!r}\n"
    (folder / "__init__.py").write_text(text, encoding="utf-8")


def test_a_companion_of_this_source_is_taken(companion: Path) -> None:
    assert compiled.install() == "compiled"
    spec = sys.meta_path[0].find_spec(NAMES[0], None)
    assert spec is not None
    assert spec.origin == str(companion / f"agent/values/forms{EXTENSION_SUFFIXES[0]}")
    assert sys.meta_path[0].find_spec("agent.values.writing", None) is None


def test_one_of_another_source_is_not(companion: Path) -> None:
    describe(companion, "0" * 64)
    before = list(sys.meta_path)
    assert compiled.install() == "another source"
    assert sys.meta_path == before


def test_one_for_another_python_is_not(companion: Path) -> None:
    (companion / f"agent/resource{EXTENSION_SUFFIXES[0]}").unlink()
    assert compiled.install() == "another Python"


def test_without_one_python_runs(companion: Path) -> None:
    shutil.rmtree(companion)
    assert compiled.install() == "pure"


@pytest.mark.parametrize("change", ["edited", "added", "removed", "renamed"])
def test_each_change_of_the_source_makes_it_another(tmp_path: Path, change: str) -> None:
    copy = tmp_path / "agent"
    shutil.copytree(AGENT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert digest(copy) == digest(AGENT)

    file = copy / "publish" / "partition.py"
    if change == "edited":
        file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    elif change == "added":
        (copy / "publish" / "further.py").touch()
    elif change == "removed":
        file.unlink()
    else:
        file.rename(file.with_name("partitions.py"))
    assert digest(copy) != digest(AGENT)


def test_documents_of_an_installed_agent_are_no_source(tmp_path: Path) -> None:
    copy = tmp_path / "agent"
    shutil.copytree(AGENT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    examples = copy / "share" / "docs"
    examples.mkdir(parents=True)
    (examples / "example.py").touch()
    (copy / "locale" / "further.mo").touch()
    assert digest(copy) == digest(AGENT)


@pytest.mark.parametrize(
    ("build", "level"),
    [("compiled", "ok"), ("another source", "warning"), ("another Python", "warning")],
)
def test_check_says_what_runs(monkeypatch: pytest.MonkeyPatch, build: Build, level: str) -> None:
    monkeypatch.setattr(service_checks, "BUILD", build)
    (finding,) = service_checks.check_build()
    assert (finding.code, finding.level) == ("COMPILED", level)
    assert bool(finding.fix) == (level == "warning")


def test_check_says_nothing_of_a_pure_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_checks, "BUILD", "pure")
    assert service_checks.check_build() == []
