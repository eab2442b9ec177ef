"""Settings of a business database in which triggers note what changes."""

from typing import Annotated, Literal

from pydantic import Field

from agent.config.database import DatabaseSettings
from agent.config.model import Identifier


class TriggerSettings(DatabaseSettings):
    """The unit's business database, whose triggers note each change in a table of the agent."""

    type: Annotated[Literal["trigger"], Field(description="Kind of source.")]
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
    warn_rows: Annotated[
        int,
        Field(gt=0, description="Waiting notes of which check and status warn."),
    ] = 1_000_000
    max_rows: Annotated[
        int | None,
        Field(
            gt=0,
            description="Waiting notes above which the running agent takes triggers and notes "
            "away, to spare the business database, and halts; after `init --apply` every table is "
            "copied. Default: notes are kept, however many there are.",
        ),
    ] = None
