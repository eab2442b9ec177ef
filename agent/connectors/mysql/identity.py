"""What a server is known by, as `init` stores it.

Where the address names another server that has every transaction, the stream goes on there: only
the database must stay the same.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import make_url

from agent.config import MySqlSettings
from agent.connectors.mysql.server import Executed, Server
from agent.errors import FrontReplaced
from agent.messages import mark, phrase


def identity_of(settings: MySqlSettings, server: Server, executed: Executed) -> dict[str, Any]:
    """Returns what `init` stores.

    `executed`: behind these transactions the stream begins, as long as no token was stored.
    """
    return {
        "database": _database(settings),
        "server": name_of(server),
        "executed": str(executed),
    }


def name_of(server: Server) -> str:
    """Returns the name that a server has for itself; its copy on another machine has another one.

    Of MariaDB it is the number that its administrator has chosen, and the domain it writes to.
    """
    if server.is_mariadb:
        return f"{server.variable('gtid_domain_id')}-{server.variable('server_id')}"
    return server.variable("server_uuid")


def check_settings(settings: MySqlSettings, identity: Mapping[str, Any]) -> None:
    """Raises FrontReplaced where the configuration names another database than `init` did."""
    before, now = identity.get("database", ""), _database(settings)
    if before != now:
        text = mark("it follows the database {other}, the configuration names {now}")
        raise FrontReplaced(reason=phrase(text, other=before, now=now))


def _database(settings: MySqlSettings) -> str:
    return make_url(settings.url).database or ""
