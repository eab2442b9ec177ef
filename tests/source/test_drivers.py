"""The drivers of databases that cannot be had here take what the agent gives them."""

import pytest
from sqlalchemy import make_url

from agent.connectors.database.session import Database
from agent.errors import SourceUnreachable
from tests.services.processes import free_port
from tests.source.databases import DRIVERS
from tests.unit.test_dialect_statements import URLS

LACKING = {"kingbase"} - DRIVERS.keys()


@pytest.mark.parametrize("name", [name for name in URLS if name not in LACKING])
def test_a_server_that_is_not_there(name: str) -> None:
    """Each driver takes what it is given, and its error is known."""
    port = free_port()
    url = make_url(URLS[name]).set(host="127.0.0.1", port=port)
    database = Database(url.render_as_string(), lambda: "secret", 5.0)
    with pytest.raises(SourceUnreachable, match=f"127.0.0.1:{port}"):
        database.connect()
