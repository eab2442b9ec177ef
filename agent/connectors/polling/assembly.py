"""Makes what looks for tables in a database that is polled."""

from agent.config import PollingSettings
from agent.connectors.database.discovery import DatabaseDiscovery
from agent.connectors.database.session import administered
from agent.connectors.polling.inspection import judged_columns
from agent.connectors.polling.tables import cursor_of


def polling_discovery(source: PollingSettings, admin_url: str | None) -> DatabaseDiscovery:
    """Makes what looks for tables and views; nothing is connected yet. Raises SourceUnfit."""
    database = administered(source, admin_url)
    return DatabaseDiscovery(database, judged_columns, cursor_of, views=True)
