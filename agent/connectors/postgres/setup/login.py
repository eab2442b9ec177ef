"""Checks the way to the business database for `check`: host, port, TLS, login."""

import socket
from collections.abc import Iterator

from agent.config import PostgresSettings
from agent.connectors.postgres.session import unverified
from agent.findings import Finding, error, ok
from agent.messages import mark, translate
from agent.reach import why

_CONNECT_SECONDS = 5.0
# In the client's words for what the server answers, in lower case
_BUSY = (
    "starting up",
    "shutting down",
    "too many clients",
    "connection slots",
    "recovery mode",
    "not yet accepting",
)
_TLS = ("ssl", "certificate", "tls")
_GONE = ("timeout expired", "server closed the connection", "could not receive")

# By what is wrong with the certificate: message and fix
_TLS_FAULTS: dict[str, tuple[str, str]] = {
    "name": (
        mark("{server}: the certificate is for another host name than {host}"),
        mark(
            "Use the name in the certificate in source.host, or have one issued that names {host}."
        ),
    ),
    "time": (
        mark("{server}: the certificate is outside its time: {reason}"),
        mark(
            "See it with: openssl s_client -starttls postgres -connect {server} -showcerts "
            "</dev/null | openssl x509 -noout -text"
        ),
    ),
    "authority": (
        mark(
            "{server}: the certificate is not signed by the authority "
            "in source.sslrootcert: {reason}"
        ),
        mark(
            "Put the certificate of the authority that signed the server's into source.sslrootcert."
        ),
    ),
}


def check_network(settings: PostgresSettings) -> Iterator[Finding]:
    """Resolves the host name and connects to the port; a socket's folder has neither."""
    host, port = settings.host, settings.port
    if host.startswith("/"):
        return
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except (socket.gaierror, UnicodeError):
        yield error(
            "SOURCE_HOST",
            mark("The host name {host} cannot be resolved"),
            translate(mark("Correct source.host, or the host's DNS.")),
            host=host,
        )
    except OSError as cause:
        reason, fix = why(cause)
        yield error(
            "SOURCE_NETWORK",
            mark("The business database at {host}:{port} cannot be reached: {reason}"),
            translate(fix, host=host, port=port),
            host=host,
            port=port,
            reason=reason,
        )
    else:
        yield ok("SOURCE_NETWORK", mark("{host}:{port} accepts connections"), host=host, port=port)


def refused(settings: PostgresSettings, text: str) -> Finding:
    """Tells by the client's words why there is no connection.

    The server's own words may be in another language, so a refused login is what remains.
    """
    lines = text.strip().splitlines()
    reason = lines[-1] if lines else "?"
    lower = reason.lower()
    if any(sign in lower for sign in _BUSY):
        return error(
            "SOURCE_BUSY",
            mark("The business database does not take connections now: {reason}"),
            translate(mark("Wait, or raise max_connections.")),
            reason=reason,
        )
    if any(sign in lower for sign in _GONE):
        return error(
            "SOURCE_NETWORK",
            mark("The business database breaks the connection off: {reason}"),
            translate(mark("Is it PostgreSQL that listens there?")),
            reason=reason,
        )
    if found := unverified(settings, text):
        message, fix = _TLS_FAULTS.get(found.fault, _TLS_FAULTS["authority"])
        server = f"{settings.host}:{settings.port}"
        values = {"server": server, "host": settings.host, "reason": found.reason}
        return error("SOURCE_TLS", message, translate(fix, **values), **values)
    if "pg_hba" not in lower and any(sign in lower for sign in _TLS):
        return _no_tls(reason)
    return _no_login(settings, reason)


def _no_tls(reason: str) -> Finding:
    fix = mark(
        "Set source.sslrootcert to the authority that signed the server's certificate, "
        "use the host name in it, or have the server's owner set ssl = on."
    )
    message = mark("No TLS connection to the business database: {reason}")
    return error("SOURCE_TLS", message, translate(fix), reason=reason)


def _no_login(settings: PostgresSettings, reason: str) -> Finding:
    user = settings.user
    line = f"host  {settings.database}  {user}  <address of this host>/32  scram-sha-256"
    fix = mark(
        "Check source.user, source.database and the password file; "
        "the server's pg_hba.conf needs a line such as:"
    )
    return error(
        "SOURCE_LOGIN",
        mark("The business database refuses the login of {user}: {reason}"),
        f"{translate(fix)}\n{line}",
        user=user,
        reason=reason,
    )
