"""What the agent reads of its business database, and under which names."""

from collections.abc import Sequence
from typing import NamedTuple

from agent.config import ResourceSettings, Settings, SourceSettings


class Subscription(NamedTuple):
    """The shared tables of one database, and who reads them through which slot and publication."""

    agent: str
    source: SourceSettings
    slot: str  # of replication
    publication: str
    resources: Sequence[ResourceSettings]


def subscription_of(settings: Settings) -> Subscription:
    """Takes what concerns the business database out of the settings."""
    return Subscription(
        settings.agent,
        settings.source,
        settings.slot,
        settings.publication,
        settings.resource,
    )
