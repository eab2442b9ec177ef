"""Reads the packets of a connection that has asked for the log, as far as they have come.

PyMySQL has opened the connection, with its TLS and login. It reads whole answers only, and waits
for them; the log has no end, and nobody may wait for it longer than allowed.
Source: MySQL's "Protocol::Packet": three bytes for the length, one that counts; a packet of the
greatest length goes on in the next one.
"""

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from agent import stop_watch

_HEAD: Final = 4
_GREATEST: Final = 0xFFFFFF
_CHUNK: Final = 1 << 18


class LineClosed(OSError):
    """The server has closed the connection."""


class Packets:
    """The packets that come over a connection; whoever uses it reads nothing else from there."""

    def __init__(self, line: socket.socket, begun: bytes = b"") -> None:
        """`begun`: bytes that somebody else has taken from the line already."""
        self._line = line
        self._waiting = bytearray(begun)

    def arrived(self, timeout: float) -> Iterator[bytes]:
        """Yields each whole packet that has come; waits at most so many seconds for the first.

        It waits no longer than until the process is to stop.
        Raises OSError where the line breaks, LineClosed where the server has closed it.
        """
        while True:
            packet = self._take()
            while packet is not None:
                timeout = 0.0
                yield packet
                packet = self._take()
            if not self._receive(timeout):
                return

    def _receive(self, timeout: float) -> bool:
        """Takes what has come from the line; False: nothing has."""
        pending = isinstance(self._line, ssl.SSLSocket) and self._line.pending()
        if not pending and not stop_watch.wait(timeout, self._line.fileno()):
            return False
        try:
            data = self._line.recv(_CHUNK)
        except ssl.SSLWantReadError:
            return False
        if not data:
            raise LineClosed("the server has closed the connection")
        self._waiting += data
        return True

    def _take(self) -> bytes | None:
        """Returns the first packet that is whole; None where there is none yet."""
        parts = []
        start = 0
        while True:
            begin = start + _HEAD
            if len(self._waiting) < begin:
                return None
            size = int.from_bytes(self._waiting[start : start + 3], "little")
            end = begin + size
            if len(self._waiting) < end:
                return None
            parts.append(bytes(self._waiting[begin:end]))
            start = end
            if size < _GREATEST:
                break
        del self._waiting[:start]
        return b"".join(parts)
