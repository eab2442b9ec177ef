"""MySQL as a business database: what differs from MariaDB."""

from agent.connectors.dialects.mariadb import SAMPLES, MariaDB


class MySQL(MariaDB):
    """See Dialect."""

    name = "MySQL"
    samples = SAMPLES
    bound = ("max_execution_time", 1000)
