"""How many statements a trial has cost the server."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event


class Statements:
    """Counts the statements of every connection that SQLAlchemy opens in this process."""

    def __init__(self) -> None:
        self.number = 0

    def _counted(self, *_given: object) -> None:
        self.number += 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts within the context."""
        event.listen(Engine, "before_cursor_execute", self._counted)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", self._counted)
