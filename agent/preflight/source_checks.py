"""Checks the business database for `check`: the way to it step by step, then server, role, tables, publication and slot."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import psycopg

from agent.config import Settings
from agent.connectors.postgres import catalogue
from agent.connectors.postgres.history import check_server as check_history
from agent.connectors.postgres.history import other_publication
from agent.connectors.postgres.session import address, guarded, opened, unverified
from agent.connectors.resume import CommitMark, Resume
from agent.errors import AgentError, SlotBusy
from agent.front.base import PUBLICATION
from agent.messages import mark, phrase, translate
from agent.preflight import judgement, source_facts, source_init, statements
from agent.preflight.filter_checks import check_filters
from agent.preflight.findings import Finding, error, errors, failed, ok, warning
from agent.preflight.judgement import Judgement
from agent.preflight.server_checks import no_replication
from agent.reach import why

Connection = psycopg.Connection[Any]
_CONNECT_SECONDS = 5.0
_SKEW_WARNING, _SKEW_ERROR = 2.0, 60.0  # seconds between the clocks
_LONG = 60.0  # seconds a transaction may be open before slot creation would run into its time-out
_BEHIND = 1 << 30  # bytes of log a slot may keep without a word
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


State = Callable[[], Mapping[str, object]]


class Source(NamedTuple):
    """What came out: the findings, and the judgement where the database could be asked."""

    findings: list[Finding]
    judged: Judgement | None


def check_source(settings: Settings, stored: State | None) -> Source:
    """Every check of the business database. `stored` reads the agent's state row; None where it is not initialised."""
    findings = list(_network(settings))
    if errors(findings):
        return Source(findings, None)
    try:
        connection = opened(settings.source)
    except AgentError as cause:
        return Source([*findings, failed(cause)], None)
    except psycopg.Error as cause:
        return Source([*findings, _refused(settings, str(cause))], None)
    with connection:
        findings.append(
            ok(
                "SOURCE_LOGIN",
                mark("Logged in to {address} as {user}"),
                address=address(settings.source),
                user=settings.source.user,
            )
        )
        judged: list[Judgement] = []
        steps: list[Callable[[], list[Finding]]] = [
            lambda: [*judgement.judge_server(settings, connection), *_clock(connection)],
            lambda: _judged(settings, connection, judged, stored),
            lambda: _filters(settings, connection, judged),
            lambda: _replication(settings, connection, stored),
            lambda: [] if stored else list(_long(connection)),
        ]
        for step in steps:
            findings += _guarded(settings, step)
    once = list(
        dict.fromkeys(findings)
    )  # two steps may meet the same, such as a server that is full
    return Source(once, judged[0] if judged else None)


def _guarded(settings: Settings, step: Callable[[], list[Finding]]) -> list[Finding]:
    """One step; what it cannot find out is a finding, and the next ones still run."""
    try:
        with guarded(settings.source):
            return step()
    except AgentError as cause:
        return [failed(cause)]


def _network(settings: Settings) -> Iterator[Finding]:
    host, port = settings.source.host, settings.source.port
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
        message = mark("The business database at {host}:{port} cannot be reached: {reason}")
        yield error(
            "SOURCE_NETWORK",
            message,
            translate(fix, host=host, port=port),
            host=host,
            port=port,
            reason=reason,
        )
    else:
        yield ok("SOURCE_NETWORK", mark("{host}:{port} accepts connections"), host=host, port=port)


def _refused(settings: Settings, text: str) -> Finding:
    """Tells TLS and login apart by the client's words; those of the server may be in its own language, so login is what remains."""
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
    if found := unverified(settings.source, text):
        message, fix = _TLS_FAULTS.get(found.fault, _TLS_FAULTS["authority"])
        server = f"{settings.source.host}:{settings.source.port}"
        values = {"server": server, "host": settings.source.host, "reason": found.reason}
        return error("SOURCE_TLS", message, translate(fix, **values), **values)
    if "pg_hba" not in lower and any(sign in lower for sign in _TLS):
        fix = mark(
            "Set source.sslrootcert to the authority that signed the server's certificate, use the host name in it, or have the server's owner set ssl = on."
        )
        return error(
            "SOURCE_TLS",
            mark("No TLS connection to the business database: {reason}"),
            translate(fix),
            reason=reason,
        )
    user = settings.source.user
    line = f"host  {settings.source.database}  {user}  <address of this host>/32  scram-sha-256"
    fix = mark(
        "Check source.user, source.database and the password file; the server's pg_hba.conf needs a line such as:"
    )
    return error(
        "SOURCE_LOGIN",
        mark("The business database refuses the login of {user}: {reason}"),
        f"{translate(fix)}\n{line}",
        user=user,
        reason=reason,
    )


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
            "See it with: openssl s_client -starttls postgres -connect {server} -showcerts </dev/null | openssl x509 -noout -text"
        ),
    ),
    "authority": (
        mark(
            "{server}: the certificate is not signed by the authority in source.sslrootcert: {reason}"
        ),
        mark(
            "Put the certificate of the authority that signed the server's into source.sslrootcert."
        ),
    ),
}


