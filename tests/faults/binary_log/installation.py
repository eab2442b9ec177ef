"""An agent between MariaDB or MySQL, a front end and a broker."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import make_url

from tests.agent_process import Installation, Lines
from tests.checker.front import at_front
from tests.checker.unit import UnitTable
from tests.faults.binary_log.order import number_of
from tests.faults.binary_log.unit import JOURNALED

TOKEN = "SELECT token FROM sync_agent_state"


@dataclass
class LoggedInstallation(Installation):
    """See Installation. `source` is an administrator's URL with the database."""

    tables: Sequence[UnitTable] = JOURNALED

    def init(self) -> str:
        """Runs `init --apply`, which makes nothing in the business database."""
        return self.command("init", "--apply").stdout

    def source_settings(self) -> Lines:
        """Returns the settings of the source, as the agent's own account."""
        given = make_url(self.source)
        driver = f"{given.drivername}+pymysql"
        url = given.set(drivername=driver, username=self.name)
        return {"type": "mysql", "url": url.render_as_string(hide_password=False)}

    def source_through(self, port: int) -> Lines:
        """Returns the settings of the source behind a line."""
        url = make_url(str(self.source_settings()["url"])).set(port=port)
        return {"url": url.render_as_string(hide_password=False)}

    def stored(self, number: int) -> bool:
        """Tells whether the front end has everything up to a transaction of the server."""
        found = at_front(self.places.front, TOKEN)
        return bool(found) and number_of(str(found[0][0])) >= number
