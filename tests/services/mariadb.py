"""MariaDB for the tests: a server of our own as an unprivileged user, or one that was given."""

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pymysql
from sqlalchemy import URL, make_url

from tests.services.processes import (
    HOST,
    Lent,
    ServerProcess,
    Workspace,
    free_port,
    run,
    server_owner,
)
from tests.waiting import eventually

PROGRAMS = os.pathsep.join([os.defpath, "/usr/sbin", "/usr/local/sbin"])
SYSTEM_TABLES = ("system_tables.sql", "system_tables_data.sql")
PREFIXES = ("mysql", "mariadb")  # of their files, in versions before and from 11 on
FOLDERS = (Path("/usr/share/mysql"), Path("/usr/share/mariadb"))
# Everything else stays as the server comes, careless where MariaDB is. The agent's sessions must
# not depend on it.
OPTIONS = (
    "--no-defaults", "--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=48M",
    "--innodb-buffer-pool-size=64M", "--skip-name-resolve", "--sql-mode=",
    "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--skip-log-bin",
    "--debug-no-sync",
)  # fmt: skip
# What a session of the tests' own must not take from the server's globals
UNBOUND = (
    "SET SESSION sql_select_limit = 18446744073709551615, "
    "max_join_size = 18446744073709551615, sql_safe_updates = 0"
)
READ_WRITE = {"mariadb": "tx_read_only = 0", "mysql": "transaction_read_only = 0"}
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, TRIGGER"  # what docs/OPERATIONS.md grants


class MariaDbAddress(Lent):
    """Where a server listens, as a URL of its administrator."""

    DRIVER = "mariadb"  # of its URLs

    def __init__(self, url: str, close: Callable[[], None] = lambda: None) -> None:
        self.url = make_url(url).set(drivername=self.DRIVER)
        super().__init__(close)

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Creates a database and a role with the agent's rights in it, and yields the role's URL.

        Both are dropped afterwards.
        """
        name = f"test_{uuid.uuid4().hex[:12]}"
        with connected(self.url) as connection:
            for statement in (
                f"CREATE DATABASE {name}",
                f"CREATE USER {name}@'%' IDENTIFIED BY ''",
                f"GRANT {RIGHTS} ON {name}.* TO {name}@'%'",
            ):
                connection.cursor().execute(statement)
        yield URL.create(
            self.DRIVER, name, host=self.url.host, port=self.url.port, database=name
        ).render_as_string()
        execute(self.url, f"DROP USER {name}@'%'")
        execute(self.url, f"DROP DATABASE {name}")


class OwnServer(MariaDbAddress):
    """Runs a server on loopback by a command, on the directory of a workspace.

    `close` removes everything but a directory that was named.
    """

    def __init__(self, port: int, workspace: Workspace, owner: int | None = None) -> None:
        """`owner`: the user who runs it; None for the one who runs the tests."""
        super().__init__(f"{self.DRIVER}://root@{HOST}:{port}/mysql")
        self.port = port
        self._workspace = workspace
        self._owner = owner
        self._process: ServerProcess | None = None
        self._command: list[str | Path] = []
        self._listen = [
            f"--port={port}",
            f"--bind-address={HOST}",
            f"--socket={workspace.path / 's'}",
            f"--pid-file={workspace.path / 'pid'}",
        ]

    def file(self, name: str) -> Path:
        """Returns a file of the server's data directory."""
        return self._workspace.path / "data" / name

    def start_again(self) -> None:
        """Starts the stopped server on its old directory and port and waits until it answers."""
        process = ServerProcess(
            [*self._command, *self._listen],
            log=self._workspace.path / "server.log",
            death=signal.SIGKILL,
            owner=self._owner,
            env={"LC_ALL": "C", "TZ": "Asia/Shanghai", "PATH": PROGRAMS},
        )
        self._process = process

        def answers() -> bool:
            process.check()
            return bool(execute(self.url, "SELECT 1"))

        eventually(answers, 60, f"{self.DRIVER} answers")

    def shut_down(self) -> None:
        """Stops it in good order."""
        if self._process is not None:
            self._process.stop()

    def kill9(self) -> None:
        """Kills it, as a crash of the machine would."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stops at once and removes the directory."""
        self.kill9()
        self._workspace.close()


class MariaDbServer(OwnServer):
    """Runs a MariaDB of our own."""

    def __init__(self, *options: str, directory: Path | None = None) -> None:
        owner = server_owner()
        super().__init__(free_port(), Workspace("mariadb", directory, owner), owner)
        self._program = program()
        self._options = [
            *OPTIONS,
            f"--datadir={self._workspace.path / 'data'}",
            f"--tmpdir={self._workspace.path}",
            *options,
        ]
        self._command = [self._program, *self._options]

    @classmethod
    def start(cls, *options: str, directory: Path | None = None) -> Self:
        """Makes a new server, with further options, and waits until it answers."""
        server = cls(*options, directory=directory)
        try:
            server._initialise()
            server.start_again()
        except BaseException:
            server.close()
            raise
        return server

    def _initialise(self) -> None:
        """Does what mariadb-install-db does, which needs further packages."""
        script = self._workspace.path / "system.sql"
        script.write_text(system_script(FOLDERS))
        script.chmod(0o644)
        run(["mkdir", self._workspace.path / "data"], self._owner)
        bootstrap([self._program, *self._options], script, self._workspace.path, self._owner)


def system_script(folders: Iterable[Path]) -> str:
    """Returns what makes the tables of a new server, from files of the package in one of these."""
    for folder in folders:
        for prefix in PREFIXES:
            files = [folder / f"{prefix}_{name}" for name in SYSTEM_TABLES]
            if files[0].is_file():
                texts = [file.read_text() for file in files]
                return "\n".join(["CREATE DATABASE mysql;", "USE mysql;", *texts])
    raise RuntimeError("MariaDB's system tables are not installed: run tests/install.sh")


def bootstrap(
    command: Sequence[str | Path], script: Path, folder: Path, owner: int | None = None
) -> None:
    """Runs a script by a server that listens nowhere and ends with it."""
    run(["sh", "-c", 'exec "$@" --bootstrap < "$0"', script, *command], owner, folder)


def mariadb() -> MariaDbAddress:
    """Returns a server: the one given by the environment, or our own.

    The environment gives it as mariadb://administrator@host:port/mysql.
    """
    given = os.environ.get("SYNC_TEST_MARIADB")
    return MariaDbAddress(given) if given else MariaDbServer.start()


def program() -> str:
    """Returns the server's program."""
    found = shutil.which("mariadbd", path=PROGRAMS)
    if found is None:
        raise RuntimeError("MariaDB is not installed: run tests/install.sh")
    return found


@contextmanager
def connected(url: str | URL) -> Iterator[Any]:
    """Yields a connection of the tests' own, in autocommit mode."""
    address = make_url(url)
    unbound = f"{UNBOUND}, {READ_WRITE[address.get_backend_name()]}"
    connection = pymysql.connect(
        host=address.host, port=address.port or 3306, user=address.username,
        password=address.password or "", database=address.database, autocommit=True,
        charset="utf8mb4", init_command=unbound,
    )  # fmt: skip
    try:
        yield connection
    finally:
        connection.close()


def execute(url: str | URL, statement: str) -> list[tuple[Any, ...]]:
    """Runs one statement and returns its rows."""
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
