"""Loads the configuration that a command is given."""

from pathlib import Path

import click

from agent.config import Settings, load
from agent.files import act_as_owner
from agent.messages import mark, translate

DEFAULT_CONFIG = "/etc/unit-sync-agent/agent.toml"


def settings_of(config: Path) -> Settings:
    """Loads the settings.

    Root acts as the agent's user from here on, so that no file comes to belong to root by accident.
    """
    settings = load(config)
    folders = [Path(settings.state_directory), settings.directory]
    if settings.front.url.startswith("sqlite:///"):
        folders.append(Path(settings.front.url.removeprefix("sqlite:///")).parent)
    user = act_as_owner(*folders)
    if user is None:
        return settings
    text = mark("root acts as user {user}, whom the agent's files belong to")
    click.echo(translate(text, user=user), err=True)
    return load(config)  # as that user can read it
