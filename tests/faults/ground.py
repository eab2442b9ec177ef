"""Starts the servers of mixed schedules and the lines to them.

They belong to one schedule: whatever happens to them happens to nobody else.
"""

import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import make_url

from tests.agent_process import Installation, front_url
from tests.checker.unit import JOURNALED, create_tables
from tests.faults.schedule import Schedule
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaBroker
from tests.services.mariadb import MariaDbServer, connected
from tests.services.postgres import GuardedPostgres, PostgresServer
from tests.services.processes import HOST, Workspace, run, server_owner
from tests.services.proxy import TcpProxy

# Small, so that Kafka transactions hold several source transactions, and large source transactions
# are split.
SECTIONS: Mapping[str, Mapping[str, object]] = {
    "source": {"heartbeat_seconds": 0.5},
    "kafka": {"transaction_events": 40, "partitions": 2},
}
SMALL, PIECE = 96 << 20, 1 << 12  # bytes of a disk that can be full, and of what fills it
ROOMY = 400 << 20  # of one that holds all a server writes
# The password of the agent's role at the source, and where a schedule changes passwords also at the
# other peers.
PASSWORD = "password-canary-51c2"


def secret(folder: Path, peer: str = "source") -> Path:
    """Returns the file of the password at a peer for an installation in `folder`."""
    return folder / ("secret" if peer == "source" else f"secret-{peer}")


def sections(folder: Path) -> dict[str, dict[str, object]]:
    """The settings of an installation in `folder`, where the file of its password is made."""
    secret(folder).write_text(PASSWORD, encoding="utf-8")
    settings = {name: dict(given) for name, given in SECTIONS.items()}
    settings["source"]["password"] = {"file": str(secret(folder))}
    return settings


