"""Makes what version 0.1.0 leaves behind.

Call `python -m tests.upgrade.make` in a clone with its history.

Version 0.1.0 is taken from the history and run by its own test tools (`leave.py`), once for each
kind of front end. A release has no history: so what it leaves is committed, in `made_by_0_1_0`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RELEASED = "b109932"  # version 0.1.0
HERE = Path(__file__).parent
KINDS = ("sqlite", "postgres", "mariadb")


def take_released(tree: Path) -> None:
    """Unpacks the released version from the history into a folder."""
    archive = subprocess.run(["git", "archive", RELEASED], capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(tree)], input=archive.stdout, check=True)


def main() -> int:
    """Takes the released version from the history and lets it work for each kind."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        take_released(tree)

        # From a folder of its own: beside this file `tests` would be the one of today.
        script = Path(folder) / "leave.py"
        shutil.copy(HERE / "leave.py", script)
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        for kind in KINDS:
            made = HERE / "made_by_0_1_0" / kind
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            command = [sys.executable, str(script), kind, str(made)]
            subprocess.run(command, cwd=tree, env=environment, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
