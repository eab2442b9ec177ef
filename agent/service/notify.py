"""Tells systemd how the service is, in the protocol of sd_notify(3).

A message is a datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET names. Without that
variable nobody listens, and nothing is sent.
"""

import contextlib
import math
import os
import socket
import time

# While the service begins, systemd is asked for this much more patience with each sign of life
_MORE_SECONDS = 60.0
_BEGIN_SECONDS = 10.0  # between two signs of life where no watchdog says how many it wants
_MICROSECONDS = 1_000_000


class Notifier:
    """The way to systemd; no method waits, fails or needs systemd to be there."""

    def __init__(self, address: str = "", watchdog_seconds: float = math.inf) -> None:
        """Takes the socket's name, '' for none, and after how much silence systemd ends us."""
        # A name in Linux's abstract namespace is written with @ and begins with a zero byte
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every = min(watchdog_seconds / 2, _BEGIN_SECONDS)
        self._alive_at = -math.inf
        self._ready = False
        self._status = ""

    @classmethod
    def from_environment(cls) -> "Notifier":
        """Makes the notifier that the environment asks for, and takes the request out of it.

        Child processes would otherwise believe that it is meant for them.
        """
        address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        process = os.environ.pop("WATCHDOG_PID", "")
        for_us = process in ("", str(os.getpid()))
        seconds = int(microseconds) / _MICROSECONDS if microseconds and for_us else math.inf
        return cls(address, seconds)

    def ready(self) -> None:
        """Reports that the service works, for the first time or after a reload."""
        self._ready = True
        self._send("READY=1")

    def reloading(self) -> None:
        """Reports that the service takes up its configuration anew; `ready` ends it."""
        self._ready = False
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Reports that the service ends."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Reports one line for `systemctl status`, if it is a new one."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self, now: float) -> None:
        """Gives a sign of life at time `now` of time.monotonic(), if one is due.

        To be called only while the service makes progress: it is what feeds the watchdog. While
        the service begins, it also asks for more time, for a peer may be away for hours.
        """
        if now < self._alive_at:
            return
        self._alive_at = now + self._every
        more = [] if self._ready else [f"EXTEND_TIMEOUT_USEC={int(_MORE_SECONDS * _MICROSECONDS)}"]
        self._send("WATCHDOG=1", *more)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            # Full, or systemd is being restarted: the next message says it
            with contextlib.suppress(OSError):
                line.sendto("\n".join(lines).encode(), self._address)
