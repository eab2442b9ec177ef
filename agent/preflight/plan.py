"""Tells what `init --apply` would do and what the owners of the databases and of Kafka can do for it; changes nothing."""

from collections.abc import Callable, Iterator

from agent.config import Settings
from agent.connectors.postgres.session import address
from agent.errors import AgentError
from agent.front.opening import front_of
from agent.front.schema import AgentTables
from agent.front.store import SqlFront
from agent.messages import mark, translate
from agent.preflight import judgement, kafka_commands, source_facts, statements
from agent.preflight.administrator import administrator
from agent.preflight.findings import Finding, errors, failed, listing
from agent.preflight.judgement import Judgement
from agent.preflight.server_checks import check_limit, check_server
from agent.preflight.source_init import connected
from agent.publish.topics import wanted

Tell = Callable[[str], None]


def tell_plan(settings: Settings, admin_url: str | None, tell: Tell) -> None:
    """See `initialise`. A business database that does not answer yet, for want of the role perhaps, is no error here."""
    tell(
        translate(
            mark(
                "Nothing is changed. `sync-agent init --apply` does the following; with --as URL also what is marked 'owner'."
            )
        )
    )
    judged, server, reason = _asked(settings, admin_url)
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
    if wrong:
        tell(translate(mark("   to be repaired first:{findings}"), findings=listing(wrong)))
    tell(
        translate(
            mark("   replication slot {slot} (plugin pgoutput), made with the right REPLICATION"),
            slot=settings.slot,
        )
    )
    _front(settings, judged, tell)
    tell(
        "\n"
        + translate(
            mark("3. Kafka {servers}; topics that are missing:"),
            servers=", ".join(settings.kafka.bootstrap_servers),
        )
    )
    for name in wanted(settings):
        tell(f"   {kafka_commands.create_topic(settings, name)}")
    tell(translate(mark("   and the first record in {topic}"), topic=settings.state_topic))


def _asked(
    settings: Settings, admin_url: str | None
) -> tuple[Judgement | None, list[Finding], str]:
    """What the database says, to the administrator or the agent; else why it says nothing."""
    try:
        with administrator(settings, admin_url) as admin:
            if admin is not None:
                return judgement.judge(settings, admin), _server(admin), ""
        with connected(settings) as side:
            return judgement.judge(settings, side), _server(side), ""
    except AgentError as error:
        return None, [], error.text()


def _server(connection: source_facts.Connection) -> list[Finding]:
    server = source_facts.server(connection)
    return [*check_server(server, first=True), check_limit(server)]


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
    tell(
        "\n"
        + translate(mark("2. Front end {url}; tables that are missing:"), url=settings.front_url)
    )
    tell("   " + ", ".join(AgentTables(settings.agent).metadata.tables))
    front = front_of(settings)
    if front.engine.url.get_backend_name() != "sqlite":
        _reached(front, tell)
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
        for line in f"{front.create_statement(resource.target)};".splitlines():
            tell(f"   {line}")


def _reached(front: SqlFront, tell: Tell) -> None:
    """Tells why a front end that a server holds cannot be used, or reached yet."""
    try:
        with front.guarded(), front.engine.connect():
            pass
    except AgentError as error:
        tell(
            translate(mark("   to be repaired first:{findings}"), findings=listing([failed(error)]))
        )
