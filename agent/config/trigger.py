"""Settings of a business database in which triggers note what changes."""

from typing import Annotated, Literal, Self

from pydantic import Field

from agent.config.model import Identifier, Model
from agent.config.secret import Secret


class TriggerSettings(Model):
    """The unit's business database, whose triggers note each change in a table of the agent."""

    type: Annotated[Literal["trigger"], Field(description="Kind of source.")]
    url: Annotated[
        str,
        Field(
            min_length=1,
            description="SQLAlchemy URL without password: sqlite:////folder/business.db, "
            "mariadb+pymysql://user@host/db, mysql+pymysql://user@host/db or "
            "postgresql+psycopg://user@host/db.",
        ),
    ]
    password: Annotated[Secret | None, Field(description="Where the password is.")] = None
    log_table: Annotated[
        Identifier,
        Field(description="Table of the notes; several agents on one database need one each."),
    ] = "sync_agent_log"
    log_schema: Annotated[
        str, Field(description="Schema of that table; default: the session's own.")
    ] = ""
    look_seconds: Annotated[
        float,
        Field(gt=0, le=60, description="Seconds from one look at the notes to the next."),
    ] = 1.0
    statement_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Seconds after which a statement at the business database is given up.",
        ),
    ] = 20.0
    warn_rows: Annotated[
        int,
        Field(gt=0, description="Waiting notes of which check and status warn."),
    ] = 1_000_000

    def named(self, agent: str) -> Self:
        """Fills in what comes from the agent's name: nothing here does."""
        return self

    @staticmethod
    def place(table: str) -> tuple[str, str]:
        """Reads a table of the configuration as schema, '' for the session's own, and name."""
        schema, _, name = table.rpartition(".")
        return schema, name
