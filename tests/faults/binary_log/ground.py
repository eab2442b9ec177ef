"""Servers of mixed schedules whose source is MariaDB or MySQL, and the lines to them."""

import uuid
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from tests.faults.binary_log.installation import LoggedInstallation
from tests.faults.binary_log.server import fresh_unit, start
from tests.faults.binary_log.unit import create_tables
from tests.faults.ground import Ground, sections
from tests.faults.schedule import Source
from tests.services.mariadb import OwnServer
from tests.services.processes import HOST
from tests.services.proxy import TcpProxy


class LoggedGround(Ground):
    """See Ground."""

    def __init__(self, kind: Source) -> None:
        super().__init__()
        self._kind = kind

    @property
    def business(self) -> OwnServer:
        """The source's server."""
        return self._business

    def _start_source(self, everything: ExitStack) -> None:
        self._business = everything.enter_context(start(self._kind))
        self._line = everything.enter_context(TcpProxy(HOST, self._business.port))

    def _place(
        self, folder: Path, front: str | None, deeds: Collection[str], stack: ExitStack
    ) -> LoggedInstallation:
        name = f"f{uuid.uuid4().hex[:12]}"
        source = stack.enter_context(fresh_unit(self._business, self._kind, name))
        self.lines["source"] = self._line
        settings = sections(folder)
        place = LoggedInstallation(
            folder, source, self.broker.bootstrap, name, front=front, sections=settings
        )
        settings["source"] |= place.source_through(self._line.port)
        create_tables(source, place.tables)
        return place
