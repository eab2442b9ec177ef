"""MySQL 8.0 and 9.7 for the tests: a server of our own, or one that was given."""

import os
import shutil
import signal
from pathlib import Path
from typing import Self

from tests.services.mariadb import MariaDbAddress, execute
from tests.services.mysql_files import Version, mysql_files
from tests.services.processes import HOST, ServerProcess, Workspace, free_port, run
from tests.waiting import eventually


class MySqlAddress(MariaDbAddress):
    """Where a server listens, as a URL of its administrator."""

    DRIVER = "mysql+pymysql"


class MySqlServer(MySqlAddress):
    """Runs a server of our own on loopback.

    `close` removes everything but a directory that was named.
    """

    def __init__(self, version: Version, *options: str, directory: Path | None = None) -> None:
        files = mysql_files(version)
        self._workspace = Workspace(f"mysql{version}", directory)
        self.port = port = free_port()
        super().__init__(f"{self.DRIVER}://root@{HOST}:{port}/mysql")
        self._process: ServerProcess | None = None
        self._data = self._workspace.path / "data"
        run(["cp", "-a", files.data, self._data])

        self._command = [
            *files.command,
            f"--datadir={self._data}",
            f"--tmpdir={self._workspace.path}",
            f"--port={port}",
            f"--bind-address={HOST}",
            f"--socket={self._workspace.path / 's'}",
            f"--pid-file={self._workspace.path / 'pid'}",
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

    def start_again(self) -> None:
        """Starts the stopped server on its old directory and port and waits until it answers."""
        process = ServerProcess(
            self._command,
            log=self._workspace.path / "server.log",
            death=signal.SIGKILL,
            env={"LC_ALL": "C", "TZ": "Asia/Shanghai"},
        )
        self._process = process

        def answers() -> bool:
            process.check()
            return bool(execute(self.url, "SELECT 1"))

        eventually(answers, 60, "MySQL answers")

    def kill9(self) -> None:
        """Kills it, as a crash of the machine would."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stops at once and removes the directory."""
        self.kill9()
        self._workspace.close()


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
