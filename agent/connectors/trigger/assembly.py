"""Makes a source with a trigger log, and its setup, from the configuration."""

from sqlalchemy import make_url

from agent.config import Settings, TriggerSettings
from agent.connectors.database.discovery import DatabaseDiscovery
from agent.connectors.database.session import Database, administered, database_of
from agent.connectors.trigger.databases.base import TriggerLog
from agent.connectors.trigger.databases.opening import trigger_log_of
from agent.connectors.trigger.guard import Bounds
from agent.connectors.trigger.inspection import judged_table
from agent.connectors.trigger.setup import TriggerSetup
from agent.connectors.trigger.source import Place, TriggerSource
from agent.errors import SourceUnfit
from agent.messages import phrase


def trigger_source(settings: Settings) -> TriggerSource:
    """Makes the source; nothing is connected yet. Raises SourceUnfit."""
    source = settings.trigger
    places = [Place(*place) for place in settings.places.items()]
    database, log = _parts(settings)
    return TriggerSource(
        database,
        log,
        places,
        settings.kafka.prefix,
        source.look_seconds,
        agent=settings.agent,
        bounds=Bounds(source.warn_rows, source.max_rows),
    )


def trigger_setup(settings: Settings) -> TriggerSetup:
    """Makes what the commands do at the source; nothing is connected yet. Raises SourceUnfit."""
    return TriggerSetup(settings, *_parts(settings))


def trigger_discovery(source: TriggerSettings, admin_url: str | None) -> DatabaseDiscovery:
    """Makes what looks for tables; nothing is connected yet. Raises SourceUnfit."""
    return DatabaseDiscovery(administered(source, admin_url), judged_table)


def _parts(settings: Settings) -> tuple[Database, TriggerLog]:
    source = settings.trigger
    database = database_of(source)
    backend = make_url(source.url).get_backend_name()
    log = trigger_log_of(backend, source.log_table, source.log_schema)
    if log is None:
        reason = phrase("the agent makes no triggers in {kind}", kind=database.dialect.name)
        raise SourceUnfit(reason=reason)
    return database, log
