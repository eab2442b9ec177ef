"""Where in a server's log the agent is: by the names of transactions, and by file and offset."""

from collections.abc import Mapping
from typing import Any

import orjson

from agent.connectors.mysql.events import Event, Gtid
from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.packing import Damaged

_LOW = 0xFFFFFFFF


class LogPlace:
    """A place between two transactions. It is stored with the front end's rows as a token.

    The names say where to go on, on this server or on another one that has the same transactions.
    A MySQL server with `gtid_mode = OFF` names none: there the file and the offset say it.
    """

    def __init__(
        self,
        gtids: GtidSet | DomainPositions,
        file: str = "",
        offset: int = 0,
        defined: Mapping[str, str] | None = None,
        doubted: Mapping[str, str] | None = None,
    ) -> None:
        """`defined`: by table, the last transaction that may have changed what the table is.

        `doubted`: by table, the last statement in place of rows that may have changed it, since
        its rows were last to be compared. Statements are named by their transactions.
        """
        self.gtids = gtids
        self.defined = dict(defined or {})
        self.doubted = dict(doubted or {})
        self.file = file
        self.offset = offset
        self._token = ""  # '' where it has to be written again

    @classmethod
    def of_token(cls, token: str, *, is_mariadb: bool) -> "LogPlace":
        """Reads what `token` has written. Raises Damaged."""
        try:
            stored = orjson.loads(token)
            names, file, offset = str(stored["gtid"]), str(stored["file"]), int(stored["offset"])
            defined = dict(stored.get("defined", {}))
            doubted = dict(stored.get("doubted", {}))
        except (ValueError, KeyError, TypeError):
            raise Damaged("a place in the log that is none") from None
        gtids = DomainPositions.parse(names) if is_mariadb else GtidSet.parse(names)
        return cls(gtids, file, offset, defined, doubted)

    @property
    def token(self) -> str:
        """The place as a text."""
        if not self._token:
            place: dict[str, Any] = {
                "gtid": str(self.gtids),
                "file": self.file,
                "offset": self.offset,
            }
            if self.defined:
                place["defined"] = self.defined
            if self.doubted:
                place["doubted"] = self.doubted
            self._token = orjson.dumps(place).decode()
        return self._token

    def executed(self, gtid: Gtid) -> None:
        """Takes a transaction, which is complete, as one before this place."""
        if gtid.source:
            self.gtids.add(gtid.source, gtid.number)
        self._token = ""

    def define(self, schema: str, table: str, gtid: str) -> None:
        """Notes the transaction that may have changed what a table is, or which rows it has."""
        self.defined[f"{schema}.{table}"] = gtid
        self._token = ""

    def doubt(self, schema: str, table: str, gtid: str) -> None:
        """Notes the transaction that may have changed rows of a table without a row in the log."""
        self.doubted[f"{schema}.{table}"] = gtid
        self._token = ""

    def trust(self, schema: str, table: str) -> None:
        """Forgets the doubt of a table: all its rows are compared from now on."""
        if self.doubted.pop(f"{schema}.{table}", None) is not None:
            self._token = ""

    def is_doubted(self, schema: str, table: str) -> bool:
        """Tells whether rows of a table may differ of which the log says nothing."""
        return f"{schema}.{table}" in self.doubted

    def last_definition(self, schema: str, table: str) -> str:
        """Returns the transaction that was noted last of a table; '' where there was none."""
        return self.defined.get(f"{schema}.{table}", "")

    def moved(self, file: str, offset: int) -> None:
        """Takes over where the next event begins."""
        self.file, self.offset = file, offset
        self._token = ""

    def passed(self, event: Event) -> None:
        """Takes over where the next event begins, as the one before it says.

        MariaDB from 11.4 on says it of the first and the last event of a transaction only. A file
        may be larger than the 32 bits of that number.
        """
        if not event.end:
            return
        offset = self.offset & ~_LOW | event.end
        if offset < self.offset:
            offset += _LOW + 1
        self.moved(self.file, offset)
