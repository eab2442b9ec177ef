"""Sets a wall clock that jumps, for processes that are started with its environment.

Their monotonic clocks go on as they are.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

from tests.services.processes import run

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """Is right until it jumps. It needs a C compiler.

    How wrong it is, is kept in a file in `directory`, so that processes that are started later see
    the same.
    """

    def __init__(self, directory: Path) -> None:
        self._library = directory / "clock.so"
        run(["cc", "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE, "-ldl", "-pthread"])
        self._file = directory / "clock"
        self._file.write_bytes(bytes(8))

    def jump(self, seconds: int) -> None:
        """Makes the clock wrong by so much from now on, at once for all."""
        with self._file.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), struct.pack("<q", seconds), 0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a process look at it."""
        return {"LD_PRELOAD": str(self._library), "WRONG_CLOCK": str(self._file)}
