"""Writes constraints.txt: the versions of requirements.lock that an installation holds.

Users install with it (`pip install -c constraints.txt ...`). It names no development tool, and no
hashes: pip would then ask for one of the product's own wheel too.
"""

import sys
from pathlib import Path

from tools.lock import LOCK, locked_lines, shipped

CONSTRAINTS = LOCK.with_name("constraints.txt")
_HEAD = (
    "# The versions this release was tested with, from requirements.lock (make lock renews both).\n"
)


def constraints(lock: Path = LOCK) -> str:
    """Returns the text of constraints.txt."""
    lines = locked_lines(lock)
    return _HEAD + "".join(f"{lines[name]}\n" for name in sorted(lines.keys() & shipped()))


if __name__ == "__main__":
    CONSTRAINTS.write_text(constraints(), encoding="utf-8")
    sys.stdout.write(f"lock: {CONSTRAINTS.name}\n")
