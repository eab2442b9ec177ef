"""Settings of the front-end database, and of copying, verifying and repairing its tables."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from agent.config.model import Model, Positive
from agent.config.secret import Secret


class FrontSettings(Model):
    """The unit's front-end database (前置库)."""

    # Its default comes from the agent's folder: see `placed`
    url: str = Field(
        default_factory=str,
        description="SQLAlchemy URL without password: sqlite:///path, "
        "postgresql+psycopg://user@host/db or mariadb+pymysql://user@host/db; "
        "default: SQLite below state_directory.",
    )
    password: Annotated[Secret | None, Field(description="Where the password is.")] = None
    types: Annotated[
        Literal["native", "text"],
        Field(
            description="Columns of tables that init creates in MariaDB or MySQL: "
            "native (DECIMAL, DATE, DATETIME, TIME, DOUBLE), "
            "or text, which also holds NaN, infinity and every year."
        ),
    ] = "native"
    lock_wait_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=600,
            description="How long one statement waits for a lock "
            "before the transaction is tried anew.",
        ),
    ] = 20.0
    max_rows: Annotated[
        Positive,
        Field(
            description="Row changes after which the front-end transaction ends "
            "at the next source commit."
        ),
    ] = 10_000
    max_bytes: Annotated[
        Positive,
        Field(
            description="Bytes of changes after which the front-end transaction ends "
            "at the next source commit."
        ),
    ] = 4_194_304
    max_refused_rows: Annotated[
        int,
        Field(
            ge=0,
            description="Rows of one front-end table that may be refused by it "
            "(a constraint, a trigger, a value its column cannot hold) "
            "before the table is suspended; 0: the first one suspends it.",
        ),
    ] = 100

    def placed(self, directory: Path) -> Self:
        """Fills in the URL that is not configured: a SQLite file in this folder."""
        default = f"sqlite:///{directory / 'front.db'}"
        return self.model_copy(update={"url": self.url or default})

    @property
    def folder(self) -> Path | None:
        """The folder of a SQLite front end; None for a database server."""
        scheme, _, path = self.url.partition(":///")
        if scheme.partition("+")[0] != "sqlite":
            return None
        return Path(path.partition("?")[0]).parent


class ReconcileSettings(Model):
    """Copying, verifying and repairing tables beside the stream."""

    max_delete_share: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of a front-end table that a copy may delete; "
            "past it (and past 100 rows) the table is suspended.",
        ),
    ] = 0.2
    max_outbox_bytes: Annotated[
        Positive,
        Field(
            description="Copying waits while the outbox holds more than so many bytes "
            "that Kafka has not taken."
        ),
    ] = 2_147_483_648
    window_bytes: Annotated[
        Positive,
        Field(
            description="Changes remembered while a page is read; "
            "past it the page is dropped and the next one is smaller."
        ),
    ] = 16_777_216
