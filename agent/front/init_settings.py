"""Tells whether a configuration still belongs to what `init` made: a mistyped setting must not look like a loss."""

from collections.abc import Mapping
from typing import Any

from agent.config import Settings
from agent.connectors.opening import check_identity
from agent.errors import FrontReplaced
from agent.messages import mark, phrase

PREFIX = "kafka.prefix"


def noted(settings: Settings) -> dict[str, str]:
    """What `init` stores of the settings."""
    return {PREFIX: settings.kafka.prefix}


def check(
    settings: Settings,
    state: Mapping[str, Any],
    noted: Mapping[str, str],
    topics: Mapping[str, str],
) -> None:
    """Raises FrontReplaced where the front end is another agent's, or the configuration was changed where it must not be."""
    if state["agent_name"] != settings.agent:
        raise FrontReplaced(
            reason=phrase(
                mark("it belongs to agent {other}, this one is {agent}"),
                other=state["agent_name"],
                agent=settings.agent,
            )
        )
    if state["initialised"]:
        check_identity(settings, state["identity"])
        check_prefix(settings, noted, topics)


def check_prefix(settings: Settings, noted: Mapping[str, str], topics: Mapping[str, str]) -> None:
    """Raises FrontReplaced where kafka.prefix is another one than at `init`; `topics`: those the tables are published to, by resource."""
    before = noted.get(PREFIX) or _prefix(settings, topics)
    if before and before != settings.kafka.prefix:
        raise FrontReplaced(
            reason=phrase(
                mark("its topics begin with {before}, kafka.prefix is {now}"),
                before=before,
                now=settings.kafka.prefix,
            )
        )


def _prefix(settings: Settings, topics: Mapping[str, str]) -> str:
    """The prefix as the topics show it; '' where each has a name of its own."""
    for resource in settings.resource:
        topic = topics.get(resource.name, "")
        if resource.topic is None and topic.endswith(f".{resource.name}"):
            return topic.removesuffix(f".{resource.name}")
    return ""
