"""The command line that starts this program once more, as a process of its own."""

import sys
from pathlib import Path


def program(config: Path) -> list[str]:
    """Returns what stands before the name of a command.

    With -P Python takes no module from the current folder, which may be anybody's.
    """
    return [sys.executable, "-P", "-m", "agent", "-c", str(config.absolute())]
