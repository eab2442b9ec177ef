"""Settings of one shared table: columns, filter, names, front-end table and topic."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.config.inconsistent import Contradiction, Inconsistent
from agent.config.model import Model, TopicName
from agent.config.polling import PollSettings
from agent.messages import mark


class TechnicalColumns(Model):
    """Optional columns the agent adds to a front-end table.

    The value is the column's name, and a column not named is not written.
    """

    operation: Annotated[str | None, Field(description="Last operation: I, U or D (操作类型).")] = (
        None
    )
    deleted: Annotated[
        str | None,
        Field(
            description="0, or 1 for a row deleted at the source (逻辑删除); needs delete = 'soft'."
        ),
    ] = None
    sequence: Annotated[
        str | None,
        Field(
            description="Number of the row's last event in its topic, rising: "
            "the incremental key for pulls."
        ),
    ] = None
    batch: Annotated[
        str | None,
        Field(description="Number of the outbox batch that carried the last event (批次号)."),
    ] = None
    source_time: Annotated[str | None, Field(description="Commit time at the source, UTC.")] = None
    sync_time: Annotated[
        str | None, Field(description="Time of writing to the front end, UTC (数据时间戳).")
    ] = None


class Condition(Model):
    """One condition of a row filter; a row is shared when all hold.

    Values are compared as values of the column's own type.
    """

    column: Annotated[str, Field(min_length=1, description="Source column; it need not be shared.")]
    is_in: Annotated[
        list[str | int | bool] | None, Field(min_length=1, description="The value is one of these.")
    ] = None
    not_in: Annotated[
        list[str | int | bool] | None,
        Field(min_length=1, description="The value is none of these (NULL is not one of them)."),
    ] = None
    is_null: Annotated[
        bool | None, Field(description="true: the value is NULL; false: it is not.")
    ] = None

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if sum(test is not None for test in (self.is_in, self.not_in, self.is_null)) != 1:
            raise Inconsistent([((), mark("set exactly one of is_in, not_in and is_null"), {})])
        return self


class ResourceSettings(Model):
    """One shared table. Only the columns listed leave the unit."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]{1,40}$",
            description="Name of the resource; part of its topic's name.",
        ),
    ]
    table: Annotated[
        str,
        Field(
            pattern=r"^[^.]+\.[^.]+$|^[^.]+$",
            description="Source table as schema.table, in its exact spelling, without quotes.",
        ),
    ]
    columns: Annotated[
        list[str],
        Field(min_length=1, description="Shared columns in order, the key's columns among them."),
    ]
    rename: dict[str, str] = Field(
        {}, description="New names of columns: source = 'front end and events'."
    )
    filter: list[Condition] = Field([], description="Conditions a row must meet to be shared.")
    target: Annotated[
        str | None,
        Field(description="Front-end table, [schema.]table; default: the source table's own name."),
    ] = None
    topic: Annotated[
        TopicName | None, Field(description="Topic; default: <kafka.prefix>.<name>.")
    ] = None
    delete: Annotated[
        Literal["hard", "soft"],
        Field(description="soft: a deleted row stays, marked in technical.deleted."),
    ] = "hard"
    technical: Annotated[
        TechnicalColumns, Field(description="Technical columns of the front-end table.")
    ] = TechnicalColumns()

    poll: Annotated[
        PollSettings | None,
        Field(description='How the table is polled; only with source.type = "polling".'),
    ] = None

    @property
    def conditions(self) -> list[Condition]:
        """The conditions that a row must meet: those of the filter, and that it is not deleted."""
        if self.poll is None or self.poll.deleted is None:
            return self.filter
        deleted = self.poll.deleted
        return [*self.filter, Condition(column=deleted.column, not_in=deleted.is_in)]

    @property
    def needed_columns(self) -> list[str]:
        """Source columns the agent reads: the shared ones, and those the filter tests.

        The key is among the shared ones.
        """
        return list(
            dict.fromkeys([*self.columns, *(condition.column for condition in self.conditions)])
        )

    @property
    def front_columns(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Each column of the front-end table by the place of its setting."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for name in dict.fromkeys(self.columns):
            place = (
                ("rename", name) if name in self.rename else ("columns", self.columns.index(name))
            )
            found.append((place, self.shared_name(name)))
        for role, name in self.technical.model_dump().items():
            if name is not None:
                found.append((("technical", role), name))
        return found

    @property
    def target_name(self) -> str:
        """Front-end table as configured: `[schema.]table`."""
        return self.target or self.table.rpartition(".")[2]

    def shared_name(self, column: str) -> str:
        """Name of a source column in the front end and in events."""
        return self.rename.get(column, column)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(self._contradictions())
        if found:
            raise Inconsistent(found)
        return self

    def _contradictions(self) -> Iterator[Contradiction]:
        if len(set(self.columns)) != len(self.columns):
            yield ("columns",), mark("a column is listed twice"), {}
        for column in self.rename:
            if column not in self.columns:
                yield (
                    ("rename", column),
                    mark("no such column in columns: add it there or take this line out"),
                    {},
                )
        technical = [name for name in self.technical.model_dump().values() if name is not None]
        listed = [self.shared_name(column) for column in dict.fromkeys(self.columns)] + technical
        if len(set(listed)) != len(listed):
            yield (
                ("columns",),
                mark(
                    "two columns of the front-end table would have the same name: "
                    "change rename or technical"
                ),
                {},
            )
        if self.delete == "soft" and self.technical.deleted is None:
            yield (
                ("technical", "deleted"),
                mark('delete = "soft" needs the name of a column here'),
                {},
            )
        if self.delete == "hard" and self.technical.deleted is not None:
            yield ("technical", "deleted"), mark('take it out, or set delete = "soft"'), {}


def topic_of(resource: ResourceSettings, prefix: str) -> str:
    """Topic of a resource under this prefix."""
    return resource.topic or f"{prefix}.{resource.name}"
