"""The settings that must stay as `init` found them: other values would look like a loss."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.config import ResourceSettings, Settings
from agent.connectors.opening import check_identity
from agent.errors import FrontReplaced
from agent.messages import mark, phrase

PREFIX = "kafka.prefix"


def noted(prefix: str) -> dict[str, str]:
    """Returns what `init` stores of the settings: of Kafka's, the `prefix` of topics."""
    return {PREFIX: prefix}


def check(
    settings: Settings,
    state: Mapping[str, Any],
    noted: Mapping[str, str],
    topics: Mapping[str, str],
) -> None:
    """Raises FrontReplaced where the front end does not fit the configuration.

    It may be another agent's, or the configuration was changed where it must not be.
    """
    if state["agent_name"] != settings.agent:
        text = mark("it belongs to agent {other}, this one is {agent}")
        reason = phrase(text, other=state["agent_name"], agent=settings.agent)
        raise FrontReplaced(reason=reason)
    if state["initialised"]:
        check_identity(settings.source, state["identity"])
        check_prefix(settings.kafka.prefix, settings.resource, noted, topics)


def check_prefix(
    prefix: str,
    resources: Sequence[ResourceSettings],
    noted: Mapping[str, str],
    topics: Mapping[str, str],
) -> None:
    """Raises FrontReplaced where kafka.prefix is another one than at `init`.

    `noted` is what `init` has stored of the settings.
    `topics` are those the tables are published to, by resource.
    """
    before = noted.get(PREFIX) or _prefix(resources, topics)
    if before and before != prefix:
        text = mark("its topics begin with {before}, kafka.prefix is {now}")
        raise FrontReplaced(reason=phrase(text, before=before, now=prefix))


def _prefix(resources: Sequence[ResourceSettings], topics: Mapping[str, str]) -> str:
    """Returns the prefix as the topics show it; '' where each has a name of its own."""
    for resource in resources:
        topic = topics.get(resource.name, "")
        if resource.topic is None and topic.endswith(f".{resource.name}"):
            return topic.removesuffix(f".{resource.name}")
    return ""
