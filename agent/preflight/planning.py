"""Tells what `init --apply` would do, and what the owners of the databases and of Kafka can do.

Changes nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import inspect

from agent.config import KafkaSettings, Settings, Topics
from agent.connectors.opening import setup_of
from agent.connectors.setup import Tell
from agent.errors import AgentError
from agent.files import is_there
from agent.findings import failed, to_repair
from agent.front.opening import front_of
from agent.front.store import SqlFront
from agent.messages import mark, system_reason, translate
from agent.preflight import kafka_commands
from agent.preflight.front_checks import file_of, standing
from agent.preflight.resources import compiled
from agent.publish.topics import describe, wanted
from agent.reach import place, refusal
from agent.resource import Resource

_CONNECT_SECONDS, _KAFKA_SECONDS = 2.0, 10.0  # to reach a broker, and to be told the topics


def tell_plan(settings: Settings, admin_url: str | None, tell: Tell) -> None:
    """See `initialise`. A source that does not answer yet is no error here."""
    text = mark(
        "Nothing is changed. `sync-agent init --apply` does the following; "
        "with --as URL also what is marked 'owner'."
    )
    tell(translate(text))

    setup = setup_of(settings)
    plan = setup.plan(admin_url)
    text = mark("1. Business database {address} (owner):")
    tell("\n" + translate(text, address=setup.address))
    for line in plan.lines:
        tell(line)

    tell("\n" + translate(mark("2. Front end {url}; tables:"), url=settings.front.url))
    front = front_of(settings.front, settings.agent)
    try:
        answers = _tell_own(file_of(settings.front.url), front, tell)
        if plan.tables is None:
            _tell_unknown(tell)
        else:
            resources = compiled(settings.resource, settings.kafka, plan.tables)
            _tell_shared(resources, front, answers, tell)
    finally:
        front.engine.dispose()

    _tell_kafka(settings.kafka, settings.topics, tell)


def _tell_unknown(tell: Tell) -> None:
    """Tells that the source has not said yet how the shared tables look."""
    text = mark(
        "   the shared tables are shown once the business database answers and they can be shared"
    )
    tell(translate(text))


def _tell_shared(resources: Sequence[Resource], front: SqlFront, answers: bool, tell: Tell) -> None:
    """Tells the front-end tables. `answers`: the front end can be asked which are there."""
    for resource in resources:
        try:
            if answers and standing(front, resource.target):
                tell(_there(resource.target.name))
                continue
        except AgentError as error:
            _tell_error(error, tell)
            continue
        for line in f"{front.create_statement(resource.target)};".splitlines():
            tell(f"   {line}")


def _tell_error(error: AgentError, tell: Tell) -> None:
    """Tells what `init --apply` would refuse."""
    tell(to_repair([failed(error)]))


def _tell_own(file: Path | None, front: SqlFront, tell: Tell) -> bool:
    """Tells the agent's own tables: the missing ones in one line, the others as being there.

    Returns whether the front end can be asked; a SQLite `file` is not made.
    """
    found = _own_there(file, front, tell)
    there = found or []
    missing = [name for name in front.own.metadata.tables if name not in there]
    if missing:
        tell("   " + ", ".join(missing))
    if there:
        tell(_there(", ".join(there)))
    return found is not None


def _there(names: str) -> str:
    return "   -- " + translate(mark("{names}: there"), names=names)


def _own_there(file: Path | None, front: SqlFront, tell: Tell) -> list[str] | None:
    """Returns the agent's own tables that are there; a SQLite `file` is not made.

    None where the front end cannot be asked, and tells why.
    """
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
        _tell_error(error, tell)
        return None


def _reach(servers: Sequence[str]) -> None:
    """Connects to the first server that listens, at once: a client would go on trying.

    Raises OSError where none does.
    """
    error: OSError | None = None
    for server in servers:
        error = refusal(*place(server), _CONNECT_SECONDS)
        if error is None:
            return
    if error is not None:
        raise error


def _tell_kafka(kafka: KafkaSettings, topics: Topics, tell: Tell) -> None:
    """Tells the topics. A cluster that cannot be asked yet is no error here."""
    servers = kafka.bootstrap_servers
    text = mark("3. Kafka {servers}; topics:")
    tell("\n" + translate(text, servers=", ".join(servers)))

    found: Mapping[str, object] = {}
    try:
        _reach(servers)
        found = describe(kafka, topics, _KAFKA_SECONDS)
    except (AgentError, OSError) as error:
        reason = error.text() if isinstance(error, AgentError) else system_reason(error)
        tell(translate(mark("   it cannot be asked yet: {reason}"), reason=reason))
    for name in wanted(kafka, topics):
        if found.get(name) is None:
            tell(f"   {kafka_commands.create_topic(kafka, topics, name)}")
        else:
            tell(_there(name))
    if found.get(topics.state) is None:
        text = mark("   and the first record in {topic}")
        tell(translate(text, topic=topics.state))
