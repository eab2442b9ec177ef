"""MySQL 8.0 and 9.7, and MariaDB 11.8, for the tests: servers of our own, or given ones."""

import os
import shutil
from pathlib import Path
from typing import Self

from tests.services.mariadb import MariaDbAddress, OwnServer
from tests.services.mysql_files import Version, mysql_files
from tests.services.processes import Workspace, free_port, run


class MySqlAddress(MariaDbAddress):
    """Where a server listens, as a URL of its administrator."""

    DRIVER = "mysql+pymysql"


class UnpackedServer(OwnServer):
    """Runs a server of our own whose programs were unpacked, not installed."""

    def __init__(self, version: Version, *options: str, directory: Path | None = None) -> None:
        files = mysql_files(version)
        super().__init__(free_port(), Workspace("mysql", directory))
        data = self._workspace.path / "data"
        run(["cp", "-a", files.data, data])

        self._command = [
            *files.command,
            f"--datadir={data}",
            f"--tmpdir={self._workspace.path}",
            "--innodb-flush-log-at-trx-commit=2",
            "--skip-name-resolve",
            *options,
        ]
        if os.geteuid() == 0:
            # The programs lie in the home directory, which no other user may enter
            self._command.append("--user=root")

    @classmethod
    def start(cls, version: Version, *options: str, directory: Path | None = None) -> Self:
        """Makes a new server, with further options, and waits until it answers."""
        server = cls(version, *options, directory=directory)
        try:
            server.start_again()
        except BaseException:
            server.close()
            raise
        return server


class MySqlServer(UnpackedServer, MySqlAddress):
    """A MySQL."""


class NewerMariaDbServer(UnpackedServer):
    """A MariaDB 11.8, beside the one that is installed."""


def mysql(version: Version) -> MySqlAddress:
    """Returns a server: the one given by the environment, or our own, or a container.

    The environment gives it as mysql+pymysql://administrator@host:port/mysql.
    """
    given = os.environ.get(f"SYNC_TEST_MYSQL{version}")
    if given:
        return MySqlAddress(given)
    fetching = {8: "mvn", 9: "apt-get"}
    if shutil.which(fetching[version]):
        return MySqlServer.start(version)
    return mysql_container(version)


def mysql_container(version: Version) -> MySqlAddress:
    """Starts a container, as testcontainers' documentation says.

    It was never run: no Docker was at hand.
    """
    from testcontainers.mysql import MySqlContainer  # slow to import, rarely needed

    container = MySqlContainer(f"mysql:{version}", username="root", dialect="pymysql")
    container.start()
    return MySqlAddress(container.get_connection_url(), container.stop)
