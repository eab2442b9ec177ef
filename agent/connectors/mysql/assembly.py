"""Makes a source that reads a binary log, and its setup, from the configuration."""

from agent.config import MySqlSettings, Settings
from agent.connectors.database.discovery import DatabaseDiscovery
from agent.connectors.database.session import administered, database_of
from agent.connectors.mysql.setup import MySqlSetup
from agent.connectors.mysql.source import MySqlSource
from agent.connectors.mysql.table_findings import judged_columns


def mysql_source(settings: Settings) -> MySqlSource:
    """Makes the source; nothing is connected yet. Raises SourceUnfit."""
    source = settings.mysql
    return MySqlSource(
        database_of(source),
        settings.places,
        settings.kafka.prefix,
        server_id=source.reader_id,
        agent=settings.agent,
        heartbeat=source.heartbeat_seconds,
    )


def mysql_setup(settings: Settings) -> MySqlSetup:
    """Makes what the commands do at the source; nothing is connected yet. Raises SourceUnfit."""
    source = settings.mysql
    return MySqlSetup(settings, database_of(source), source.reader_id)


def mysql_discovery(source: MySqlSettings, admin_url: str | None) -> DatabaseDiscovery:
    """Makes what looks for tables; nothing is connected yet. Raises SourceUnfit."""
    return DatabaseDiscovery(administered(source, admin_url), judged_columns)
