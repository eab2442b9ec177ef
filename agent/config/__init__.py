"""The agent's settings: models, reading the file, secrets by reference."""

from agent.config.loading import load
from agent.config.secret import Secret
from agent.config.settings import (
    FrontSettings,
    KafkaSettings,
    ReconcileSettings,
    ResourceSettings,
    Settings,
    SourceSettings,
)

__all__ = [
    "FrontSettings",
    "KafkaSettings",
    "ReconcileSettings",
    "ResourceSettings",
    "Secret",
    "Settings",
    "SourceSettings",
    "load",
]
