"""Makes the source of the configuration, and its setup: the only place that knows the kinds.

Each kind is loaded where it is used, so that a process holds only the driver that it needs.
"""

from collections.abc import Mapping
from typing import Any

from agent.config import DatabaseSettings, Settings, SourceSettings
from agent.connectors.base import Source
from agent.connectors.discovery import Discovery
from agent.connectors.setup import Setup


def open_source(settings: Settings) -> Source:
    """Makes the source that the capture process reads; nothing is connected yet."""
    if settings.source.type == "polling":
        from agent.connectors.polling.source import PollingSource

        return PollingSource(settings)

    if settings.source.type == "trigger":
        from agent.connectors.trigger.assembly import trigger_source

        return trigger_source(settings)

    if settings.source.type == "mysql":
        from agent.connectors.mysql.assembly import mysql_source

        return mysql_source(settings)

    from agent.connectors.postgres.source import PostgresSource

    return PostgresSource(settings)


def setup_of(settings: Settings) -> Setup:
    """Makes what the commands do at the source; nothing is connected yet."""
    if settings.source.type == "polling":
        from agent.connectors.polling.setup import PollingSetup

        return PollingSetup(settings)

    if settings.source.type == "trigger":
        from agent.connectors.trigger.assembly import trigger_setup

        return trigger_setup(settings)

    if settings.source.type == "mysql":
        from agent.connectors.mysql.assembly import mysql_setup

        return mysql_setup(settings)

    from agent.connectors.postgres.setup.postgres import PostgresSetup
    from agent.connectors.postgres.setup.subscription import subscription_of

    return PostgresSetup(subscription_of(settings), settings.front.url)


def discovery_of(source: SourceSettings, admin_url: str | None) -> Discovery:
    """Makes what looks for tables in a source; nothing is connected yet. Raises SourceUnfit.

    It looks as the administrator where a URL is given.
    """
    if source.type == "polling":
        from agent.connectors.polling.assembly import polling_discovery

        return polling_discovery(source, admin_url)

    if source.type == "trigger":
        from agent.connectors.trigger.assembly import trigger_discovery

        return trigger_discovery(source, admin_url)

    if source.type == "mysql":
        from agent.connectors.mysql.assembly import mysql_discovery

        return mysql_discovery(source, admin_url)

    from agent.connectors.postgres.setup.discovery import PostgresDiscovery

    return PostgresDiscovery(source, admin_url)


def check_identity(settings: SourceSettings, identity: Mapping[str, Any]) -> None:
    """Raises FrontReplaced where the configuration names another source than `init` did.

    `identity` is what the source wrote then. Nothing is connected: a mistyped setting must not look
    like a loss.
    """
    if settings.type == "mysql":
        from agent.connectors.mysql import identity as of_mysql

        of_mysql.check_settings(settings, identity)
        return

    if isinstance(settings, DatabaseSettings):
        from agent.connectors.database import identity as of_database

        of_database.check_settings(settings, identity)
        return

    from agent.connectors.postgres.history import check_settings

    check_settings(settings, identity)
