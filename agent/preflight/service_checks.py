"""Checks this host for `check`: the address of /metrics is free, or this very agent's."""

import ipaddress
import socket

from agent import BUILD
from agent.findings import Finding, error, ok, warning
from agent.messages import mark, system_reason, translate
from agent.reach import place
from agent.service.health import asked

_SECONDS = 2.0


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


def check_service(listen: str, agent: str) -> list[Finding]:
    """Checks the listen address; `agent` is the name that this agent answers with there."""
    host, port = place(listen)
    findings = [] if _is_local(host) else [_open(listen)]
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


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _open(listen: str) -> Finding:
    message = mark(
        "service.listen is {listen}: /metrics and health, which need no login, "
        "can be reached from other hosts"
    )
    return warning("LISTEN_OPEN", message, 'listen = "127.0.0.1:9187"', listen=listen)