def _clock(connection: Connection) -> Iterator[Finding]:
    before = time.time()
    clock = source_facts.server(connection).clock
    seconds = abs(clock - (before + time.time()) / 2)
    if seconds <= _SKEW_WARNING:
        yield ok("CLOCK", mark("The clocks of the business database and of this host agree"))
        return
    level = error if seconds > _SKEW_ERROR else warning
    message = mark(
        "The clocks of the business database and of this host differ by {seconds} s: "
        "lags and times of events are wrong by as much, and Kafka refuses events that are dated an hour ahead"
    )
    yield level(
        "CLOCK",
        message,
        translate(mark("Set both by NTP; see it with: timedatectl timesync-status")),
        seconds=f"{seconds:.0f}",
    )


def _judged(
    settings: Settings, connection: Connection, out: list[Judgement], stored: State | None
) -> list[Finding]:
    judged = judgement.judge(settings, connection)
    out.append(judged)
    publication = judged.publication
    if judged.published is None:
        level = error if stored else warning
        message = (
            mark("The publication {publication} does not exist")
            if stored
            else mark(
                "The publication {publication} does not exist yet; init makes it, or its owner does"
            )
        )
        fix = f"{statements.create_publication(settings, judged.generated)};"
        noted: Any = stored()["settings"] if stored else {}
        if other := other_publication(noted.get(PUBLICATION, ""), settings.publication):
            return [*judged.rights, *judged.tables, failed(other)]
        publication = [level("PUBLICATION_MISSING", message, fix, publication=settings.publication)]
    return [*judged.rights, *judged.tables, *publication]


def _filters(settings: Settings, side: Connection, judged: list[Judgement]) -> list[Finding]:
    """What each filter keeps of a sample, where everything that can be read fits."""
    found = judged[0] if judged else None
    if found is None or errors([*found.tables, *found.rights]):
        return []
    return check_filters(side, found.resources(settings))


def _replication(settings: Settings, side: Connection, stored: State | None) -> list[Finding]:
    """The replication connection and the slot."""
    try:
        replication = opened(settings.source, replication=True)
    except psycopg.Error as cause:
        return [no_replication(str(cause), source_facts.server(side))]
    with replication:
        found = [ok("SOURCE_REPLICATION", mark("A replication connection can be made"))]
        return found + (
            _followed(settings, replication, side, stored) if stored else _unmade(settings, side)
        )


def _unmade(settings: Settings, side: Connection) -> list[Finding]:
    found = source_facts.slot(side, settings.slot)
    if found is None:
        return [
            ok(
                "SLOT",
                mark("The replication slot {slot} does not exist yet; init makes it"),
                slot=settings.slot,
            )
        ]
    message, values = source_init.existing_slot(settings, found)
    text = mark("This agent is not initialised, and {reason}")
    return [error("SLOT", text, reason=phrase(message, **values))]


def _followed(
    settings: Settings, replication: Connection, side: Connection, stored: State
) -> list[Finding]:
    """Checks A and B as the service makes them, and how far the slot is behind."""
    # A running service moves all on, slot <= position <= end of the log at any moment: so they are asked in this order.
    confirmed = catalogue.server(replication, side, settings.slot).confirmed
    row: Any = stored()
    server = catalogue.server(replication, side, settings.slot)._replace(confirmed=confirmed)
    slot_name = str(row["slot"])
    known = Resume(
        row["position"],
        CommitMark(row["commit_position"], row["commit_xid"], row["commit_time_us"]),
        {"system_id": row["system_id"], "timeline": row["timeline"], "slot": slot_name},
    )
    text = mark("The replication slot {slot} stands where this agent left it; nobody reads it now")
    try:
        check_history(server, known, address(settings.source))
    except SlotBusy:
        text = mark("The replication slot {slot} is being read")
    slot = source_facts.slot(side, slot_name)
    if slot is not None and slot.behind > _BEHIND:
        message = mark(
            "The replication slot {slot} is {behind} MB behind: the server keeps that much log for it"
        )
        fix = translate(
            mark("Start the service, or look at `sync-agent status` for what holds it up.")
        )
        return [warning("SLOT", message, fix, slot=slot_name, behind=slot.behind >> 20)]
    return [ok("SLOT", text, slot=slot_name)]


def _long(connection: Connection) -> Iterator[Finding]:
    for who, application, seconds in source_facts.long_transactions(connection, _LONG):
        message = mark(
            "A transaction has been open for {seconds} s (process {who}, {application}): init would wait for its end to make the slot"
        )
        fix = f"SELECT pid, usename, application_name, client_addr, state, xact_start FROM pg_stat_activity WHERE pid = {who};"
        if not who.isdigit():
            fix = "SELECT gid, prepared, owner, database FROM pg_prepared_xacts;"
        yield warning(
            "LONG_TRANSACTION", message, fix, seconds=seconds, who=who, application=application
        )
