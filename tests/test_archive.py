"""The archive for hosts without network: installed, upgraded, gone back from and removed by root.

It happens in a copy of this machine's files that is thrown away (overlayfs), without any network.
systemd does not run there; where it matters a stand-in notes what it is told.
"""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools import archive, packages
from tools.lock import LOCK

ROOT = LOCK.parent
HOME, CONFIG = Path("/opt/unit-sync-agent"), Path("/etc/unit-sync-agent")
OLD, BROKEN = "0.0.1", "0.0.2"
# What it takes to build the product's wheel
SOURCES = ("agent", "config", "deploy", "docs", "constraints.txt", "hatch_build.py", "LICENSE",
           "pyproject.toml", "README.md", "README.zh-CN.md")  # fmt: skip
MOUNTS = """set -e
mount -t tmpfs tmpfs {0}
mkdir {0}/changed {0}/work {0}/root
mount -t overlay overlay -o lowerdir=/,upperdir={0}/changed,workdir={0}/work {0}/root
mount -t proc proc {0}/root/proc
mount --rbind /dev {0}/root/dev
mount --bind {1} {0}/root/mnt
echo mounted
exec sleep infinity
"""
# And the Python that the archive was made with, where the host has no other of its version
PATH = f"/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{sys.base_prefix}/bin"
# Notes what it is told; every agent of the host counts as running
SYSTEMCTL = '#!/bin/sh\necho "$@" >> /run/systemctl\n'


def may_mount() -> bool:
    """Tells whether this user may give processes files and networks of their own.

    Only root can install programs, and in some containers not even root may mount anything.
    """
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mount = f"mount -t tmpfs tmpfs {folder}"
        command = ["unshare", "--mount", "--net", "sh", "-c", mount]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="only root can install, if it may mount")


