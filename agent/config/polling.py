"""Settings of a business database that is polled, and how each of its tables is."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.config.database import DatabaseSettings
from agent.config.inconsistent import Contradiction, Inconsistent
from agent.config.model import Model
from agent.config.times import Cron, Hours, Period, TimeOrCron, times_of
from agent.messages import mark

_NO_CRON = mark(
    "write five fields that have a moment, days of the week as names: */5 8-18 * * mon-fri"
)


class PollingSettings(DatabaseSettings):
    """The unit's business database, read by statements through SQLAlchemy."""

    type: Annotated[Literal["polling"], Field(description="Kind of source.")]
    every: Annotated[
        Period, Field(description="Time from one look at the tables to the next: 5s, 10m, 2h.")
    ] = "5s"
    cron: Annotated[
        Cron | None,
        Field(
            description="Times of the looks by this host's clock, instead of every: minute, hour, "
            "day, month and day of the week, such as */5 8-18 * * mon-fri."
        ),
    ] = None
    quiet: list[Hours] = Field(
        [],
        description="Hours of the day, by this host's clock, in which no table is read: "
        "08:30-11:30, 22:00-06:00.",
    )

    rows_per_second: Annotated[
        int | None,
        Field(
            ge=1,
            description="How many rows are read in a second at the most, by looks, copies and "
            "comparisons together.",
        ),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(self._contradictions())
        if found:
            raise Inconsistent(found)
        return self

    def _contradictions(self) -> Iterator[Contradiction]:
        if self.cron is not None:
            if "every" in self.model_fields_set:
                yield ("every",), mark("take out every or cron: one of them tells the times"), {}
            if not _is_cron(self.cron):
                yield ("cron",), _NO_CRON, {}
        for number, hours in enumerate(self.quiet):
            begin, end = hours.split("-")
            if begin == end:
                yield ("quiet", number), mark("let the quiet hours end at another time"), {}


def _is_cron(text: str) -> bool:
    try:
        times_of(text)
    except ValueError:
        return False
    return True


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
        Literal["timestamp", "sequence", "flag", "compare"],
        Field(
            description="timestamp: rows are found by the time of their last change; "
            "sequence: by a number that only rises, for tables to which rows are only added; "
            "flag: by a mark that the application gives to each row it has changed; "
            "compare: by comparison alone."
        ),
    ]
    column: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Column of the time, the number or the flag; it need not be shared. "
            "It needs an index.",
        ),
    ] = None
    pending: list[str | int | bool] = Field(
        [], description="For flag: values of the flag that say that a row was not taken yet."
    )
    pending_null: bool = Field(
        False, description="For flag: whether a row without a flag (NULL) was not taken yet, too."
    )
    done: Annotated[
        str | int | bool | None,
        Field(
            description="For flag with write_back: the value that says that a row was taken.",
        ),
    ] = None
    write_back: bool = Field(
        False,
        description="Whether the agent sets the flag of a row to `done` once the row is in the "
        "front end, unless it was changed meanwhile. Else the application resets its flags.",
    )
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
        TimeOrCron | None,
        Field(
            description="Time of day, by this host's clock, at which every row is compared, or a "
            "cron expression: finds deletes and what no look has shown."
        ),
    ] = None

    @property
    def flags(self) -> list[str | int | bool]:
        """The configured values of the flag."""
        return self.pending if self.done is None else [*self.pending, self.done]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(self._contradictions())
        if found:
            raise Inconsistent(found)
        return self

    def _contradictions(self) -> Iterator[Contradiction]:
        if self.compare is not None and not _is_cron(self.compare):
            yield ("compare",), _NO_CRON, {}
        if self.mode == "compare":
            if self.column is not None:
                yield ("column",), mark('take it out: mode = "compare" reads no column'), {}
            if self.compare is None:
                yield ("compare",), mark('mode = "compare" needs a time of day here'), {}
        elif self.column is None:
            yield ("column",), mark("name the column by which changed rows are found"), {}
        if self.mode == "flag":
            yield from self._wrong_flags()
            return
        for name in ("pending", "pending_null", "done", "write_back"):
            if getattr(self, name) not in ([], None, False):
                yield (name,), mark('take it out: only mode = "flag" has it'), {}

    def _wrong_flags(self) -> Iterator[Contradiction]:
        if not self.pending and not self.pending_null:
            yield ("pending",), mark("name the values that say that a row was not taken yet"), {}
        if self.write_back and self.done is None:
            yield ("done",), mark("name the value that says that a row was taken"), {}
        if self.done in self.pending:
            yield ("done",), mark("a row cannot be taken and not taken: pending has this value"), {}
