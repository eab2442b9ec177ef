"""Shows, or takes away, what the front end still holds of what is no longer shared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import func, select, table
from sqlalchemy.sql.elements import quoted_name

from agent.config import FrontSettings, KafkaSettings, Settings, Topics
from agent.errors import AgentError, NotInitialised
from agent.front import init_settings, unshared
from agent.front.opening import front_of
from agent.front.store import SqlFront
from agent.front.unshared import Leftover
from agent.messages import mark, phrase, translate
from agent.outbox.opening import reading
from agent.outbox.reader import Reader
from agent.preflight import kafka_commands
from agent.preflight.initialise import locked

Tell = Callable[[str], None]


def known(front: FrontSettings, topics: Topics) -> list[str]:
    """Returns every resource that is or was shared.

    Raises NotInitialised, and the errors of the front end.
    """
    with reading(front, topics.agent) as reader:
        reader.identity()
        return list(dict.fromkeys([*reader.resources(), *topics.resources.values()]))


def forget(settings: Settings, name: str, apply: bool, tell: Tell) -> int:
    """Tells what is left of a resource, and with `apply` takes it away while the service stands.

    Returns 1 where something is left that the owner of the front end has to take away.
    Raises AlreadyRunning, AnotherAgent, NotInitialised, FrontReplaced, and the errors of the
    front end.
    """
    if apply:
        opened = locked(settings.front, settings.agent, settings.service.listen)
    else:
        opened = _unlocked(settings.front, settings.agent)
    shared = name in settings.topics.resources.values()
    kept = False

    with opened as front:
        found = _left(settings, front, name)
        if shared and not found:
            text = mark("{resource} is shared, and the front end holds nothing of it that is not")
            tell(translate(text, resource=name))
            return 0
        if apply:
            kept = _forget(front, name, found, shared, tell)
        else:
            _tell_plan(front, name, found, shared, tell)
        _tell_topic(settings.kafka, settings.topics, front, name, tell)
    return int(kept)


@contextmanager
def _unlocked(settings: FrontSettings, agent: str) -> Iterator[SqlFront]:
    """Opens the front end for reading, beside a service that may run."""
    front = front_of(settings, agent)
    front.engine = front.engine.execution_options(reader=True)
    try:
        yield front
    finally:
        front.engine.dispose()


def _left(settings: Settings, front: SqlFront, name: str) -> list[Leftover]:
    """Returns what is left of a resource. Raises NotInitialised, FrontReplaced."""
    stored = front.stored_state()
    if stored is None or not stored["initialised"]:
        raise NotInitialised(what=phrase("the state in the front end"))
    init_settings.check(settings, stored, *front.noted())
    leftovers = unshared.leftovers(settings.resource, front)
    return [left for left in leftovers if left.resource == name]


def _tell_plan(
    front: SqlFront,
    name: str,
    found: Sequence[Leftover],
    shared: bool,
    tell: Tell,
) -> None:
    text = mark(
        "Nothing is changed. `sync-agent forget {resource} --apply` does the following while the "
        "service is stopped:"
    )
    tell(translate(text, resource=name))
    for left in found:
        if left.made:
            tell("   " + _said(front, left))
        else:
            _tell_unknown(front, left, tell)
        for statement in left.statements:
            tell(f"      {statement}")
    if not shared:
        text = mark("   what this agent's own tables hold of {resource} is deleted")
        tell(translate(text, resource=name))


def _said(front: SqlFront, left: Leftover) -> str:
    place = front.place_name(left.place)
    if left.columns:
        text = mark(
            "columns {columns} of the front-end table {table} are dropped with all they hold:"
        )
        return translate(text, columns=", ".join(left.columns), table=place)
    text = mark("the front-end table {table} is dropped with its {count} rows:")
    return translate(text, table=place, count=_count(front, left))


def _count(front: SqlFront, left: Leftover) -> int:
    schema = None if front.engine.dialect.name == "sqlite" else quoted_name(left.place.schema, True)
    rows = table(quoted_name(left.place.table, True), schema=schema)
    with front.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(rows)).scalar_one())


def _tell_unknown(front: SqlFront, left: Leftover, tell: Tell) -> None:
    text = mark(
        "   nobody knows whether this agent has made the front-end table {table}, "
        "so nothing is done to it; if nobody else needs it, its owner runs:"
    )
    tell(translate(text, table=front.place_name(left.place)))


def _tell_topic(
    kafka: KafkaSettings,
    topics: Topics,
    front: SqlFront,
    name: str,
    tell: Tell,
) -> None:
    rows = Reader(front.engine, front.agent).resources()
    topic = unshared.topic_left(topics, rows, name)
    if topic:
        text = mark(
            "   topic {topic} keeps its events; once its subscribers need them no more, "
            "Kafka's administrator runs:"
        )
        tell(translate(text, topic=topic))
        tell(f"      {kafka_commands.delete_topic(kafka, topic)}")


def _forget(
    front: SqlFront,
    name: str,
    found: Sequence[Leftover],
    shared: bool,
    tell: Tell,
) -> bool:
    """Takes it away. Returns whether something is left for the owner of the front end."""
    kept = [left for left in found if not _dropped(front, left, tell)]
    if not kept and not shared:
        unshared.forget_rows(front, name)
        text = mark("What this agent's own tables held of {resource} is deleted")
        tell(translate(text, resource=name))
    return bool(kept)


def _dropped(front: SqlFront, left: Leftover, tell: Tell) -> bool:
    """Takes one away, or tells its owner the statements.

    That is where it is not this agent's to do, or is refused.
    """
    if not left.made:
        _tell_unknown(front, left, tell)
    else:
        try:
            unshared.drop(front, left)
        except AgentError as error:
            text = mark("   the front end refuses, and its owner has to run it: {reason}")
            tell(translate(text, reason=error.text()))
        else:
            for statement in left.statements:
                tell(translate(mark("Front end: {statement}"), statement=statement))
            return True
    for statement in left.statements:
        tell(f"      {statement}")
    return False
