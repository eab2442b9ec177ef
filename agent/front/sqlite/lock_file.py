"""The lock file beside a SQLite front end: who holds it, and whether its last holder ended clean.

The lock is flock; the kernel gives it back when the process dies.
"""

import fcntl
import os
from pathlib import Path

from agent.errors import AnotherAgent, FrontUnreachable
from agent.files import refused
from agent.front.sqlite import file as sqlite_file
from agent.messages import phrase, system_reason


class LockFile:
    """Holds one lock file from its making until `release`."""

    def __init__(self, database: Path, ending: str) -> None:
        """Takes the lock. Raises AnotherAgent, FileRefused, FrontUnreachable."""
        path = database.with_name(database.name + ending)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise refused(database) or FrontUnreachable(reason=system_reason(error)) from None

        held = os.pread(descriptor, 40, 0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            holder = held.decode(errors="replace").strip()
            raise AnotherAgent(holder=phrase("process {holder}", holder=holder)) from None

        self._descriptor = descriptor

        # The number of the commit at which the last holder ended clean; None where it did not
        self.clean_end = sqlite_file.ended_clean(held)
        self._write(f"{os.getpid()}\n".encode())

    def _write(self, text: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)
        os.fsync(self._descriptor)

    def note_clean_end(self, mark: int) -> None:
        """Notes that this process has come to a clean end at this commit."""
        self._write(sqlite_file.clean_end(mark))

    def release(self) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)
