"""Lets Python run the compiled modules of the companion package, where they are of this source.

`unit-sync-agent-compiled` holds the modules of the hot path as mypyc compiles them, unchanged. They
lie in a package of their own and carry the digest of the source that they were built from. They
are taken only if that is the digest of the agent beside them. So a companion of another version, or
of another state of the source, is never run: the agent runs in pure Python then, and says so
(docs/decisions/compiled-wheels.md).
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Literal

# What runs; the last two: pure Python does, for the companion was built for something else
Build = Literal["pure", "compiled", "another source", "another Python"]

COMPANION = "unit_sync_agent_compiled"
_AGENT = Path(__file__).parent


def digest(agent: Path) -> str:
    """Returns the digest of all Python files of the package `agent`, with their names.

    All of them, not only those that are compiled: the compiler puts constants of the others into
    its code. `share` is left out: only an installed agent has it, and it holds documents.
    """
    found = hashlib.sha256()
    for folder, subfolders, files in os.walk(agent):
        subfolders[:] = sorted(set(subfolders) - {"share", "__pycache__"})
        for name in sorted(files):
            if name.endswith(".py"):
                file = Path(folder, name)
                found.update(f"{file.relative_to(agent)}\0".encode())
                found.update(file.read_bytes() + b"\0")
    return found.hexdigest()


class Finder(MetaPathFinder):
    """Finds the compiled modules, before Python finds the files of the same names."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns where a compiled module is; None for every other module."""
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def install() -> Build:
    """Has Python take the modules of the companion if it fits, and returns what runs."""
    try:
        companion = importlib.import_module(COMPANION)
    except ModuleNotFoundError:
        return "pure"
    if digest(_AGENT) != companion.SOURCE:
        return "another source"

    files = {}
    folder = Path(str(companion.__file__)).parent
    for name in companion.MODULES:
        files[name] = folder / (name.replace(".", "/") + EXTENSION_SUFFIXES[0])
    if not all(file.is_file() for file in files.values()):
        return "another Python"
    sys.meta_path.insert(0, Finder(files))
    return "compiled"
