"""Small binary logs as servers have written them, in `logs`: of MariaDB 10.11 and of MySQL 9.7."""

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from agent.connectors.changes import Change, Column, Relation
from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.packing import Damaged
from agent.connectors.mysql.transactions import Broken, Incomplete, NoValue, Transactions
from agent.values.column_types import TEXT

Kind = Literal["mariadb", "mysql9"]

LOGS = Path(__file__).parent / "logs"
KINDS: tuple[Kind, ...] = ("mariadb", "mysql9")
NAMED = (Damaged, Broken, Incomplete, NoValue)  # errors that a damaged log may end in
NAMES = ("id", "n", "f", "d", "t", "y", "s", "e", "j", "b", "bi", "u")
RELATION = Relation(
    7, "unit", "t", "d", tuple(Column(name, TEXT, -1, name == "id") for name in NAMES)
)
CHARSETS = {45: "utf8mb4", 46: "utf8mb4", 255: "utf8mb4", 63: "binary"}
MAGIC = 4  # bytes before the first event
SUM = 4  # bytes of a checksum


def events_of(kind: Kind) -> list[bytes]:
    """Returns the events of a log, each with its checksum."""
    data = (LOGS / f"{kind}.log").read_bytes()
    found = []
    start = MAGIC
    while start < len(data):
        size = int.from_bytes(data[start + 9 : start + 13], "little")
        found.append(data[start : start + size])
        start += size
    return found


def read(kind: Kind, events: Iterable[bytes]) -> list[Change]:
    """Reads events to their end; returns the rows of the shared table. Raises those of NAMED."""
    gtids = DomainPositions() if kind == "mariadb" else GtidSet()
    stream = Transactions({("unit", "t"): RELATION}, CHARSETS, LogPlace(gtids), 0, checked=True)
    found = []
    for raw in events:
        found += [message for message in stream.read(raw) if isinstance(message, Change)]
    return found


def summed(event: bytes) -> bytes:
    """Returns an event, which is without a checksum, with it."""
    return event + zlib.crc32(event).to_bytes(SUM, "little")
