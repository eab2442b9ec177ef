"""Takes looks at a polled table as the capture loop does, with a front end that is a mapping."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.config import Settings
from agent.connectors.base import Ask
from agent.connectors.changes import Commit, RowState
from agent.connectors.polling.schedule import wall_clock
from agent.connectors.polling.source import PollingSource
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import CommitMark, Resume
from tests.source.databases import Place
from tests.source.polled import polling_settings
from tests.source.reading import silent_never, transactions


class Follower:
    """A polled table `t`, and a front end that holds what looks have delivered."""

    def __init__(self, place: Place, poll: Mapping[str, Any], **source: Any) -> None:
        """The table is there, with the columns `id` and `note`. `source`: settings of it."""
        self.place = place
        self._resource = {"name": "r", "table": "t", "columns": ["id", "note"], "poll": dict(poll)}
        self._source = source or {"every": "1h"}
        self.now: datetime | None = None  # what the clock shows; None: it is this host's
        self.rows: dict[str, str | None] = {}
        self.delivered = 0
        self.stored = Resume(position_text(100), CommitMark("", 0, 0), {})
        self.source = self.opened()

    @property
    def settings(self) -> Settings:
        """The configuration of the agent."""
        url = self.place.url.render_as_string(hide_password=False)
        return polling_settings(url, self._resource, **self._source)

    def clock(self) -> datetime:
        """What the source takes for the time."""
        return self.now or wall_clock()

    def opened(self) -> PollingSource:
        """Opens the source at what is stored."""
        source = PollingSource(self.settings, self.clock)
        source.open(self.stored, silent_never)
        return source

    def crash(self) -> None:
        """Opens all from what is stored, as after a crash."""
        self.source.close()
        self.source = self.opened()

    def look(self, stored: bool = True, acknowledged: bool = True) -> int:
        """Looks until all is read; returns how many rows were delivered."""
        before = self.delivered
        self.source._look_at = 0.0
        while self.source._look_at <= time.monotonic():
            self.take(stored=stored)
            if stored and acknowledged:
                self.acknowledge()
        return self.delivered - before

    def take(self, stored: bool = True) -> None:
        """Takes one part of a look."""
        messages = list(self.source.read(0.0))
        transactions(messages)
        for message in messages:
            if isinstance(message, RowState):
                assert message.row is not None
                self.delivered += 1
                if stored:
                    self.rows[message.key[0]] = str(message.row[1])
            elif isinstance(message, Commit) and stored:
                position = position_text(message.position)
                self.stored = self.stored._replace(position=position, token=message.token)

    def ask(self, limit: int, **given: Any) -> None:
        """Asks for a page of the table."""
        [table] = self.source.tables().values()
        ask = Ask("token", "r", table, table.columns, (), "", limit=limit, **given)
        self.source.ask(ask)

    def acknowledge(self) -> None:
        """Tells the source what is stored."""
        self.source.acknowledge(position_number(self.stored.position))

    def held(self) -> dict[str, str | None]:
        """What the table holds."""
        with self.place.open() as connection:
            found = connection.exec_driver_sql("SELECT id, note FROM t").all()
        return {str(key): note for key, note in found}
