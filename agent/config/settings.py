"""The whole configuration file: its parts, and what they say together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from agent.config.front import FrontSettings, ReconcileSettings
from agent.config.inconsistent import Contradiction, Inconsistent
from agent.config.kafka import KafkaSettings
from agent.config.model import Identifier, Model
from agent.config.mysql import MySqlSettings
from agent.config.polling import PollingSettings
from agent.config.postgres import PostgresSettings
from agent.config.resource import ResourceSettings, topic_of
from agent.config.service import ServiceSettings
from agent.config.source import SourceSettings
from agent.config.topics import Topics
from agent.config.trigger import TriggerSettings
from agent.config.uniqueness import doubles, same_columns
from agent.messages import mark

_NAME = "agent"  # of an agent whose file was not loaded from a place


class Settings(Model):
    """The whole configuration file."""

    name: Annotated[
        Identifier | None,
        Field(description="Name of this agent; default: the configuration file's stem."),
    ] = None
    state_directory: Annotated[str, Field(description="Folder of the agent's own files.")] = (
        "/var/lib/unit-sync-agent"
    )
    allow_env_secrets: Annotated[
        bool, Field(description="Allow { env = '...' } secrets (development only).")
    ] = False
    source: Annotated[SourceSettings, Field(description="The unit's business database.")]
    front: Annotated[
        FrontSettings,
        Field(default_factory=FrontSettings, validate_default=True),
    ]
    kafka: KafkaSettings
    reconcile: ReconcileSettings = ReconcileSettings()
    service: ServiceSettings = ServiceSettings()
    resource: Annotated[
        list[ResourceSettings],
        Field(min_length=1, description="The shared tables, one [[resource]] each."),
    ]

    @field_validator("source")
    @classmethod
    def _named(cls, source: SourceSettings, info: ValidationInfo) -> SourceSettings:
        """Fills in the names that the source's settings derive from the agent's."""
        return source.named(info.data.get("name") or _NAME)

    @field_validator("front")
    @classmethod
    def _placed(cls, front: FrontSettings, info: ValidationInfo) -> FrontSettings:
        """Fills in the URL of a SQLite front end in the agent's own folder."""
        agent = info.data.get("name") or _NAME
        return front.placed(Path(info.data.get("state_directory", "")) / agent)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        resources = dict(enumerate(self.resource))
        url = self.front.url
        found = [
            *doubles(resources, self.source.place, self.kafka.prefix, url),
            *same_columns(resources, url),
            *self._taken(),
            *self._polled(),
            *self._paired(),
        ]
        if found:
            raise Inconsistent(found)
        return self

    def _taken(self) -> Iterator[Contradiction]:
        for number, resource in enumerate(self.resource):
            if self.topic(resource) == self.transaction_topic:
                yield (
                    ("resource", number, "topic"),
                    mark(
                        "this topic is the one kafka.transactions publishes to: "
                        "give the resource another one"
                    ),
                    {},
                )

    def _polled(self) -> Iterator[Contradiction]:
        """Yields what says how to poll a table that is not polled, and the other way round."""
        polling = self.source.type == "polling"
        for number, resource in enumerate(self.resource):
            place = ("resource", number, "poll")
            if polling and resource.poll is None:
                text = mark('missing; source.type = "polling" needs [resource.poll] with a mode')
                yield place, text, {}
            elif not polling and resource.poll is not None:
                yield place, mark('take it out, or set source.type = "polling"'), {}

    def _paired(self) -> Iterator[Contradiction]:
        """Yields what says that two hosts share a file of one host."""
        if self.service.standby and self.front.folder is not None:
            text = mark(
                "two hosts need a front end that both reach, in PostgreSQL or MariaDB; "
                "a SQLite file belongs to one host"
            )
            yield ("service", "standby"), text, {}

    @property
    def postgres(self) -> PostgresSettings:
        """The source, which is one in PostgreSQL."""
        assert isinstance(self.source, PostgresSettings)
        return self.source

    @property
    def polling(self) -> PollingSettings:
        """The source, which is one that is polled."""
        assert isinstance(self.source, PollingSettings)
        return self.source

    @property
    def trigger(self) -> TriggerSettings:
        """The source, which is one with a trigger log."""
        assert isinstance(self.source, TriggerSettings)
        return self.source

    @property
    def mysql(self) -> MySqlSettings:
        """The source, which is one whose binary log is read."""
        assert isinstance(self.source, MySqlSettings)
        return self.source

    @property
    def places(self) -> dict[tuple[str, str], ResourceSettings]:
        """The shared tables, by schema ('': the session's own) and name."""
        return {self.source.place(resource.table): resource for resource in self.resource}

    @property
    def agent(self) -> str:
        """The agent's name; `load` fills it in from the file's stem."""
        return self.name or _NAME

    @property
    def directory(self) -> Path:
        """Folder of this agent's own files."""
        return Path(self.state_directory) / self.agent

    @property
    def state_topic(self) -> str:
        """The one-partition topic of this agent's state records."""
        return f"{self.kafka.prefix}.sync-agent.{self.agent}"

    @property
    def transaction_topic(self) -> str | None:
        """The topic of begins and ends of source transactions; None if nobody asked for it."""
        return f"{self.kafka.prefix}.transaction" if self.kafka.transactions else None

    @property
    def topics(self) -> Topics:
        """The names of all its topics."""
        resources = {self.topic(resource): resource.name for resource in self.resource}
        return Topics(self.agent, self.state_topic, resources, self.transaction_topic)

    def topic(self, resource: ResourceSettings) -> str:
        """Topic of a resource."""
        return topic_of(resource, self.kafka.prefix)
