"""A release has one version, which everything that names it has from `agent/__init__.py`."""

import re
import tomllib
from pathlib import Path

import pytest

from agent import __version__

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "README.zh-CN.md", "docs/OPERATIONS.md", "docs/OPERATIONS.zh-CN.md")


def test_the_wheel_takes_the_version_from_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "agent/__init__.py"


def test_the_companion_and_the_agent_are_pinned_to_each_other() -> None:
    agent = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    companion = tomllib.loads((ROOT / "compiled/pyproject.toml").read_text(encoding="utf-8"))
    wanted = agent["project"]["optional-dependencies"]["compiled"]
    assert wanted == [f"unit-sync-agent-compiled=={__version__}"]
    assert companion["project"]["dependencies"] == [f"unit-sync-agent=={__version__}"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_the_wheel_of_this_version(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"unit_sync_agent-([^-]+)-py3", text)) == {__version__}


def test_the_changelog_has_this_version_below_what_comes_next() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    coming, newest, *_ = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert coming == "Unreleased"
    assert re.fullmatch(re.escape(__version__) + r" - \d{4}-\d\d-\d\d", newest)
