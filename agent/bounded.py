"""PostgreSQL connections that wait so long for an answer and no longer: a line can be dead while TCP still stands."""

from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout


class BoundedConnection(psycopg.Connection[Any]):
    """After `patience` seconds without an answer it closes itself and raises OperationalError."""

    patience: float | None = None

    def wait(self, *arguments: Any, **named: Any) -> Any:
        """See psycopg.Connection.wait."""
        try:
            return super().wait(*arguments, **{"timeout": self.patience} | named)
        except _WaitTimeout:
            self.pgconn.finish()  # else a rollback would wait as long
            raise psycopg.OperationalError(f"no answer for {self.patience:.0f} s") from None


def bounded(patience: float, *arguments: Any, **named: Any) -> BoundedConnection:
    """Connects as psycopg.connect does."""
    connection = BoundedConnection.connect(*arguments, **named)
    connection.patience = patience
    return connection
