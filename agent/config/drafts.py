"""Reads parts of a configuration that is not complete yet."""

from collections.abc import Collection, Mapping
from typing import Any

from agent.config.loading import judged
from agent.config.problems import Problem
from agent.config.settings import Settings

# Settings that stand above the sections
ALONE = ("name", "state_directory", "allow_env_secrets")


def draft(
    data: Mapping[str, Any], sections: Collection[str]
) -> tuple[Settings | None, list[Problem]]:
    """Judges these sections of a configuration, such as `source`, with the settings above them.

    What is missing or wrong elsewhere does not matter; the settings have something in its place.
    Returns them, or None with the problems.
    """
    chosen = (*ALONE, *sections)
    parts = {name: data[name] for name in chosen if name in data}
    settings, problems = judged({**_stand_ins(data), **parts})
    if settings is None or problems:
        return None, problems
    return settings, []


def _stand_ins(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns sections that are right, whatever the source is."""
    resource: dict[str, Any] = {"name": "table", "table": "table", "columns": ["id"]}
    source = data.get("source")
    if isinstance(source, Mapping) and source.get("type") == "polling":
        resource["poll"] = {"mode": "compare", "compare": "02:00"}
    return {
        "name": "agent",
        "kafka": {"bootstrap_servers": ["127.0.0.1:9092"], "prefix": "unit"},
        "resource": [resource],
    }
