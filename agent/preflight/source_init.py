"""init's work on the business database: role and grants for the administrator, the publication, and last of all the slot."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from agent.config import Settings
from agent.connectors.postgres import catalogue, slot
from agent.connectors.postgres.history import check_identity, elsewhere
from agent.connectors.postgres.session import address, connect, guarded, opened
from agent.errors import InitRefused
from agent.messages import mark, phrase, translate
from agent.preflight import judgement, publication_checks, source_facts, statements
from agent.preflight.findings import Finding, errors, listing
from agent.preflight.judgement import Judgement
from agent.preflight.server_checks import no_replication, no_slot

Connection = psycopg.Connection[Any]
Tell = Callable[[str], None]
SLOT_SECONDS = 60.0  # for the server to make the slot
_LIMIT_REACHED = "53400"  # all replication slots are in use


class Start(NamedTuple):
    """Where the stream begins."""

    system_id: str
    timeline: int
    position: str
    time_us: int


def refuse(findings: list[Finding]) -> None:
    """Raises InitRefused with every error among the findings and what fixes it."""
    wrong = errors(findings)
    if wrong:
        raise InitRefused(
            reason=phrase(
                mark("the business database is not ready:{findings}"), findings=listing(wrong)
            )
        )


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """The agent's own connection."""
    with connect(settings.source) as connection, guarded(settings.source):
        yield connection


def prepare_role(settings: Settings, admin: Connection | None, tell: Tell) -> None:
    """As the administrator: the agent's role, with the password of the configuration, which leaves this host only as its SCRAM verifier."""
    if admin is None:
        return
    found = source_facts.role(admin, settings.source.user)
    if found is not None and found.login and (found.replication or found.super):
        return
    exists = found is not None
    verifier = ""
    if not exists and settings.source.password is not None:
        password = settings.source.password.read("source.password").encode()
        verifier = admin.pgconn.encrypt_password(
            password, settings.source.user.encode(), b"scram-sha-256"
        ).decode()
    _run(
        admin,
        statements.role(settings, exists, verifier),
        tell,
        told=statements.role(settings, exists),
    )


def _run(connection: Connection, statement: str, tell: Tell, told: str = "") -> None:
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        reason = mark(
            "the business database refuses (SQLSTATE {sqlstate}); its owner must run:\n      {statement};"
        )
        raise InitRefused(
            reason=phrase(reason, sqlstate=error.sqlstate or "?", statement=told or statement)
        ) from None
    tell(translate(mark("Business database: {statement}"), statement=told or statement))


def judge_and_grant(
    settings: Settings, admin: Connection | None, side: Connection, tell: Tell
) -> Judgement:
    """Refuses a server or tables that will not do, then grants what is missing where there is an administrator."""
    judged = judgement.judge(settings, side)
    missing = (
        [] if judged.published is None else publication_checks.missing(settings, judged.published)
    )
    if missing:
        _run(admin or side, statements.add_tables(settings, missing), tell)
        judged = judgement.judge(settings, side)
    server = source_facts.server(side)
    if admin is not None and source_facts.server(admin).started != server.started:
        raise InitRefused(
            reason=phrase(mark("--as leads to another server than source.host and source.port"))
        )
    if judged.invalid is not None:
        raise judged.invalid
    of_server = judgement.judge_server(settings, side)
    bounds = [finding for finding in of_server if finding.code in ("SLOT_LIMIT", "SLOT_IDLE")]
    others = [finding for finding in of_server if finding not in bounds]
    refuse([*others, *judged.tables, *judged.publication])
    for finding in bounds:
        if finding.level != "ok":
            tell(translate(mark("Warning: {finding}"), finding=finding.message))
    if admin is not None and errors(judged.rights):
        for statement in statements.grants(settings, judged.key_schemas):
            _run(admin, statement, tell)
        for finding in judged.rights:
            if finding.code == "RIGHT_TYPE_SCHEMA":
                _run(admin, finding.fix.rstrip(";"), tell)
        judged = judgement.judge(settings, side)
    refuse(judged.rights)
    refuse(check_replication(settings, side))
    return judged


def check_replication(settings: Settings, side: Connection) -> list[Finding]:
    """Why no replication connection is to be had: the slot is made over one, after everything else."""
    try:
        with opened(settings.source, replication=True):
            return []
    except psycopg.Error as cause:
        return [no_replication(str(cause), source_facts.server(side))]


