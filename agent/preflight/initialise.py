"""`init` and `init --apply`: tells, or makes, all that the service needs; goes on where an earlier run stopped."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import Connection, delete

from agent.config import Settings
from agent.connectors.postgres.history import other_publication
from agent.errors import (
    AlreadyRunning,
    AnotherAgent,
    InitRefused,
)
from agent.front import init_settings
from agent.front.base import PUBLICATION
from agent.front.opening import open_front
from agent.front.store import SqlFront
from agent.messages import mark, phrase, translate
from agent.outbox.reader import Reader
from agent.preflight import plan, source_facts, source_init, topic_owners
from agent.preflight.administrator import administrator
from agent.preflight.front_checks import Waiting, hazards, standing
from agent.preflight.left_behind import left_behind
from agent.publish.topics import create_topics, existing, settled, write_first_state
from agent.resource import Resource
from agent.service.health import asked

Tell = Callable[[str], None]
_PATIENCE = 2.0  # seconds for a running service to answer


def initialise(
    settings: Settings,
    apply: bool,
    admin_url: str | None,
    tell: Tell,
    take_over: Collection[str] = (),
) -> None:
    """Tells what the agent needs on all sides; with `apply` makes it, as the administrator where `admin_url` is given.

    `take_over`: topics with another agent's records that are to be this one's.

    Raises InitRefused, FrontTableWrong, FrontTableTaken, TopicTaken, FrontReplaced, AnotherAgent, the errors of connections, and those of the topics.
    """
    if not apply:
        plan.tell_plan(settings, admin_url, tell)
        return
    with locked(settings) as front:
        for resource in settings.resource:
            front.check_configured(resource)
        stored = front.stored_state()
        if stored is not None:
            init_settings.check(settings, stored, *front.noted())
        if stored is not None and stored["initialised"]:
            _again(settings, front, admin_url, stored, tell, take_over)
        else:
            _first(settings, front, admin_url, tell, take_over)


def _lock(settings: Settings, front: SqlFront, connection: Connection) -> None:
    """Takes the lock. Raises AlreadyRunning where this agent's own service holds it, else AnotherAgent."""
    try:
        front.lock(connection)
    except AnotherAgent:
        if asked(settings.service.listen, settings.agent, _PATIENCE) is None:
            raise
        raise AlreadyRunning(agent=settings.agent, address=settings.service.listen) from None


@contextmanager
def locked(settings: Settings) -> Iterator[SqlFront]:
    """The front end with the lock that keeps a running agent, or another init, out."""
    front = open_front(settings)
    try:
        with front.guarded():
            connection = front.engine.connect()
        try:
            with front.guarded():
                _lock(settings, front, connection)
                front.check_rights(connection)
                front.alive = Waiting()
                front.examine(connection)
                front.adopt(connection)
                connection.rollback()
            yield front
        finally:
            connection.invalidate()
            connection.close()
            front.unlock()
    finally:
        front.engine.dispose()


def _first(
    settings: Settings,
    front: SqlFront,
    admin_url: str | None,
    tell: Tell,
    take_over: Collection[str],
) -> None:
    """Everything in an order in which a crash leaves nothing half: what comes last is the slot, and the position in one transaction."""
    with administrator(settings, admin_url) as admin:
        source_init.prepare_role(settings, admin, tell)
        with source_init.connected(settings) as side:
            judged = source_init.judge_and_grant(settings, admin, side, tell)
            resources = judged.resources(settings)
            source_init.refuse_existing_slot(settings, side)
            _holds(front, resources)
            topics = existing(settings)
            identity = _identity(settings, front, resources)
            _front_tables(front, resources, tell)
            create_topics(settings, tell, topics)
            settled(
                lambda: write_first_state(
                    settings,
                    str(identity["agent_uuid"]),
                    int(str(identity["epoch"])),
                    str(identity["nonce"]),
                )
            )
            tell(
                translate(
                    mark("Topic {topic}: first state record is there"), topic=settings.state_topic
                )
            )
            settled(
                lambda: topic_owners.claim(
                    settings, front, str(identity["agent_uuid"]), take_over, tell
                )
            )
            source_init.make_publication(settings, admin or side, judged, tell)
            _slot(settings, front, str(identity["agent_uuid"]), tell)
    tell(
        translate(
            mark("Done. Next: `sync-agent check`, then start the service (`sync-agent run`).")
        )
    )


def _slot(settings: Settings, front: SqlFront, agent_uuid: str, tell: Tell) -> None:
    with source_init.new_slot(settings, tell) as start:
        front.update_state(
            source_id=f"{start.system_id}/{settings.source.database}/{settings.slot}/{agent_uuid}",
            system_id=start.system_id,
            timeline=start.timeline,
            slot=settings.slot,
            position=start.position,
            position_time_us=start.time_us,
            initialised=1,
        )
    tell(
        translate(
            mark("Replication slot {slot} created; the stream begins at {position}"),
            slot=settings.slot,
            position=start.position,
        )
    )


