"""Shows the settings as they are in effect, and their JSON Schema for editors."""

import json
from collections.abc import Mapping
from typing import Any

from agent.config.settings import Settings
from agent.config.toml import toml_key, toml_value


def effective(settings: Settings) -> str:
    """Returns the configuration as TOML with every default and derived name written out.

    It loads again to the same settings.

    Secrets appear as references only; a setting that is not set does not appear.
    """
    data = _complete(settings).model_dump(exclude_none=True)
    resources = data.pop("resource")
    lines = [f"# state topic: {settings.state_topic}", *_scalars(data)]
    for key, value in data.items():
        if isinstance(value, Mapping):
            lines += [
                "",
                f"[{key}]",
                *(f"{toml_key(name)} = {toml_value(item)}" for name, item in value.items()),
            ]
    for table in resources:
        lines += [
            "",
            "[[resource]]",
            *(f"{toml_key(name)} = {toml_value(item)}" for name, item in table.items()),
        ]
    return "\n".join(lines) + "\n"


def _complete(settings: Settings) -> Settings:
    """The same settings with the derived names written out."""
    from sqlalchemy import make_url  # noqa: PLC0415 - takes longer to import than all the rest

    url = make_url(settings.front.url).render_as_string(hide_password=True)
    return settings.model_copy(
        update={
            "name": settings.agent,
            "front": settings.front.model_copy(update={"url": url}),
            "resource": [
                resource.model_copy(
                    update={"target": resource.target_name, "topic": settings.topic(resource)}
                )
                for resource in settings.resource
            ],
        }
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file."""
    schema = Settings.model_json_schema()
    return (
        {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        | schema
        | {"title": "unit-sync-agent configuration"}
    )


def schema_text() -> str:
    """The JSON Schema as it is kept in config/agent.schema.json."""
    return json.dumps(json_schema(), ensure_ascii=False, indent=2) + "\n"


def _scalars(data: Mapping[str, Any]) -> list[str]:
    return [
        f"{toml_key(name)} = {toml_value(item)}"
        for name, item in data.items()
        if not isinstance(item, Mapping)
    ]
