"""Makes the looks at a table as its mode says."""

from agent.config import ResourceSettings
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.session import Database
from agent.connectors.polling.flags import FlagLooks
from agent.connectors.polling.looks import CursorLooks, Looks


def looks_of(database: Database, resource: ResourceSettings, read: ReadTable) -> Looks:
    """Returns the looks at a table that has looks and fits its mode, see `tables.unfit`."""
    assert resource.poll is not None
    if resource.poll.mode == "flag":
        return FlagLooks(database, resource, read)
    return CursorLooks(database.dialect, resource, read)