def _identity(
    settings: Settings, front: SqlFront, resources: list[Resource]
) -> Mapping[str, object]:
    """The agent's tables and its identity, which an earlier run may have made; source and position are still unknown."""
    fresh: dict[str, object] = {
        "agent_uuid": str(uuid4()), "agent_name": settings.agent, "source_id": "", "system_id": "", "timeline": 0, "slot": settings.slot,
        "epoch": 0, "nonce": str(uuid4()), "initialised": 0, "position": "", "position_time_us": 0,
        "commit_position": "", "commit_xid": 0, "commit_time_us": 0, "number": 0, "batch": 0,
    }  # fmt: skip
    if (
        front.stored_state() is not None
    ):  # of a run that did not come to its end; the configuration may have changed since
        with front.guarded(), front.engine.begin() as connection:
            connection.execute(delete(front.own.resource))
    front.initialise(fresh, {resource.name: resource.topic for resource in resources})
    front.note_settings(settings, anew=True)
    stored = front.stored_state()
    if stored is None:
        raise AnotherAgent(holder=phrase("its tables are gone"))
    return stored


def _holds(front: SqlFront, resources: list[Resource]) -> None:
    """Raises FrontTableWrong, FrontTableTaken before anything is made in the front end."""
    for resource in resources:
        standing(front, resource.target)


def _front_tables(front: SqlFront, resources: list[Resource], tell: Tell) -> list[str]:
    """Creates or checks each; returns the resources whose tables were created."""
    created = []
    for resource in resources:
        front.claim(resource.target)
        made = front.create(resource.target)
        front.check(resource.target)
        text = (
            mark("Front-end table {table} created")
            if made
            else mark("Front-end table {table} exists and fits")
        )
        tell(translate(text, table=resource.target.name))
        for found in hazards(front, resource.target):
            tell(translate(mark("Warning: {finding}"), finding=found.message))
            tell(f"   {found.fix}")
        if made:
            front.note_made(resource.target)
            created.append(resource.name)
    return created


def _again(
    settings: Settings,
    front: SqlFront,
    admin_url: str | None,
    stored: Mapping[str, object],
    tell: Tell,
    take_over: Collection[str],
) -> None:
    """What is missing is made: tables of the configuration that are new, and a slot where there is none any more; what is there stays."""
    tell(translate(mark("This agent is initialised already: only what is missing is made")))
    rows = Reader(front.engine, settings.agent).resources()
    for resource in settings.resource:
        if resource.name in rows and rows[resource.name]["topic"] != settings.topic(resource):
            reason = mark(
                "{name} was published to topic {before}; the configuration now says {now}: set it back, or start over (docs/OPERATIONS.md)"
            )
            raise InitRefused(
                reason=phrase(
                    reason,
                    name=resource.name,
                    before=rows[resource.name]["topic"],
                    now=settings.topic(resource),
                )
            )
    with administrator(settings, admin_url) as admin, source_init.connected(settings) as side:
        lost = source_facts.slot(side, settings.slot) is None
        if not lost:
            source_init.refuse_other_server(settings, side, stored)
        judged = source_init.judge_and_grant(settings, admin, side, tell)
        resources = judged.resources(settings)
        _holds(front, resources)
        topics = existing(settings)
        front.initialise({}, {})  # an older version had fewer tables
        made = _front_tables(front, resources, tell)
        front.copy_again([name for name in made if name in rows])
        create_topics(settings, tell, topics)
        if judged.published is None:
            if other := other_publication(
                front.noted()[0].get(PUBLICATION, ""), settings.publication
            ):
                raise other
            source_init.make_publication(settings, admin or side, judged, tell)
        front.initialise({}, {resource.name: resource.topic for resource in resources})
        front.note_settings(settings, anew=False)
        settled(
            lambda: topic_owners.claim(settings, front, str(stored["agent_uuid"]), take_over, tell)
        )
    for found in left_behind(settings, front):
        tell(translate(mark("Warning: {finding}"), finding=found.message))
        for line in found.fix.splitlines():
            tell(f"   {line}")
    added = [resource.name for resource in resources if resource.name not in rows]
    if added:
        tell(
            translate(
                mark(
                    "Added: {names}; the service copies what they hold as soon as it is started again"
                ),
                names=", ".join(added),
            )
        )
    if lost:
        _new_slot(settings, front, stored, tell)


def _new_slot(
    settings: Settings, front: SqlFront, stored: Mapping[str, object], tell: Tell
) -> None:
    """The way back after a lost slot: the stream begins anew, and every table is compared with the source; only differences are published."""
    with source_init.new_slot(settings, tell) as start:
        front.follow(start.system_id, start.timeline, start.position, start.time_us)
    if start.system_id != stored["system_id"]:
        tell(
            translate(
                mark(
                    "Warning: the business database is another one than before (its system identifier has changed)"
                )
            )
        )
    text = mark(
        "Replication slot {slot} created anew; the stream begins at {position}, and the service reads every table again"
    )
    tell(translate(text, slot=settings.slot, position=start.position))
