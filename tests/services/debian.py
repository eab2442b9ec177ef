"""A Debian host of the tests: booted with its own systemd, without any network but loopback.

The base system is fetched once (debootstrap) and never changed: what a host writes is lost with it.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from tests.services.cache import cached
from tests.services.postgres import child_pids
from tests.services.processes import HOST, ServerProcess, Workspace, run
from tests.services.proxy import TcpProxy
from tests.waiting import eventually

# The release whose Python is the one of the tests: the archive is made for that version
RELEASES = {(3, 11): "bookworm", (3, 13): "trixie"}
# What a server has that somebody logs in to, and not one package more
PACKAGES = "systemd,systemd-sysv,dbus,python3,sudo"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def base_system() -> Path:
    """Returns the folder of Debian's files, fetched on first use."""
    release = RELEASES[sys.version_info[:2]]

    def fetch(folder: Path) -> None:
        run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, folder])
        (folder / "etc/hostname").write_text("unit\n")
        (folder / "etc/hosts").write_text("127.0.0.1 localhost unit\n")

    return cached(f"debian-{release}", f"Debian {release}, fetching its packages (100 MB)", fetch)


def may_boot() -> bool:
    """Tells whether this user may boot a host; in some containers not even root may.

    A host that lacks `systemd-nspawn` is none of these: the test is run there, and fails.
    """
    if os.geteuid() != 0:
        return False
    nspawn = shutil.which("systemd-nspawn")
    if nspawn is None:
        return True

    # This machine's own programs in a root that is thrown away
    command = [nspawn, "--quiet", "--register=no", "--keep-unit", "--console=pipe"]
    command += ["--private-network", "--volatile=yes", "--directory=/", "/usr/bin/true"]
    tried = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, capture_output=True)
    return tried.returncode == 0


class DebianHost:
    """A running host. `folder` of this machine lies in its /mnt, read-only."""

    def __init__(self, process: ServerProcess) -> None:
        def begun() -> list[int]:
            process.check()
            # Another child comes before it, and goes
            return [
                pid
                for pid in child_pids(process.pid)
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"
            ]

        # systemd of the host
        self._first = eventually(begun, what="the host boots")[0]
        self._lines = ExitStack()

    @classmethod
    @contextmanager
    def booted(cls, folder: Path) -> Iterator[Self]:
        """Boots a host and waits until its systemd is content; ends it afterwards."""
        workspace = Workspace("debian")
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe"]
        command += ["--private-network", "--volatile=overlay", f"--bind-ro={folder}:/mnt"]
        command += ["--directory", str(base_system()), "--machine", "unit", "--boot"]
        process = ServerProcess(command, workspace.path / "console.log")
        host = None
        try:
            host = cls(process)
            eventually(
                lambda: host.run("systemctl", "is-system-running", check=False) == "running\n",
                what="the host has booted",
            )
            yield host
        finally:
            if host is not None:
                host.close()
            process.stop(signal.SIGKILL)
            workspace.close()

    def run(self, *command: str, check: bool = True, **variables: str) -> str:
        """Runs a command as root and returns what it prints; a failure shows that."""
        entered = ["nsenter", "--target", str(self._first), "--all", "--root", "--wd"]
        done = subprocess.run(
            [*entered, *command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "HOME": "/root", "LANG": "C.UTF-8", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def paste(self, lines: str) -> str:
        """Runs lines as somebody pastes them into a shell; the first that fails ends it."""
        return self.run("bash", "-e", "-o", "pipefail", "-c", f"cd /root\n{lines}")

    def reaches(self, port: int, upstream: int) -> None:
        """Lets the host reach a server of this machine on its own loopback, under this port."""
        listener = self._listening(port)
        proxy = TcpProxy(HOST, upstream, listener)
        self._lines.callback(proxy.close)

    def close(self) -> None:
        """Ends the host, as a power cut does."""
        self._lines.close()
        os.kill(self._first, signal.SIGKILL)

    def _listening(self, port: int) -> socket.socket:
        """Returns a socket that listens inside the host; a socket stays where it was made."""
        ours, theirs = Path("/proc/thread-self/ns/net"), Path(f"/proc/{self._first}/ns/net")
        with ours.open() as here, theirs.open() as there:
            assert _LIBC.setns(there.fileno(), _CLONE_NEWNET) == 0
            try:
                return socket.create_server((HOST, port))
            finally:
                assert _LIBC.setns(here.fileno(), _CLONE_NEWNET) == 0
