"""Has the history noted and written once a minute, for as long as the service runs."""

import threading
import time
from types import TracebackType
from typing import Self

from agent.service import metrics as names
from agent.service.metrics import Metrics

_MINUTE = 60.0
_MARGIN = 0.1  # seconds, since a wait may end a little early


class Recorder:
    """A thread between `with` and its end.

    It is a thread of its own, since the supervisor must not wait for a disk that is slow.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._record, name="history", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        """Writes what was counted since the last minute."""
        self._over.set()
        self._thread.join(_MINUTE / 6)  # a disk that hangs does not keep the service from ending

    def _record(self) -> None:
        over = False
        while not over:
            # Awake just after a minute begins, so that each has its own
            over = self._over.wait(_MINUTE - time.time() % _MINUTE + _MARGIN)
            self.record(time.time())

    def record(self, now: float) -> None:
        """Notes how the agent is, and writes it."""
        values = self._metrics.values
        applied = values.get(f"{names.LAST_COMMIT}/applied")
        lag = max(0.0, now - applied) if applied else None
        history = self._metrics.history
        history.note(now, lag, int(values.get(names.OUTBOX_EVENTS, 0)))
        history.write()
