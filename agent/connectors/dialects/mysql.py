"""MySQL as a business database: what differs from MariaDB."""

from agent.connectors.dialects.base import Sample
from agent.connectors.dialects.mariadb import SAMPLES, MariaDB

_VECTOR = Sample("VECTOR(3)", "STRING_TO_VECTOR('[1,0.5,-2e-30]')", "{1,0.5,-2e-30}", (9, 0))


class MySQL(MariaDB):
    """See Dialect."""

    name = "MySQL"
    samples = (*SAMPLES, _VECTOR)
    bound = ("max_execution_time", 1000)
