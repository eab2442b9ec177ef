"""Watches the log that the server keeps for the agent's slot, on the business database's disk."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import psycopg

from agent.config import PostgresSettings
from agent.connectors.postgres.kept_log import NOTHING, kept_log

_log = logging.getLogger(__name__)
_WARN_SECONDS = 3600.0  # between two warnings in the log


class LogGuard:
    """What the slot keeps, as last asked of the server. Times are in time.monotonic()."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._slot = settings.slot
        self._bound = settings.warn_log_bytes
        self._kept = NOTHING
        self._gauges: Mapping[str, float] = {}
        self._warn_at = -math.inf

    @property
    def gauges(self) -> Mapping[str, float]:
        """The metrics of the log; none before it was looked at."""
        return self._gauges

    @property
    def large(self) -> bool:
        """Whether more is kept than the bound above which somebody should know of it."""
        return self._kept.large(self._bound)

    def look(self, connection: psycopg.Connection[Any], now: float) -> None:
        """Asks what is kept, and warns in the log once an hour while that is too much.

        Raises the driver's errors.
        """
        self._kept = kept_log(connection, self._slot) or NOTHING
        self._gauges = self._kept.gauges()
        if self.large and now >= self._warn_at:
            self._warn_at = now + _WARN_SECONDS
            _log.warning(
                "source_log_large slot=%s retained_bytes=%s bound=%s unread_bytes=%s"
                " wal_status=%s safe_bytes=%s",
                self._slot,
                self._kept.bytes,
                self._kept.warned_of(self._bound),
                self._kept.unread_bytes,
                self._kept.status,
                self._kept.safe_bytes,
            )
