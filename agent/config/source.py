"""The kinds of sources that there are settings for, told apart by `type`."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import Discriminator, Tag

from agent.config.mysql import MySqlSettings
from agent.config.polling import PollingSettings
from agent.config.postgres import PostgresSettings
from agent.config.trigger import TriggerSettings

_POSTGRES: Final = "postgresql"
_POLLING: Final = "polling"
_TRIGGER: Final = "trigger"
_MYSQL: Final = "mysql"

Place = Callable[[str], tuple[str, str]]


def _kind(source: Any) -> str:
    """Returns the kind of source; files that name none are older than the second kind."""
    kind = source.get("type") if isinstance(source, Mapping) else getattr(source, "type", "")
    return str(kind) if kind in (_POLLING, _TRIGGER, _MYSQL) else _POSTGRES


SourceSettings = Annotated[
    Annotated[PostgresSettings, Tag(_POSTGRES)]
    | Annotated[PollingSettings, Tag(_POLLING)]
    | Annotated[TriggerSettings, Tag(_TRIGGER)]
    | Annotated[MySqlSettings, Tag(_MYSQL)],
    Discriminator(_kind),
]

# By kind: the model that reads a source
Model = type[PostgresSettings] | type[PollingSettings] | type[TriggerSettings] | type[MySqlSettings]
MODELS: Final[Mapping[str, Model]] = {
    _POSTGRES: PostgresSettings,
    _POLLING: PollingSettings,
    _TRIGGER: TriggerSettings,
    _MYSQL: MySqlSettings,
}


def place_of(source: object) -> Place:
    """Returns what reads a table's name, for a source whose settings may be wrong."""
    return MODELS[_kind(source)].place
