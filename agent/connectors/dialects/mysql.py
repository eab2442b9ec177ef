"""MySQL as a business database: what differs from MariaDB."""

from agent.connectors.dialects.mariadb import MariaDB


class MySQL(MariaDB):
    """See Dialect."""

    name = "MySQL"
    bound = ("max_execution_time", 1000)
