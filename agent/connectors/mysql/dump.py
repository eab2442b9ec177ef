"""Asks a server for its log, and reads the events that it sends.

Sources: MySQL's COM_REGISTER_SLAVE, COM_BINLOG_DUMP and COM_BINLOG_DUMP_GTID; MariaDB's "Replica
protocol". A replica that is registered is shown by SHOW REPLICAS, with the agent's host.
"""

import struct
import time
from collections.abc import Iterator
from typing import Any, Final, Literal

from agent.connectors.mysql.gtids import DomainPositions, GtidSet
from agent.connectors.mysql.packets import Packets

_REGISTER: Final = 0x15
_DUMP: Final = 0x12
_DUMP_GTID: Final = 0x1E
_FIRST: Final = 4  # where the first event of a file begins
_NANOSECONDS: Final = 1_000_000_000

_OK, _ERROR, _END = 0x00, 0xFF, 0xFE
_END_BYTES: Final = 9  # a longer packet with this first byte is none


Cause = Literal["purged", "taken", "login", "other"]


class Refused(Exception):
    """The server ends the stream: its number of the error, and what it means.

    Its text is left out, which may hold values.
    """

    def __init__(self, number: int, cause: Cause) -> None:
        super().__init__(f"error {number}")
        self.number = number
        self.cause = cause


# What the servers write of a log that is gone, and of another replica with the same id
_PURGED: Final = ("purged", "could not find first log", "not found in the binlog")
_TAKEN: Final = ("same server_uuid/server_id", "same server_id", "same server-id")
_LOGIN: Final = (1044, 1045, 1227)


class Dump:
    """A connection that has asked for the log. It is of no other use afterwards."""

    def __init__(self, connection: Any, server_id: int) -> None:
        """Takes a connection of PyMySQL. `server_id`: what the server knows the agent by."""
        self._connection = connection
        self._server_id = server_id
        self._packets: Packets | None = None
        self._heard_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """How long nothing has come: a server without changes sends heartbeats."""
        return time.monotonic() - self._heard_at

    def prepare(self, heartbeat: float, *, is_mariadb: bool) -> None:
        """Says what the server is to send: checksums, and a heartbeat after so many idle seconds.

        Both names of each variable are set, for MySQL's old ones end with some later version.
        """
        period = int(heartbeat * _NANOSECONDS)
        settings = {
            "@master_heartbeat_period": str(period),
            "@source_heartbeat_period": str(period),
            "@master_binlog_checksum": "@@global.binlog_checksum",
            "@source_binlog_checksum": "@@global.binlog_checksum",
        }
        if is_mariadb:
            # The reader understands GTID events
            settings["@mariadb_slave_capability"] = "4"
        assignments = [f"{name} = {value}" for name, value in settings.items()]
        with self._connection.cursor() as cursor:
            cursor.execute(f"SET {', '.join(assignments)}")

    def register(self, host: str) -> None:
        """Lets the server's administrator see who reads."""
        name = host.encode()[:60]
        body = struct.pack("<I", self._server_id)
        body += bytes((len(name),)) + name + b"\0\0"  # no user, no password
        body += struct.pack("<HII", 0, 0, 0)
        self._command(_REGISTER, body)
        self._connection._read_ok_packet()  # noqa: SLF001 - the driver has no such command

    def after_gtids(self, executed: GtidSet) -> None:
        """Asks a MySQL server for everything that is not in a set."""
        encoded = executed.encoded()
        body = struct.pack("<HIIQI", 0, self._server_id, 0, _FIRST, len(encoded)) + encoded
        self._begin(_DUMP_GTID, body)

    def after_domains(self, last: DomainPositions) -> None:
        """Asks a MariaDB server for everything behind the last transaction of each domain."""
        with self._connection.cursor() as cursor:
            cursor.execute("SET @slave_connect_state = %s", (str(last),))
        self._begin(_DUMP, struct.pack("<IHI", _FIRST, 0, self._server_id))

    def from_file(self, file: str, offset: int) -> None:
        """Asks for a file from an offset on, where an event must begin."""
        body = struct.pack("<IHI", offset, 0, self._server_id) + file.encode()
        self._begin(_DUMP, body)

    def _begin(self, command: int, body: bytes) -> None:
        self._command(command, body)
        begun = self._connection._rfile.peek()  # noqa: SLF001 - what the driver has read ahead
        self._packets = Packets(self._connection._sock, begun)  # noqa: SLF001

    def _command(self, command: int, body: bytes) -> None:
        self._connection._execute_command(command, body)  # noqa: SLF001

    def events(self, timeout: float) -> Iterator[bytes]:
        """Yields the events that have come; waits at most so many seconds for the first.

        Raises OSError where the line breaks, Refused where the server ends the stream, LineClosed
        where it says that nothing more comes.
        """
        assert self._packets is not None, "the log was asked for"
        for packet in self._packets.arrived(timeout):
            self._heard_at = time.monotonic()
            first = packet[0] if packet else _ERROR
            if first == _OK:
                yield packet[1:]
                continue
            raise _refusal(packet)


def _refusal(packet: bytes) -> Refused:
    """Returns what a packet that is no event says."""
    if packet[:1] == bytes((_END,)) and len(packet) < _END_BYTES:
        return Refused(0, "other")
    number = int.from_bytes(packet[1:3], "little")
    text = packet[3:].decode("utf-8", "replace").lower()
    cause: Cause = "other"
    if number in _LOGIN:
        cause = "login"
    elif any(words in text for words in _TAKEN):
        cause = "taken"
    elif any(words in text for words in _PURGED):
        cause = "purged"
    return Refused(number, cause)
