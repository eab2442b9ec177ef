"""KingbaseES as a business database: PostgreSQL's kin, with a driver of its own.

Not tried on a real server.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from agent.connectors.dialects.postgres_psycopg2 import PostgresByPsycopg2, bounded

_KIN = (12, 0)  # the PostgreSQL whose catalogue it has


class KingbaseES(PostgresByPsycopg2):
    """See Dialect."""

    name = "KingbaseES"
    extra = "kingbase"
    tried = False
    state = "kbcode"

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect."""
        import ksycopg2  # noqa: PLC0415 - only the engine finds out whether it is installed

        return bounded(ksycopg2, seconds, named)


class KingbaseDialect(PGDialect_psycopg2):
    """Lets SQLAlchemy use ksycopg2, which is made after psycopg2, for URLs of kingbase://."""

    driver = "ksycopg2"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """See sqlalchemy.engine.Dialect.import_dbapi."""
        import ksycopg2  # noqa: PLC0415 - only the engine finds out whether it is installed

        found: ModuleType = ksycopg2
        return found

    @property
    def _psycopg2_extensions(self) -> ModuleType:
        from ksycopg2 import extensions  # noqa: PLC0415

        found: ModuleType = extensions
        return found

    @property
    def _psycopg2_extras(self) -> ModuleType:
        from ksycopg2 import extras  # noqa: PLC0415

        found: ModuleType = extras
        return found

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        """Returns the version of its kin: its own is in a form that SQLAlchemy does not know."""
        return _KIN


registry.register("kingbase", __name__, KingbaseDialect.__name__)
