"""A front end whose process dies at commits that a test draws."""

from collections.abc import Mapping

from agent.errors import FrontUnreachable
from agent.front.base import Progress, Stored
from agent.front.memory import MemoryFront


class CrashingFront(MemoryFront):
    """Dies at the n-th commit: before it (False), or right after it (True).

    After it means: before the source is told.
    """

    crashes: Mapping[int, bool]
    commits = 0

    def open(self, nonce: str) -> Stored:
        """See Front.open: the one before may have crashed."""
        self.durable.holder = None
        return super().open(nonce)

    def commit(self, progress: Progress) -> None:
        """Commits, or dies."""
        self.commits += 1
        after = self.crashes.get(self.commits)
        if after is False:
            raise FrontUnreachable(reason="crash before commit")
        super().commit(progress)
        if after:
            raise FrontUnreachable(reason="crash after commit")
