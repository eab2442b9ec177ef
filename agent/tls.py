"""Says what is wrong with a server's certificate.

The clients of databases and of Kafka only say that it could not be verified.
"""

import socket
import ssl
from typing import Literal, NamedTuple

from agent.messages import system_reason

Fault = Literal["files", "handshake", "name", "time", "authority"]
SECONDS = 4.0  # a handshake may take, on a busy machine
_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, ..._HAS_EXPIRED
_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, ..._IP_ADDRESS_MISMATCH


class Trust(NamedTuple):
    """The files a client verifies with and shows; no file: the system's authorities."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    names: bool = True  # the certificate must also be for the host


class Refusal(NamedTuple):
    """Why a handshake fails.

    The reason is OpenSSL's and names nothing but the certificate's fault and the host.
    """

    fault: Fault
    reason: str


def unreadable(trust: Trust) -> Refusal | None:
    """Why the files cannot be used; None when they can."""
    made = _context(trust)
    return made if isinstance(made, Refusal) else None


def _context(trust: Trust) -> ssl.SSLContext | Refusal:
    try:
        context = ssl.create_default_context(cafile=trust.ca_file)
        context.check_hostname = trust.names
        if trust.cert_file:
            context.load_cert_chain(trust.cert_file, trust.key_file)
    except OSError as error:  # ssl.SSLError is one
        return Refusal(
            "files",
            type(error).__name__ if isinstance(error, ssl.SSLError) else system_reason(error),
        )
    return context


def refusal(
    connection: socket.socket, host: str, trust: Trust, seconds: float = SECONDS
) -> Refusal | None:
    """Does the handshake on a connection, which is of no use afterwards; None when it succeeds."""
    context = _context(trust)
    if isinstance(context, Refusal):
        return context
    try:
        connection.settimeout(seconds)
        with context.wrap_socket(connection, server_hostname=host):
            return None
    except ssl.SSLCertVerificationError as error:
        fault: Fault = (
            "name"
            if error.verify_code in _NAME
            else "time"
            if error.verify_code in _TIME
            else "authority"
        )
        return Refusal(fault, error.verify_message.rstrip("."))
    except OSError as error:
        return Refusal("handshake", getattr(error, "reason", None) or type(error).__name__)


def asked(
    host: str, port: int, trust: Trust, greeting: bytes = b"", seconds: float = SECONDS
) -> Refusal | None:
    """Returns the refusal on a new connection, made within `seconds`.

    The handshake may take as many, too.
    `greeting` is what the server wants to be told before the handshake, answered by one byte.
    None also when there is no connection: then the certificate is not what is wrong.
    """
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            if greeting:
                connection.sendall(greeting)
                if connection.recv(1) != b"S":
                    return None
            return refusal(connection, host, trust, seconds)
    except OSError:
        return None
