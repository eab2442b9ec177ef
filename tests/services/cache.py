"""Keeps what the tests download or build in the user's cache.

It is filled once, safely when several processes want one at once.
"""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path


def cached(name: str, what: str, fill: Callable[[Path], object]) -> Path:
    """Returns the folder of that name, made by `fill` on first use.

    It appears only when complete; meanwhile `what` is shown.
    """
    base = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unit-sync-agent-tests"
    )
    folder, partial = base / name, base / f"{name}.partial"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            say(f"{what}, once ...")
            began = time.monotonic()
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fill(partial)
            partial.rename(folder)
            say(f"{what}: {len(list(folder.iterdir()))} files in {time.monotonic() - began:.0f} s")
    return folder


def say(line: str) -> None:
    """Prints progress."""
    print(line, file=sys.stderr, flush=True)
