"""The settings that must stay as `init` found them: other values would look like a loss."""

from collections.abc import Mapping
from typing import Any

from agent.config import Settings
from agent.connectors.opening import check_identity
from agent.errors import FrontReplaced
from agent.messages import mark, phrase

PREFIX = "kafka.prefix"


def noted(settings: Settings) -> dict[str, str]:
    """Returns what `init` stores of the settings."""
    return {PREFIX: settings.kafka.prefix}


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
        check_identity(settings, state["identity"])
        check_prefix(settings, noted, topics)


def check_prefix(
    settings: Settings,
    noted: Mapping[str, str],
    topics: Mapping[str, str],
) -> None:
    """Raises FrontReplaced where kafka.prefix is another one than at `init`.

    `topics` are those the tables are published to, by resource.
    """
    now = settings.kafka.prefix
    before = noted.get(PREFIX) or _prefix(settings, topics)
    if before and before != now:
        text = mark("its topics begin with {before}, kafka.prefix is {now}")
        raise FrontReplaced(reason=phrase(text, before=before, now=now))


def _prefix(settings: Settings, topics: Mapping[str, str]) -> str:
    """Returns the prefix as the topics show it; '' where each has a name of its own."""
    for resource in settings.resource:
        topic = topics.get(resource.name, "")
        if resource.topic is None and topic.endswith(f".{resource.name}"):
            return topic.removesuffix(f".{resource.name}")
    return ""
