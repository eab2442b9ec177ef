"""The names of an agent's topics."""

from collections.abc import Mapping
from typing import NamedTuple


class Topics(NamedTuple):
    """The topics of one agent."""

    # The name of the agent
    agent: str

    # The one-partition topic of its state records
    state: str

    # The name of each resource by its topic, in the order of the configuration
    resources: Mapping[str, str]

    # The topic of begins and ends of source transactions; None if nobody asked for it
    transactions: str | None

    def of(self, resource: str) -> str:
        """Returns the topic of a resource. Raises KeyError for one that is not configured."""
        for topic, name in self.resources.items():
            if name == resource:
                return topic
        raise KeyError(resource)

    @property
    def events(self) -> list[str]:
        """Every topic but the state topic."""
        return [*self.resources, *filter(None, [self.transactions])]
