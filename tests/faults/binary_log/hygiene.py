"""Judges O10 where the source is MariaDB or MySQL."""

from tests.faults.hygiene import Hygiene
from tests.services.mariadb import execute

SESSIONS = "SELECT count(*) FROM information_schema.processlist WHERE user = '{}'"


class LoggedHygiene(Hygiene):
    """See Hygiene. Of a session that sends the log the server sees the end with its next beat."""

    def _inspect_source(self) -> None:
        asked = SESSIONS.format(self._installed.name)
        self._expect_none(
            "sessions at the source",
            lambda: execute(self._installed.source, asked) == [(0,)],
        )
