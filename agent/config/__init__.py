"""The agent's settings: models, reading the file, secrets by reference."""

from agent.config.database import DatabaseSettings
from agent.config.front import FrontSettings, ReconcileSettings
from agent.config.kafka import KafkaSettings, SaslSettings
from agent.config.loading import load
from agent.config.mysql import MySqlSettings
from agent.config.polling import PollingSettings, PollSettings
from agent.config.postgres import PostgresSettings
from agent.config.resource import Condition, ResourceSettings
from agent.config.secret import Secret
from agent.config.service import ServiceSettings, ServiceTlsSettings
from agent.config.settings import Settings
from agent.config.source import SourceSettings
from agent.config.topics import Topics
from agent.config.trigger import TriggerSettings

__all__ = [
    "Condition",
    "DatabaseSettings",
    "FrontSettings",
    "KafkaSettings",
    "MySqlSettings",
    "PollSettings",
    "PollingSettings",
    "PostgresSettings",
    "ReconcileSettings",
    "ResourceSettings",
    "SaslSettings",
    "Secret",
    "ServiceSettings",
    "ServiceTlsSettings",
    "Settings",
    "SourceSettings",
    "Topics",
    "TriggerSettings",
    "load",
]
