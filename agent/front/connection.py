"""The connection by which an agent reaches its SQL front end, and its errors."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, Select
from sqlalchemy.exc import SQLAlchemyError

from agent.errors import AgentError, FrontUnreachable
from agent.front.schema import AgentTables
from agent.messages import phrase
from agent.resource import Target


class FrontConnection(ABC):
    """Holds the writing connection of one agent, and turns the errors of its database into ours.

    The parts of `SqlFront` build on it. All of them write by this one connection, so that what
    they write rides in one transaction.
    """

    # What the driver raises by itself, beside SQLAlchemy
    errors: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError,)

    def __init__(self, engine: Engine, agent: str) -> None:
        self.engine = engine
        self.agent = agent
        self.own = AgentTables(agent)
        self._asked_at: float | None = None
        self._connection: Connection | None = None

    @abstractmethod
    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """Returns our error for the driver's; `target` is the table written to, if any."""

    @property
    def connection(self) -> Connection:
        """The writing connection. Raises FrontUnreachable where there is none."""
        if self._connection is None:
            raise FrontUnreachable(reason=phrase("not connected"))
        return self._connection

    @contextmanager
    def guarded(self, target: Target | None = None) -> Iterator[None]:
        """Turns errors of the database, the driver's or SQLAlchemy's, into ours.

        Meanwhile `silent_since` tells since when the answer is awaited.
        """
        self._asked_at = time.monotonic()
        try:
            yield
        except self.errors as error:
            raise self.error(getattr(error, "orig", None) or error, target) from None
        finally:
            self._asked_at = None

    def silent_since(self) -> float | None:
        """See FrontTransaction.silent_since."""
        return self._asked_at

    @contextmanager
    def reading(self, target: Target | None = None) -> Iterator[Connection]:
        """Opens a connection beside the writing one, which locks nothing.

        `target` is the one table it is for.
        """
        with self.guarded(target), self.engine.connect() as connection:
            yield connection.execution_options(reader=True)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Writes within the open transaction, or else in one of its own, which is committed."""
        with self.guarded():
            ours = not self.connection.in_transaction()
            yield
            if ours:
                self.connection.commit()

    def query(self, question: Select[Any], target: Target | None = None) -> Sequence[Any]:
        """Returns the rows of a question, about one front-end table perhaps.

        It leaves no transaction open where none was.
        """
        with self.guarded(target):
            ours = not self.connection.in_transaction()
            rows = self.connection.execute(question).all()
            if ours:
                self.connection.rollback()
        return rows
