"""systemd's end of the socket over which services say how they are, as far as they can see it."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from tests.waiting import PATIENCE


class Systemd:
    """Hears the messages of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(PATIENCE)

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[Self]:
        """Listens in a folder of its own: the name of a socket has at most 107 bytes."""
        with tempfile.TemporaryDirectory() as folder:
            made = cls(Path(folder) / "notify")
            with closing(made.socket):
                yield made

    def messages(self) -> list[str]:
        """Returns all messages sent so far that nobody has read."""
        found = []
        self.socket.setblocking(False)
        try:
            while True:
                found.append(self.socket.recv(65536).decode())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(PATIENCE)

    def hear(self, *beginnings: str) -> None:
        """Waits for lines that begin so, in this order; others may come in between."""
        wanted = list(beginnings)
        while wanted:
            for line in self.socket.recv(65536).decode().split("\n"):
                if wanted and line.startswith(wanted[0]):
                    del wanted[0]
