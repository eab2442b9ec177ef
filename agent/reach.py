"""Tells why a server cannot be reached.

Nothing listens there, a firewall drops the packets, or there is no way to it.
"""

import errno
import ipaddress
import socket

from agent.messages import mark, phrase, system_reason

REFUSED = mark(
    "Nothing listens on port {port} of {host}: is the service up, "
    "and is this its port? On that host: ss -ltn. (Some firewalls refuse, too.)"
)
SILENT = mark(
    "Nobody answers: the host is down, or a firewall between here and {host} drops what is sent to "
    "port {port}: nc -vz {host} {port}"
)
NO_WAY = mark(
    "This host knows no way to {host}: check address, routes and VPN: ip route get {host}"
)
OTHER = mark("See whether {host} can be reached from here: nc -vz {host} {port}")


def place(server: str) -> tuple[str, int]:
    """Takes an address such as `broker:9092` or `[::1]:9092` apart.

    Raises ValueError where the port is no number.
    """
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Tells whether a name or address is that of the host itself, which no other one reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refusal(host: str, port: int, seconds: float) -> OSError | None:
    """Tries to connect: what stands against it, None where somebody listens."""
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        return error
    return None


def why(error: OSError) -> tuple[str, str]:
    """The reason for a message, and what to do about it (filled by `host` and `port`)."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return phrase(mark("no answer in time")), SILENT
    if error.errno == errno.ECONNREFUSED:
        return system_reason(error), REFUSED
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
        return phrase(mark("no route to the host")), NO_WAY
    return system_reason(error), OTHER
