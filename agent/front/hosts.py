"""What the hosts of one agent note of themselves in the front end: who is active, who stands by.

All times are those of the front-end server, so that the clocks of the hosts do not matter.
See docs/decisions/standby.md.
"""

from typing import Any, Literal, NamedTuple

from sqlalchemy import BigInteger, Connection, Table, delete, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Role = Literal["active", "standby"]

# Seconds between two signs of life of a host
RENEWAL = 2.0

# Seconds without a sign of life, after which a host counts as gone
PATIENCE = 8.0

_MICROSECONDS = 1_000_000


class Now(FunctionElement[int]):
    """The server's time, in microseconds since 1970."""

    type = BigInteger()
    inherit_cache = True


@compiles(Now)
def _now(_element: Now, _compiler: SQLCompiler, **_: Any) -> str:
    return "cast((julianday('now') - 2440587.5) * 86400000000 as integer)"


@compiles(Now, "postgresql")
def _postgresql_now(_element: Now, _compiler: SQLCompiler, **_: Any) -> str:
    return "cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)"


@compiles(Now, "mysql", "mariadb")
def _mariadb_now(_element: Now, _compiler: SQLCompiler, **_: Any) -> str:
    return "cast(unix_timestamp(now(6)) * 1000000 as signed)"


class Host(NamedTuple):
    """One service of the agent, on one host."""

    nonce: str  # of the service
    name: str
    role: Role

    # Server sessions of the active one: that which holds the lock, and that of its signs of life
    session: int
    lease: int

    # How the business database names the session that reads its log; '' where there is none
    reader: str

    since_us: int  # since when it has this role
    seen_us: int  # its last sign of life
    silent: float  # seconds since its last sign of life

    @property
    def lives(self) -> bool:
        """Whether it has given a sign of life lately."""
        return self.silent < PATIENCE


class Hosts:
    """Reads and writes the table of the hosts, by connections of the caller, who commits."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def all(self, connection: Connection) -> list[Host]:
        """Returns every host that is noted, the one that was seen last first."""
        table = self._table.c
        columns = (
            table.nonce,
            table.host,
            table.role,
            table.session,
            table.lease,
            table.reader,
            table.since_us,
            table.seen_us,
            Now() - table.seen_us,
        )
        hosts = []
        for row in connection.execute(select(*columns).order_by(table.seen_us.desc())):
            *known, silent = row
            hosts.append(Host._make([*known, silent / _MICROSECONDS]))
        return hosts

    def note_active(self, connection: Connection, nonce: str, name: str, session: int) -> None:
        """Notes, under the lock, that a service is the active one; its predecessor is forgotten."""
        table = self._table
        mine = table.c.nonce == nonce
        active = table.c.role == "active"
        question = select(table.c.since_us).where(mine, active)
        since = connection.execute(question).scalar()

        connection.execute(delete(table).where(mine | active))
        row = {
            "nonce": nonce,
            "host": name,
            "role": "active",
            "session": session,
            "lease": 0,
            "reader": "",
            "since_us": since or Now(),
            "seen_us": Now(),
        }
        connection.execute(insert(table).values(**row))

    def renew(self, connection: Connection, nonce: str, lease: int, reader: str) -> None:
        """Gives a sign of life of the active service; nothing where it is no longer the one."""
        table = self._table
        values = {
            "seen_us": Now(),
            "lease": lease,
            "reader": reader,
        }
        mine = table.c.nonce == nonce
        active = table.c.role == "active"
        sign = update(table).where(mine, active).values(**values)
        connection.execute(sign)

    def note_standby(self, connection: Connection, nonce: str, name: str) -> None:
        """Gives a sign of life of a service that stands by."""
        table = self._table
        mine = table.c.nonce == nonce
        standby = table.c.role == "standby"
        sign = update(table).where(mine, standby).values(seen_us=Now())
        if connection.execute(sign).rowcount:
            return

        row = {
            "nonce": nonce,
            "host": name,
            "role": "standby",
            "session": 0,
            "lease": 0,
            "reader": "",
            "since_us": Now(),
            "seen_us": Now(),
        }
        connection.execute(delete(table).where(mine))
        connection.execute(insert(table).values(**row))

    def forget(self, connection: Connection, nonce: str) -> None:
        """Forgets a service that ends."""
        connection.execute(delete(self._table).where(self._table.c.nonce == nonce))

    def forget_silent(self, connection: Connection, seconds: float) -> None:
        """Forgets services that stood by and have been silent for so long."""
        silent = Now() - self._table.c.seen_us > int(seconds * _MICROSECONDS)
        standby = self._table.c.role == "standby"
        connection.execute(delete(self._table).where(standby, silent))
