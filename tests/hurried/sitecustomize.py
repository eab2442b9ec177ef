"""Gives constants of the agent other values, in every process with this folder on PYTHONPATH.

Python imports a module of this name when it starts. SYNC_TEST_CONSTANTS says which constants, as in
`agent.capture.loop._CATALOGUE=1.0`, separated by spaces.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

wanted: dict[str, dict[str, float]] = {}
for word in os.environ.get("SYNC_TEST_CONSTANTS", "").split():
    name, _, value = word.partition("=")
    module, _, constant = name.rpartition(".")
    wanted.setdefault(module, {})[constant] = float(value)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules in which something changes, and changes it once they are loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See MetaPathFinder."""
        if fullname not in wanted:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.loader is not None
        loader: Any = spec.loader
        load = loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            for constant, value in wanted[fullname].items():
                assert hasattr(module, constant), f"{fullname} has no {constant}"
                setattr(module, constant, value)

        loader.exec_module = load_and_change
        return spec


sys.meta_path.insert(0, Finder())
