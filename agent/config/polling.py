"""Settings of a business database that is polled, and how each of its tables is."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.config.database import DatabaseSettings
from agent.config.inconsistent import Contradiction, Inconsistent
from agent.config.model import Model
from agent.messages import mark

_UNITS = {"s": 1, "m": 60, "h": 3600}

Period = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[smh]$")]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


def seconds(period: str) -> float:
    """Reads a period such as `5s`, `10m` or `2h`."""
    return float(int(period[:-1]) * _UNITS[period[-1]])


class PollingSettings(DatabaseSettings):
    """The unit's business database, read by statements through SQLAlchemy."""

    type: Annotated[Literal["polling"], Field(description="Kind of source.")]
    every: Annotated[
        Period, Field(description="Time from one look at the tables to the next: 5s, 10m, 2h.")
    ] = "5s"


class DeletedFlag(Model):
    """A column that says of a row that it is deleted, though it is there."""

    column: Annotated[str, Field(min_length=1, description="The column; it need not be shared.")]
    is_in: Annotated[
        list[str | int | bool],
        Field(min_length=1, description="A row with one of these values counts as deleted."),
    ]


class PollSettings(Model):
    """How one table is polled."""

    mode: Annotated[
        Literal["timestamp", "sequence", "compare"],
        Field(
            description="timestamp: rows are found by the time of their last change; "
            "sequence: by a number that only rises, for tables to which rows are only added; "
            "compare: by comparison alone."
        ),
    ]
    column: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Column of the time or number; it need not be shared. It needs an index.",
        ),
    ] = None
    overlap: Annotated[
        float,
        Field(
            ge=0,
            description="How far before the last value each look reads again, for what was "
            "committed late: seconds for timestamp, numbers for sequence.",
        ),
    ] = 60.0
    key: list[str] = Field(
        [], description="Columns of the key, for a view or a table without a primary key."
    )
    deleted: Annotated[
        DeletedFlag | None,
        Field(description="Column that marks a row as deleted: its front-end row is deleted."),
    ] = None
    compare: Annotated[
        TimeOfDay | None,
        Field(
            description="Time of day, by this host's clock, at which every row is compared: "
            "finds deletes and what no look has shown."
        ),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(self._contradictions())
        if found:
            raise Inconsistent(found)
        return self

    def _contradictions(self) -> Iterator[Contradiction]:
        if self.mode == "compare":
            if self.column is not None:
                yield ("column",), mark('take it out: mode = "compare" reads no column'), {}
            if self.compare is None:
                yield ("compare",), mark('mode = "compare" needs a time of day here'), {}
        elif self.column is None:
            yield ("column",), mark("name the column by which changed rows are found"), {}