class Host:
    """A copy of this machine's files without network, in which commands run as root."""

    def __init__(self, pid: int, root: Path) -> None:
        self._pid = pid
        self._root = root

    def run(self, *command: str, expect: int = 0, **variables: str) -> str:
        """Runs a command and returns what it prints."""
        entered = ["nsenter", "--target", str(self._pid), "--mount", "--net"]
        done = subprocess.run(
            [*entered, "chroot", str(self._root), *command],
            env={"PATH": PATH, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout
        return done.stdout

    def exists(self, path: Path | str) -> bool:
        """Tells whether a file is there."""
        return self.run("sh", "-c", f"test -e '{path}' && echo yes || true") == "yes\n"


@contextmanager
def host_of(folder: Path, archives: Path) -> Iterator[Host]:
    """Makes a host; `archives` lies in its /mnt."""
    folder.mkdir()
    command = ["unshare", "--mount", "--net", "sh", "-c", MOUNTS.format(folder, archives)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "mounted\n"
            yield Host(holder.pid, folder / "root")
        finally:
            holder.kill()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked archive as `new`, an older version, and one that does not run."""
    folder = tmp_path_factory.mktemp("archives")
    packed = archive.build(folder, platform.machine())
    with tarfile.open(packed) as files:
        files.extractall(folder, filter="data")
    for package in packages.build(packed, folder):
        package.rename(folder / f"package{package.suffix}")
    packed.rename(folder / "packed")
    (only,) = folder.glob("unit-sync-agent-*")
    only.rename(folder / "new")
    derive(folder, OLD, "")
    derive(folder, BROKEN, "raise SystemExit(70)\n")
    return folder


def derive(folder: Path, version: str, further: str) -> None:
    """Makes another version of the archive, with a line more in its first module."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source / name)
    first = source / "agent/__init__.py"
    text = first.read_text(encoding="utf-8")
    marked = [line for line in text.splitlines() if line.startswith("__version__ = ")]
    text = text.replace(marked[0], f'__version__ = "{version}"')
    first.write_text(text + further, encoding="utf-8")

    made = folder / version
    shutil.copytree(folder / "new", made)
    (own,) = (made / "wheels").glob("unit_sync_agent-*.whl")
    own.unlink()
    target = archive.target_of(platform.machine(), None)
    (made / "requirements.txt").write_text(archive.requirements(target), encoding="utf-8")
    assert archive.add_product(made, target, source) == version
    archive.write_sums(made)
    shutil.rmtree(source)


@pytest.fixture
def host(archives: Path, tmp_path: Path) -> Iterator[Host]:
    with host_of(tmp_path / "host", archives) as made:
        yield made


def version_of(host: Host) -> str:
    """The version that runs when somebody calls the program."""
    return host.run("sync-agent", "--version").split()[-1]


def with_systemd(host: Host) -> None:
    """Lets the host look as if systemd ran."""
    host.run(
        "sh", "-c", f"mkdir -p /run/systemd/system; printf '%s' '{SYSTEMCTL}' > /usr/bin/systemctl"
    )
    host.run("chmod", "755", "/usr/bin/systemctl")


def test_installed_without_network_and_removed(host: Host) -> None:
    told = host.run("/mnt/new/install.sh")
    assert "Next: edit /etc/unit-sync-agent/agent.toml" in told
    assert host.run("sync-agent", "--version").startswith("sync-agent ")
    assert host.run("stat", "-c", "%U %G %a", str(CONFIG), "/var/lib/unit-sync-agent") == (
        "root unit-sync-agent 750\nunit-sync-agent unit-sync-agent 750\n"
    )
    assert host.run("stat", "-c", "%G %a", str(CONFIG / "agent.toml")) == "unit-sync-agent 640\n"
    units = host.run("ls", "/etc/systemd/system").split()
    assert {"sync-agent@.service", "sync-agent-verify@.service", "sync-agent-verify@.timer"} <= set(
        units
    )
    assert host.run("cat", "/usr/share/man/man1/sync-agent.1").startswith(".TH SYNC-AGENT 1")
    shown = host.run("runuser", "-u", "unit-sync-agent", "--", "sync-agent", "docs", "--list")
    assert "docs/OPERATIONS.zh-CN.md" in shown

    told = host.run(str(HOME / "current/install.sh"), "uninstall", LANG="zh_CN.UTF-8")
    assert "已删除" in told
    for path in (
        HOME,
        "/usr/bin/sync-agent",
        "/usr/share/man/man1/sync-agent.1",
        "/etc/systemd/system/sync-agent@.service",
    ):
        assert not host.exists(path)
    assert host.exists(CONFIG / "agent.toml")


def test_a_damaged_archive_changes_nothing(host: Host) -> None:
    host.run("sh", "-c", "cp -r /mnt/new /root/damaged; echo >> /root/damaged/requirements.txt")
    told = host.run("/root/damaged/install.sh", expect=1)
    assert "a file differs from SHA256SUMS" in told
    assert not host.exists(HOME)


def test_upgraded_and_back_again(host: Host) -> None:
    """The agents that ran run again; a version with which `check` is worse is left at once."""
    host.run(f"/mnt/{OLD}/install.sh")
    host.run("sh", "-c", f"echo '# mine' >> {CONFIG}/agent.toml")
    with_systemd(host)
    told = host.run("/mnt/new/install.sh")
    new = version_of(host)
    assert f"Upgraded from {OLD} to {new}" in told
    assert host.run("tail", "-n", "1", str(CONFIG / "agent.toml")) == "# mine\n"
    asked = host.run("cat", "/run/systemctl").splitlines()
    assert asked[-1] == "start sync-agent@agent"
    assert "stop sync-agent@agent" in asked

    host.run(str(HOME / "current/install.sh"), "rollback")
    assert version_of(host) == OLD
    host.run(str(HOME / "current/install.sh"), "rollback")
    assert version_of(host) == new

    told = host.run(f"/mnt/{BROKEN}/install.sh", expect=1)
    assert f"finds more errors for agent than with {new}, which runs again" in told
    assert version_of(host) == new
    assert host.run("tail", "-n", "1", "/run/systemctl") == "start sync-agent@agent\n"


def test_purged_with_what_the_agent_made(host: Host) -> None:
    """It is shown before; without a yes nothing is removed."""
    host.run("/mnt/new/install.sh")
    trigger = """
state_directory = "/var/lib/unit-sync-agent"
[source]
type = "trigger"
url = "sqlite:////var/lib/unit-sync-agent/business.db"
[kafka]
bootstrap_servers = ["127.0.0.1:9"]
prefix = "unit"
[[resource]]
name = "permit"
table = "permit"
columns = ["id"]
"""
    host.run("sh", "-c", f"cat > {CONFIG}/agent.toml <<'END'\n{trigger}\nEND")
    make = "import sqlite3; sqlite3.connect('/var/lib/unit-sync-agent/business.db')"
    make += ".execute('CREATE TABLE permit (id INTEGER NOT NULL PRIMARY KEY)')"
    host.run("runuser", "-u", "unit-sync-agent", "--", f"{HOME}/current/bin/python", "-c", make)

    uninstall = f"{HOME}/current/install.sh uninstall --purge"
    told = host.run("sh", "-c", f"echo no | {uninstall}", expect=1)
    assert "nothing was removed" in told
    assert host.exists(CONFIG)
    host.run("sh", "-c", f"echo yes | {uninstall}")
    for path in (HOME, CONFIG, "/var/lib/unit-sync-agent"):
        assert not host.exists(path)
    assert "unit-sync-agent" not in host.run("cat", "/etc/passwd")


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="the host has no packages of Debian")
def test_a_package_installs_and_removes_in_the_same_way(host: Host) -> None:
    host.run("dpkg", "-i", "/mnt/package.deb")
    assert host.run("sync-agent", "--version").startswith("sync-agent ")
    host.run("dpkg", "-r", "unit-sync-agent")
    for path in (HOME, "/usr/bin/sync-agent", "/usr/lib/unit-sync-agent"):
        assert not host.exists(path)
    assert host.exists(CONFIG / "agent.toml")


def test_an_archive_of_its_own_python_fits_the_processor() -> None:
    name = "cpython-3.12.7+20241016-x86_64-unknown-linux-gnu-install_only.tar.gz"
    assert archive.target_of("x86_64", Path(name)).python == "3.12"
    for wrong in (name.replace("x86_64", "aarch64"), "python.tar.gz"):
        with pytest.raises(SystemExit):
            archive.target_of("x86_64", Path(wrong))