def refuse_existing_slot(settings: Settings, side: Connection) -> None:
    """Raises InitRefused where a slot of the name exists, though no position is stored: nobody knows what it has passed."""
    found = source_facts.slot(side, settings.slot)
    if found is None:
        return
    message, values = existing_slot(settings, found)
    raise InitRefused(reason=phrase(message, **values))


def existing_slot(settings: Settings, found: Any) -> tuple[str, dict[str, object]]:
    """Tells what to do about a slot for which the front end has no position: as a message, and what fills it.

    To drop it is advised only where nobody reads it.
    """
    values: dict[str, object] = {"slot": settings.slot}
    if found.active_pid is not None:
        text = mark(
            "the replication slot {slot} is being read by server process {pid} for a client at {client}: another agent has it. "
            "Give this one another name or source.slot; or, if it is this one, put front.url, state_directory and name back"
        )
        return text, values | {"pid": found.active_pid, "client": found.reader or "?"}
    text = mark(
        "the replication slot {slot} exists, and the front end at {url} has no position for it. "
        "Was this agent initialised before? Then put front.url, state_directory and name back as they were. "
        "Only if no other agent uses it, its owner runs:\n      {statement};"
    )
    return text, values | {
        "url": settings.front_url,
        "statement": statements.drop_slot(settings.slot),
    }


def refuse_other_server(settings: Settings, side: Connection, stored: Mapping[str, object]) -> None:
    """Raises SourceReplaced, SourcePromoted or SourceNotPrimary: `init` makes what is missing, it accepts no other server."""
    with connect(settings.source, replication=True) as replication:
        server = catalogue.server(replication, side, settings.slot)
    system_id, timeline = str(stored["system_id"]), int(str(stored["timeline"]))
    check_identity(server, system_id, timeline, address(settings.source))
    if server.elsewhere:
        raise elsewhere(server, settings.slot)


def make_publication(
    settings: Settings, connection: Connection, judged: Judgement, tell: Tell
) -> None:
    """Before the slot: on 18 a slot that is older than its publication is wrong without an error. An existing one was judged already."""
    if judged.published is None:
        _run(connection, statements.create_publication(settings, judged.generated), tell)
    else:
        tell(
            translate(
                mark("Publication {publication} exists and fits"), publication=settings.publication
            )
        )


@contextmanager
def new_slot(settings: Settings, tell: Tell, timeout: float | None = None) -> Iterator[Start]:
    """Makes the slot and yields where it begins. If the caller cannot store the position, the slot is dropped again."""
    seconds = SLOT_SECONDS if timeout is None else timeout
    with connected(settings) as side, connect(settings.source, replication=True) as replication:
        server = catalogue.server(replication, side, settings.slot)
        tell(
            translate(
                mark(
                    "Creating replication slot {slot}; waiting up to {seconds} s for running transactions"
                ),
                slot=settings.slot,
                seconds=f"{seconds:g}",
            )
        )
        position = _create(settings, replication, side, seconds)
        try:
            yield Start(
                server.system_id,
                server.timeline,
                position,
                int(source_facts.server(side).clock * 1_000_000),
            )
        except BaseException:
            slot.drop(replication, settings.source, settings.slot)
            raise


def _create(settings: Settings, replication: Connection, side: Connection, seconds: float) -> str:
    try:
        return slot.create(replication, side, settings.source, settings.slot, seconds)
    except slot.SlotTimeout as error:
        lines = [f"      {w.who}  {w.application}  {w.since}  {w.state}" for w in error.waits]
        reason = mark(
            "no replication slot within {seconds} s: the server waits for these transactions to end (process, application, begun, state):\n{waits}"
        )
        raise InitRefused(
            reason=phrase(reason, seconds=f"{seconds:g}", waits="\n".join(lines) or "      ?")
        ) from None
    except slot.SlotRefused as error:
        if error.sqlstate == _LIMIT_REACHED:  # somebody has taken the last one meanwhile
            refuse([no_slot(source_facts.server(side))])
        raise InitRefused(
            reason=phrase(
                mark("the server refuses to make replication slot {slot}: SQLSTATE {sqlstate}"),
                slot=settings.slot,
                sqlstate=error.sqlstate,
            )
        ) from None
