"""Builds the compiled modules when the companion's wheel is built."""

import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the source that is compiled, and what compiles it


class Compiled(BuildHookInterface):  # type: ignore[type-arg]
    """Has the modules compiled into a folder, and that folder taken into the wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Returns what a build needs: the compiler, and the agent's packages for their types."""
        from tools.lock import locked_lines

        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = locked_lines()
        needed = ["mypy", "setuptools"]
        for requirement in project["dependencies"]:
            needed.append(requirement.partition(">")[0])
        return [lines[name] for name in needed]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the build."""
        from tools.companion import build

        folder = Path(self.root, "build")
        shutil.rmtree(folder, ignore_errors=True)
        build(folder)
        for part in folder.iterdir():
            build_data["force_include"][str(part)] = part.name
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
