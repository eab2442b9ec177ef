"""Makes errors of the publisher's own from exceptions that nobody foresaw."""

import logging
import traceback

from agent.errors import AgentError, KafkaUnreachable, Retry

MOST = 5  # such exceptions in a row with which the agent halts
_log = logging.getLogger(__name__)


class Unforeseen:
    """Counts exceptions in a row: a new producer is worth a few attempts."""

    def __init__(self, servers: str) -> None:
        self.count = 0
        self._servers = servers

    def forget(self) -> None:
        """Begins the count again: the publisher has made progress."""
        self.count = 0

    def error(self, exception: Exception) -> Retry:
        """Returns the error to retry after. Logs where the exception happened, never its text.

        Raises AgentError once there were too many.
        """
        self.count += 1
        at = traceback.extract_tb(exception.__traceback__)[-1]
        name = f"{type(exception).__name__} at {at.name}:{at.lineno}"
        _log.error("publisher_unexpected error=%s count=%d", name, self.count)
        if self.count >= MOST:
            raise AgentError(detail=name) from None
        return KafkaUnreachable(address=self._servers, reason=name)
