"""The servers of mixed schedules, their own, and the lines to them: whatever happens to them happens to nobody else."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo
from sqlalchemy import make_url

from tests.agent_process import Installation, front_url
from tests.checker.unit import JOURNALED, create_tables
from tests.conftest import fresh_database
from tests.faults.schedule import Schedule
from tests.services.kafka import KafkaBroker
from tests.services.mariadb import MariaDbServer
from tests.services.postgres import PostgresServer
from tests.services.processes import HOST
from tests.services.proxy import TcpProxy

# Small, so that Kafka transactions hold several source transactions, and large source transactions are split.
SECTIONS: Mapping[str, Mapping[str, object]] = {"source": {"heartbeat_seconds": 0.5}, "kafka": {"transaction_events": 40, "partitions": 2}}


class Ground:
    """A source, front-end servers and a broker, started when a schedule first asks; the agent reaches each through a proxy, the judge directly."""

    def __init__(self) -> None:
        self._everything = ExitStack()
        self._fronts: dict[str, PostgresServer | MariaDbServer] = {}
        self.lines: dict[str, TcpProxy] = {}  # by peer: source, front (not SQLite), kafka

    def __enter__(self) -> Self:
        try:
            self.source = self._everything.enter_context(PostgresServer.start(18))
            self.broker = self._everything.enter_context(KafkaBroker.start())
            self._source_line = self._everything.enter_context(TcpProxy(HOST, self.source.port))
        except BaseException:
            self._everything.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._everything.close()

    @contextmanager
    def installed(self, schedule: Schedule, folder: Path) -> Iterator[Installation]:
        """A fresh installation on these servers."""
        with fresh_database(self.source) as source, ExitStack() as stack:
            self.front = self._front_server(schedule.front)
            front = None if self.front is None else stack.enter_context(_fresh(self.front))
            self.lines = {"source": self._source_line, "kafka": self.broker.proxy}
            sections = {name: dict(settings) for name, settings in SECTIONS.items()} | {"front": {}}
            sections["source"] |= {"host": HOST, "port": self._source_line.port}
            sections["kafka"] |= {"bootstrap_servers": [self.broker.proxied_bootstrap], "client": schedule.client}
            if front is not None and self.front is not None:
                line = self.lines["front"] = stack.enter_context(TcpProxy(HOST, self.front.port))
                sections["front"] = {"url": front_url(_through(front, line.port))}
            name = f"f{uuid.uuid4().hex[:12]}"
            place = Installation(folder, source, self.broker.bootstrap, name, tables=JOURNALED, front=front, sections=sections)
            create_tables(source, place.tables)
            place.write_config()
            place.init()
            try:
                yield place
            finally:
                for line in self.lines.values():
                    line.heal()

    def _front_server(self, kind: str) -> PostgresServer | MariaDbServer | None:
        if kind == "sqlite":
            return None
        if kind not in self._fronts:
            server: PostgresServer | MariaDbServer = PostgresServer.start(18) if kind == "postgres" else MariaDbServer.start()
            self._everything.callback(server.close)
            self._fronts[kind] = server
        return self._fronts[kind]


def _fresh(server: PostgresServer | MariaDbServer) -> AbstractContextManager[str]:
    return server.fresh_database() if isinstance(server, MariaDbServer) else fresh_database(server)


def _through(front: str, port: int) -> str:
    """The address with another port."""
    if front.startswith("mariadb://"):
        return make_url(front).set(port=port).render_as_string(hide_password=False)
    return make_conninfo(front, port=port)