class SmallDisk:
    """A file system of its own, which can be full; to mount it needs root."""

    def __init__(self, size: int = SMALL) -> None:
        self._size = size
        self._place = Workspace("disk", owner=server_owner())
        self.path = self._place.path

    def __enter__(self) -> Self:
        run(["mount", "-t", "tmpfs", "-o", f"size={self._size}", "tmpfs", self.path])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        run(["umount", "--lazy", self.path])
        self._place.close()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing more can be written, until room is made at the end."""
        ballast = self.path / "ballast"
        try:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(PIECE))
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def holding_state(self, folder: Path) -> Iterator[None]:
        """Yields the state directory of an installation in `folder`.

        If the folder still exists at the end, it keeps the files.
        """
        state = folder / "state"
        state.symlink_to(self.path)
        try:
            yield
        finally:
            if state.is_symlink():
                state.unlink()
                shutil.copytree(self.path, state)

    def hold_databases(self, server: PostgresServer) -> None:
        """Puts whatever is made on that server from now on into a place of its own.

        Its log stays elsewhere, so that the server lives on when the disk is full.
        """
        space = self.path / "databases"
        space.mkdir()
        if (owner := server_owner()) is not None:
            os.chown(space, owner, owner)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(space)))
            )
            connection.execute("ALTER DATABASE template0 SET TABLESPACE small")

    def hold_log(self, server: PostgresServer) -> None:
        """Everything that server writes into its log from now on; its databases stay elsewhere."""
        server.stop()
        log, here = server.data_directory / "pg_wal", self.path / "pg_wal"
        run(["mv", log, here])
        log.symlink_to(here)
        server.start_again()


class Ground:
    """Starts a source, front-end servers and a broker, each when a schedule first asks for it.

    The agent reaches each through a proxy, the judge directly.

    A server whose disk a schedule fills is that schedule's own.
    """

    def __init__(self) -> None:
        self._everything = ExitStack()
        self._fronts: dict[str, PostgresServer | MariaDbServer] = {}
        self.front: PostgresServer | MariaDbServer | None = None  # None: SQLite
        self.lines: dict[str, TcpProxy] = {}  # by peer: source, front (not SQLite), kafka
        self.disks: dict[str, SmallDisk] = {}  # that can be full, by peer

    def __enter__(self) -> Self:
        try:
            self._start_source(self._everything)
            self._broker = self._everything.enter_context(KafkaBroker.start())
        except BaseException:
            self._everything.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._everything.close()

    def _start_source(self, everything: ExitStack) -> None:
        """Starts the source and the line to it."""
        self._source = everything.enter_context(GuardedPostgres.start(18))
        self._source_line = everything.enter_context(TcpProxy(HOST, self._source.port))

    @contextmanager
    def installed(self, schedule: Schedule, folder: Path) -> Iterator[Installation]:
        """Yields a fresh installation on these servers."""
        deeds = {disturbance.deed for disturbance in schedule.disturbances}
        with ExitStack() as stack:
            self._take_servers(schedule.front, deeds, folder, stack)
            front = None if self.front is None else stack.enter_context(_fresh(self.front))
            self.lines = {"kafka": self.broker.proxy}
            place = self._place(folder, front, deeds, stack)
            settings: dict[str, dict[str, object]] = {
                name: dict(given) for name, given in place.sections.items()
            }
            settings["kafka"] |= {
                "bootstrap_servers": [self.broker.proxied_bootstrap],
                "client": schedule.client,
            }
            if front is not None and self.front is not None:
                line = self.lines["front"] = stack.enter_context(TcpProxy(HOST, self.front.port))
                settings["front"] = {"url": front_url(_through(front, line.port))}
                if "front_password_changes" in deeds:
                    settings["front"] = _front_login(
                        self.front, front, line.port, place.name, folder
                    )
            if "kafka_password_changes" in deeds:
                settings["kafka"] |= self._kafka_login(place.name, folder)
            place.sections = settings
            place.write_config()
            place.init()
            try:
                yield place
            finally:
                for line in self.lines.values():
                    line.heal()

    def _place(
        self, folder: Path, front: str | None, deeds: Collection[str], stack: ExitStack
    ) -> Installation:
        """Makes the unit's tables, and returns the agent between them and a front end."""
        if "source_log_full" in deeds:
            disk = self.disks["source"] = stack.enter_context(SmallDisk(ROOMY))
            self.source = stack.enter_context(GuardedPostgres.start(18, {"max_wal_size": "128MB"}))
            disk.hold_log(self.source)
            line = stack.enter_context(TcpProxy(HOST, self.source.port))
        else:
            self.source, line = self._source, self._source_line

        source = stack.enter_context(fresh_database(self.source))
        self.lines["source"] = line
        settings = sections(folder)
        settings["source"] |= {"host": HOST, "port": line.port}
        place = Installation(
            folder,
            source,
            self.broker.bootstrap,
            f"f{uuid.uuid4().hex[:12]}",
            tables=JOURNALED,
            front=front,
            sections=settings,
        )
        create_tables(source, place.tables)
        return place

    def _kafka_login(self, name: str, folder: Path) -> dict[str, object]:
        """Makes a user with a password and the agent's rights, and returns the settings for it.

        Its connections do not go through the proxy.
        """
        file = secret(folder, "kafka")
        file.write_text(PASSWORD, encoding="utf-8")
        self.broker.add_user(name, PASSWORD)
        operations = ["write", "read", "describe", "describe_configs", "create"]
        self.broker.allow(name, "topic", name, operations, prefixed=True)
        self.broker.allow(name, "transactional_id", "*", ["write", "describe"])
        login = {"mechanism": "SCRAM-SHA-512", "user": name, "password": {"file": str(file)}}
        return {
            "bootstrap_servers": [self.broker.secure_bootstrap],
            "tls": {"ca_file": self.broker.ca_file},
            "sasl": login,
        }

    def _take_servers(
        self, kind: str, deeds: Collection[str], folder: Path, stack: ExitStack
    ) -> None:
        """The servers of one schedule, but the source."""
        self.broker, self.disks = self._broker, {}
        if "broker_disk_full" in deeds:
            disk = self.disks["kafka"] = stack.enter_context(SmallDisk(ROOMY))
            self.broker = stack.enter_context(KafkaBroker.start(directory=disk.path / "broker"))
        if "front_disk_full" in deeds:
            self.front = self._on_small_disk(kind, folder, stack)
        else:
            self.front = self._front_server(kind)

    def _on_small_disk(
        self, kind: str, folder: Path, stack: ExitStack
    ) -> PostgresServer | MariaDbServer | None:
        """Returns a front end of its own whose disk can be full."""
        if kind == "mariadb":
            disk = self.disks["front"] = stack.enter_context(SmallDisk(ROOMY))
            return stack.enter_context(MariaDbServer.start(directory=disk.path / "server"))
        disk = self.disks["front"] = stack.enter_context(SmallDisk())
        if kind == "sqlite":
            stack.enter_context(disk.holding_state(folder))
            return None
        server = stack.enter_context(GuardedPostgres.start(18))
        disk.hold_databases(server)
        return server

    def _front_server(self, kind: str) -> PostgresServer | MariaDbServer | None:
        if kind == "sqlite":
            return None
        if kind not in self._fronts:
            server: PostgresServer | MariaDbServer = (
                GuardedPostgres.start(18) if kind == "postgres" else MariaDbServer.start()
            )
            self._everything.callback(server.close)
            self._fronts[kind] = server
        return self._fronts[kind]


def _fresh(server: PostgresServer | MariaDbServer) -> AbstractContextManager[str]:
    return server.fresh_database() if isinstance(server, MariaDbServer) else fresh_database(server)


def _front_login(
    server: PostgresServer | MariaDbServer, front: str, port: int, name: str, folder: Path
) -> dict[str, object]:
    """Returns the settings of a role of its own with a password, which owns the database."""
    file = secret(folder, "front")
    file.write_text(PASSWORD, encoding="utf-8")
    if isinstance(server, MariaDbServer):
        database = make_url(front).database
        with connected(server.url) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE USER `{name}`@`%` IDENTIFIED BY '{PASSWORD}'")
            cursor.execute(f"GRANT ALL ON `{database}`.* TO `{name}`@`%`")
        mine = make_url(front).set(username=name).render_as_string(hide_password=False)
    else:
        role = sql.Identifier(name)
        owned = sql.Identifier(str(conninfo_to_dict(front)["dbname"]))
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(PASSWORD))
            )
            connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(owned, role))
        mine = make_conninfo(front, user=name)
    return {"url": front_url(_through(mine, port)), "password": {"file": str(file)}}


def _through(front: str, port: int) -> str:
    """Returns the address with another port."""
    if front.startswith("mariadb://"):
        return make_url(front).set(port=port).render_as_string(hide_password=False)
    return make_conninfo(front, port=port)
