"""Checks this host for `check`: the address of /metrics is free, or this very agent's.

And that who can reach it from elsewhere needs a password, which nobody can read on the way.
The disk of the business database's log is looked at, too, where it is one of this host.
"""

import os
import socket
from collections.abc import Iterator

from agent import BUILD
from agent.config import ServiceSettings
from agent.errors import CertificateRefused, SecretMissing
from agent.findings import Finding, error, failed, ok, warning
from agent.messages import mark, system_reason, translate
from agent.reach import is_loopback, place
from agent.service.access import Access
from agent.service.certificate import Certificate
from agent.service.health import asked

_SECONDS = 2.0
_LOGIN = 'password = { file = "/etc/unit-sync-agent/page.password" }'
_TLS = (
    'tls = { cert_file = "/etc/unit-sync-agent/page.pem", '
    'key_file = "/etc/unit-sync-agent/page.key" }'
)


def check_build() -> list[Finding]:
    """Tells whether the compiled modules run, where they are installed."""
    if BUILD == "pure":
        return []
    if BUILD == "compiled":
        return [ok("COMPILED", mark("The compiled modules are in use"))]
    built_for = mark("another Python")
    if BUILD == "another source":
        built_for = mark("another version of the agent")
    message = mark(
        "The compiled modules are not used: they were built for {what}; "
        "the agent runs without them, only slower"
    )
    fix = mark(
        "Install unit-sync-agent-compiled of this very release and Python, "
        "or remove it: pip uninstall unit-sync-agent-compiled"
    )
    return [warning("COMPILED", message, translate(fix), what=translate(built_for))]


def check_disk(folder: str | None) -> list[Finding]:
    """Tells what is free on the disk of the business database's log, where it is named."""
    if folder is None:
        return []
    try:
        disk = os.statvfs(folder)
    except OSError as cause:
        message = mark("The free space of service.source_disk {folder} cannot be read: {reason}")
        fix = mark(
            "Name a folder of this host on that disk, such as its mount point, "
            "or leave service.source_disk out."
        )
        reason = system_reason(cause)
        return [error("SOURCE_DISK", message, translate(fix), folder=folder, reason=reason)]
    message = mark("{size} MB are free on the disk of {folder} (service.source_disk)")
    return [ok("SOURCE_DISK", message, folder=folder, size=disk.f_bavail * disk.f_frsize >> 20)]


def check_service(service: ServiceSettings, agent: str) -> list[Finding]:
    """Checks the listen address; `agent` is the name that this agent answers with there."""
    listen = service.listen
    host, port = place(listen)
    findings = list(_protection(service, agent))
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as cause:
        if asked(listen, agent, _SECONDS) is not None:
            return [
                *findings,
                ok("LISTEN", mark("The service runs and answers at {listen}"), listen=listen),
            ]
        message = mark("The address {listen} of service.listen cannot be taken: {reason}")
        fix = mark(
            "Set service.listen to a free port of this host; what holds this one shows: "
            "ss -ltnp 'sport = :{port}'"
        )
        reason = system_reason(cause) if isinstance(cause, OSError) else type(cause).__name__
        return [
            *findings,
            error("LISTEN", message, translate(fix, port=port), listen=listen, reason=reason),
        ]
    return [
        *findings,
        ok("LISTEN", mark("The address {listen} is free for /metrics and health"), listen=listen),
    ]


def _protection(service: ServiceSettings, agent: str) -> Iterator[Finding]:
    """Yields what is to be said of password and certificate.

    Both are warnings where they are missing: behind a firewall that lets only Prometheus through,
    this is how agents are watched.
    """
    try:
        Access(service, agent)
    except SecretMissing as cause:
        yield failed(cause)
    if service.tls is not None:
        try:
            Certificate(service.tls)
        except CertificateRefused as cause:
            yield failed(cause)

    host, _ = place(service.listen)
    if is_loopback(host):
        return
    if service.password is None:
        message = mark(
            "service.listen is {listen}: the status page, /metrics and health "
            "can be read from other hosts without a password"
        )
        text = mark("Listen on this host alone, or set a password with TLS, below [service]:")
        fix = f'{translate(text)}\nlisten = "127.0.0.1:9187"\n{_LOGIN}\n{_TLS}'
        yield warning("LISTEN_OPEN", message, fix, listen=service.listen)
    elif service.tls is None:
        message = mark(
            "service.listen is {listen}: without TLS, the password of service.password "
            "can be read on its way from other hosts"
        )
        yield warning("LISTEN_READABLE", message, _TLS, listen=service.listen)
    else:
        message = mark("Other hosts need the password of service.password, and TLS")
        yield ok("LISTEN_OPEN", message)
