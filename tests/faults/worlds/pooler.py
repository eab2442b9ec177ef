"""Forwards a line to PostgreSQL with only the start-up parameters that PgBouncer knows.

This is what its setting `ignore_startup_parameters` does.
"""

import struct

from tests.services.proxy import Line, TcpProxy

VERSION_3 = 196608  # of the protocol: the first message of a session; others ask for TLS or cancel
KNOWN = ("user", "database", "replication", "application_name", "client_encoding")


class Pooler(TcpProxy):
    """Drops all other parameters in silence: the session gets what role and database say."""

    def _forwarded(self, line: Line, data: bytes, up: bool) -> bytes:
        if not up or line.sent or len(data) < 8:
            return data
        if struct.unpack_from(">i", data, 4)[0] != VERSION_3:
            return data
        line.sent += b"begun"
        return startup(data)


def startup(message: bytes) -> bytes:
    """Returns the first message of a session without the unknown parameters.

    What follows it stays.
    """
    size = struct.unpack_from(">i", message)[0]
    words = message[8:size].split(b"\0")
    kept = b"".join(
        name + b"\0" + value + b"\0"
        for name, value in zip(words[::2], words[1::2], strict=False)
        if name.decode() in KNOWN
    )
    body = struct.pack(">i", VERSION_3) + kept + b"\0"
    return struct.pack(">i", len(body) + 4) + body + message[size:]
