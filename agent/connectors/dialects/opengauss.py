"""openGauss as a business database: PostgreSQL's kin, with logins and settings of its own.

Not tried on a real server.
"""

from collections.abc import Mapping
from typing import ClassVar

from agent.connectors.dialects.postgres_psycopg2 import PostgresByPsycopg2


class OpenGauss(PostgresByPsycopg2):
    """See Dialect. SQLAlchemy knows it by the package opengauss-sqlalchemy."""

    name = "openGauss"
    extra = "opengauss"
    tried = False
    further: ClassVar[Mapping[str, str]] = {"lockwait_timeout": "20s"}  # it has no lock_timeout

    # Of its own build of psycopg2
    unknown: ClassVar[frozenset[str]] = frozenset({"tcp_user_timeout"})
