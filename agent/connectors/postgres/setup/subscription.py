"""What the agent reads of its business database, and under which names."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from agent.config import PostgresSettings, ResourceSettings, Settings


class Subscription(NamedTuple):
    """The shared tables of one database, and who reads them through which slot and publication."""

    agent: str
    source: PostgresSettings
    resources: Sequence[ResourceSettings]
    directory: Path  # of the agent's own files

    @property
    def slot(self) -> str:
        """The name of the replication slot."""
        return self.source.slot

    @property
    def publication(self) -> str:
        """The name of the publication."""
        return self.source.publication

    def place(self, resource: ResourceSettings) -> tuple[str, str]:
        """Returns schema and name of a shared table."""
        return self.source.place(resource.table)


def subscription_of(settings: Settings) -> Subscription:
    """Takes what concerns the business database out of the settings."""
    return Subscription(settings.agent, settings.postgres, settings.resource, settings.directory)
