"""Tells what `init --apply` would do and what the owners of the databases and of Kafka can do for it; changes nothing."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import inspect

from agent.config import Settings
from agent.connectors.postgres.session import address
from agent.errors import AgentError
from agent.files import is_there
from agent.front.opening import front_of
from agent.front.store import SqlFront
from agent.messages import mark, system_reason, translate
from agent.preflight import judgement, kafka_commands, source_facts, statements
from agent.preflight.administrator import administrator
from agent.preflight.findings import Finding, errors, failed, listing
from agent.preflight.front_checks import file_of, standing
from agent.preflight.judgement import Judgement
from agent.preflight.source_init import check_replication, connected
from agent.publish.topics import describe, wanted
from agent.reach import place, refusal

Tell = Callable[[str], None]
_CONNECT_SECONDS, _KAFKA_SECONDS = 2.0, 10.0  # to reach a broker, and to be told the topics


def tell_plan(settings: Settings, admin_url: str | None, tell: Tell) -> None:
    """See `initialise`. A business database that does not answer yet, for want of the role perhaps, is no error here."""
    tell(
        translate(
            mark(
                "Nothing is changed. `sync-agent init --apply` does the following; with --as URL also what is marked 'owner'."
            )
        )
    )
    judged, server, slot, reason = _asked(settings, admin_url)
    tell(
        "\n"
        + translate(
            mark("1. Business database {address} (owner):"), address=address(settings.source)
        )
    )
    if judged is None:
        tell(translate(mark("   it cannot be asked yet: {reason}"), reason=reason))
    for line in _owner(settings, judged):
        tell(f"   {line}")
    wrong = errors(
        [*server, *(judged.tables if judged else []), *(judged.publication if judged else [])]
    )
    _repair(wrong, tell)
    text = mark("   replication slot {slot} (plugin pgoutput), made with the right REPLICATION")
    if slot:
        text = mark("   replication slot {slot}: there")
    tell(translate(text, slot=settings.slot))
    _front(settings, judged, tell)
    _kafka(settings, tell)


class _Source(NamedTuple):
    """What the business database says; else why it says nothing."""

    judged: Judgement | None
    server: list[Finding]
    slot: bool  # there is one of the agent's name
    reason: str


def _asked(settings: Settings, admin_url: str | None) -> _Source:
    """Asks the business database as the administrator or the agent."""
    try:
        with administrator(settings, admin_url) as admin:
            if admin is not None:
                return _said(settings, admin)
        with connected(settings) as side:
            said = _said(settings, side)
            if errors(said.judged.rights if said.judged else []):
                return said
            return said._replace(server=[*said.server, *check_replication(settings, side)])
    except AgentError as error:
        return _Source(None, [], False, error.text())


def _said(settings: Settings, connection: source_facts.Connection) -> _Source:
    return _Source(
        judgement.judge(settings, connection),
        judgement.judge_server(settings, connection),
        source_facts.slot(connection, settings.slot) is not None,
        "",
    )


def _owner(settings: Settings, judged: Judgement | None) -> Iterator[str]:
    """SQL for the owner: what is missing, or everything where nothing is known."""
    rights = errors(judged.rights) if judged else []
    if judged is None or any(finding.code == "ROLE_MISSING" for finding in rights):
        yield f"{statements.role(settings)};  -- {translate(mark('then set its password in psql:'))} \\password {settings.source.user}"
        yield from (
            f"{statement};"
            for statement in statements.grants(settings, judged.key_schemas if judged else ())
        )
    elif rights:
        yield from (line for finding in rights for line in finding.fix.splitlines())
    else:
        yield "-- " + translate(
            mark("role {user}: there, with all rights"), user=settings.source.user
        )
    if judged is None or judged.published is None:
        yield f"{statements.create_publication(settings, judged.generated if judged else False)};"
    else:
        yield "-- " + translate(
            mark("publication {publication}: there"), publication=settings.publication
        )


def _front(settings: Settings, judged: Judgement | None, tell: Tell) -> None:
    tell("\n" + translate(mark("2. Front end {url}; tables:"), url=settings.front_url))
    front = front_of(settings)
    try:
        _front_tables(settings, front, judged, tell)
    finally:
        front.engine.dispose()


def _front_tables(
    settings: Settings, front: SqlFront, judged: Judgement | None, tell: Tell
) -> None:
    there = _own_there(settings, front, tell)
    _tell_own(front, there or [], tell)
    if judged is None or errors(judged.tables):
        tell(
            translate(
                mark(
                    "   the shared tables are shown once the business database answers and they can be shared"
                )
            )
        )
        return
    for resource in judged.resources(settings):
        try:
            if there is not None and standing(front, resource.target):
                tell(_there(resource.target.name))
                continue
        except AgentError as error:
            _repair([failed(error)], tell)
            continue
        for line in f"{front.create_statement(resource.target)};".splitlines():
            tell(f"   {line}")


def _repair(wrong: list[Finding], tell: Tell) -> None:
    """Tells what `init --apply` would refuse."""
    if wrong:
        once = dict.fromkeys(wrong)
        tell(translate(mark("   to be repaired first:{findings}"), findings=listing(once)))


def _tell_own(front: SqlFront, there: Collection[str], tell: Tell) -> None:
    """Tells the agent's own tables: those that are missing in one line, the others as being there."""
    missing = [name for name in front.own.metadata.tables if name not in there]
    if missing:
        tell("   " + ", ".join(missing))
    if there:
        tell(_there(", ".join(there)))


def _there(names: str) -> str:
    return "   -- " + translate(mark("{names}: there"), names=names)


def _own_there(settings: Settings, front: SqlFront, tell: Tell) -> list[str] | None:
    """The agent's own tables that are there; None where the front end cannot be asked, and tells why. A SQLite file is not made."""
    file = file_of(settings)
    if file is not None and not is_there(file):
        return None
    try:
        front.engine = front.engine.execution_options(reader=True)
        front.stored_state()  # under which names its tables are, if they are
        with front.guarded(), front.engine.connect() as connection:
            front.check_rights(connection)
            found = inspect(connection)
            return [name for name in front.own.metadata.tables if found.has_table(name)]
    except AgentError as error:
        _repair([failed(error)], tell)
        return None


def _reach(servers: Sequence[str]) -> None:
    """Connects to the first server that listens. Raises OSError where none does, at once: a client would go on trying."""
    error: OSError | None = None
    for server in servers:
        error = refusal(*place(server), _CONNECT_SECONDS)
        if error is None:
            return
    if error is not None:
        raise error


def _kafka(settings: Settings, tell: Tell) -> None:
    """Tells the topics. A cluster that cannot be asked yet is no error here."""
    tell(
        "\n"
        + translate(
            mark("3. Kafka {servers}; topics:"),
            servers=", ".join(settings.kafka.bootstrap_servers),
        )
    )
    found: Mapping[str, object] = {}
    try:
        _reach(settings.kafka.bootstrap_servers)
        found = describe(settings, _KAFKA_SECONDS)
    except (AgentError, OSError) as error:
        reason = error.text() if isinstance(error, AgentError) else system_reason(error)
        tell(translate(mark("   it cannot be asked yet: {reason}"), reason=reason))
    for name in wanted(settings):
        if found.get(name) is None:
            tell(f"   {kafka_commands.create_topic(settings, name)}")
        else:
            tell(_there(name))
    if found.get(settings.state_topic) is None:
        tell(translate(mark("   and the first record in {topic}"), topic=settings.state_topic))
