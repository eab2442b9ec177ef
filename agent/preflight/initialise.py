"""Makes for `init --apply` all that the service needs; goes on where an earlier run stopped."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from sqlalchemy import Connection, delete

from agent.config import FrontSettings, Settings
from agent.connectors.opening import setup_of
from agent.connectors.resume import Resume
from agent.connectors.setup import Setup, Tell
from agent.errors import AlreadyRunning, AnotherAgent, InitRefused
from agent.front import init_settings
from agent.front.opening import open_front
from agent.front.store import SqlFront
from agent.messages import mark, phrase, translate
from agent.outbox.reader import Reader
from agent.preflight import planning, topic_owners
from agent.preflight.front_checks import Waiting, hazards, standing
from agent.preflight.left_behind import left_behind
from agent.preflight.resources import compiled
from agent.preflight.stored_source import complete_identity, follow, resume_of, store_identity
from agent.publish.topics import create_topics, existing, settled, write_first_state
from agent.resource import Resource
from agent.service.health import asked

_PATIENCE = 2.0  # seconds for a running service to answer


def initialise(
    settings: Settings,
    apply: bool,
    admin_url: str | None,
    tell: Tell,
    take_over: Collection[str] = (),
) -> None:
    """Tells what the agent needs on all sides; with `apply` makes it.

    `admin_url`: an administrator's way to the source, for what only its owner may do.
    `take_over`: topics with another agent's records that are to be this one's.

    Beside the running service only what is new in the configuration is made, which the service
    does not know yet; for anything else it raises AlreadyRunning.

    Raises InitRefused, FrontTableWrong, FrontTableTaken, TopicTaken, FrontReplaced, AnotherAgent,
    AlreadyRunning, the errors of connections, and those of the topics.
    """
    check_administrator(setup_of(settings), admin_url)
    if not apply:
        planning.tell_plan(settings, admin_url, tell)
        return
    with ExitStack() as stack:
        running = None
        try:
            front = stack.enter_context(
                locked(settings.front, settings.agent, settings.service.listen)
            )
        except AlreadyRunning as error:
            running = error
            front = stack.enter_context(_beside_the_service(settings.front, settings.agent))

        for resource in settings.resource:
            front.check_configured(resource)
        stored = front.stored_state()
        if stored is not None:
            init_settings.check(settings, stored, *front.noted())
        run = _Init(settings, front, admin_url, tell, take_over, running)
        if stored is not None and stored["initialised"]:
            run.complete(stored)
        else:
            run.first()


def check_administrator(setup: Setup, admin_url: str | None) -> None:
    """Raises InitRefused where an administrator is named and the source needs none."""
    if admin_url is not None and not setup.administered:
        text = mark("--as: a source of this kind is not prepared by an administrator")
        raise InitRefused(reason=phrase(text))


@contextmanager
def _beside_the_service(settings: FrontSettings, agent: str) -> Iterator[SqlFront]:
    """Opens the front end whose lock the agent's own service has."""
    front = open_front(settings, agent)
    try:
        yield front
    finally:
        front.engine.dispose()


@contextmanager
def locked(settings: FrontSettings, agent: str, listen: str) -> Iterator[SqlFront]:
    """Opens the front end with the lock that keeps a running agent, or another init, out.

    `listen`: where the agent's service would answer. Raises AlreadyRunning, AnotherAgent, and the
    errors of the front end.
    """
    front = open_front(settings, agent)
    try:
        with front.guarded():
            connection = front.engine.connect()
        try:
            with front.guarded():
                _lock(front, connection, listen)
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


def _lock(front: SqlFront, connection: Connection, listen: str) -> None:
    """Takes the lock. Raises AlreadyRunning where this agent's own service holds it.

    Else raises AnotherAgent.
    """
    try:
        front.lock(connection)
    except AnotherAgent:
        if asked(listen, front.agent, _PATIENCE) is None:
            raise
        raise AlreadyRunning(agent=front.agent, address=listen) from None


class _Init:
    """One run of `init --apply` over the locked front end."""

    def __init__(
        self,
        settings: Settings,
        front: SqlFront,
        admin_url: str | None,
        tell: Tell,
        take_over: Collection[str],
        running: AlreadyRunning | None,
    ) -> None:
        """`running`: what to raise for all that cannot be done beside the running service."""
        self._running = running
        self._settings = settings
        self._front = front
        self._admin_url = admin_url
        self._tell = tell
        self._take_over = take_over
        self._setup: Setup = setup_of(settings)

    def first(self) -> None:
        """Makes everything, in an order in which a crash leaves nothing half.

        What comes last is the stream of the source, and its position in one transaction.
        """
        self._needs_the_lock()
        settings, front, tell = self._settings, self._front, self._tell
        with self._setup.prepare(tell, self._admin_url, None) as source:
            resources = compiled(settings.resource, settings.kafka, source.tables)
            self._check_tables(resources)
            topics = existing(settings.kafka, settings.topics)
            state = self._make_state(resources)
            self._make_tables(resources)
            create_topics(settings.kafka, settings.topics, tell, topics)
            self._make_state_record(state)
            self._claim_topics(state)
            source.finish()

            with self._setup.start(tell, None) as start:
                store_identity(
                    front,
                    start,
                    source_id=f"{start.stream}/{state['agent_uuid']}",
                    position=start.position,
                    position_time_us=start.time_us,
                    initialised=1,
                )
        text = mark("Done. Next: `sync-agent check`, then start the service (`sync-agent run`).")
        tell(translate(text))

    def complete(self, stored: Mapping[str, object]) -> None:
        """Makes what is missing: tables that are new in the configuration, and a lost stream.

        What is there stays.
        """
        settings, front, tell = self._settings, self._front, self._tell
        if self._take_over:
            self._needs_the_lock()
        text = mark("This agent is initialised already: only what is missing is made")
        tell(translate(text))
        rows = Reader(front.engine, front.agent).resources()
        self._check_topics(rows)
        before = resume_of(stored)
        with self._setup.prepare(tell, self._admin_url, before) as source:
            if source.lost:
                self._needs_the_lock()
            resources = compiled(settings.resource, settings.kafka, source.tables)
            missing = self._check_tables(resources)
            if not rows.keys().isdisjoint(missing):
                self._needs_the_lock()
            topics = existing(settings.kafka, settings.topics)
            made = self._make_tables(resources)
            front.copy_again([name for name in {*made, *source.missed} if name in rows])
            create_topics(settings.kafka, settings.topics, tell, topics)
            source.finish()
            front.initialise({}, {resource.name: resource.topic for resource in resources})
            front.note_settings(init_settings.noted(settings.kafka.prefix), replace=False)
            if self._running is None:
                complete_identity(front, before, source.identity)
            self._claim_topics(stored)
            lost = source.lost

        self._tell_left_behind()
        self._tell_added([resource.name for resource in resources if resource.name not in rows])
        if lost:
            self._start_anew(before)

    def _needs_the_lock(self) -> None:
        """Raises AlreadyRunning where the service has it."""
        if self._running is not None:
            raise self._running

    def _start_anew(self, before: Resume) -> None:
        """Begins another stream after a lost one.

        Every table is compared with the source, and only differences are published.
        """
        with self._setup.start(self._tell, before) as start:
            follow(self._front, start)

    def _check_topics(self, rows: Mapping[str, Mapping[str, object]]) -> None:
        """Raises InitRefused where the configuration names another topic than before."""
        for resource in self._settings.resource:
            now = self._settings.topic(resource)
            if resource.name not in rows or rows[resource.name]["topic"] == now:
                continue
            reason = mark(
                "{name} was published to topic {before}; the configuration now says {now}: "
                "set it back, or start over (docs/OPERATIONS.md)"
            )
            before = rows[resource.name]["topic"]
            raise InitRefused(reason=phrase(reason, name=resource.name, before=before, now=now))

    def _check_tables(self, resources: Sequence[Resource]) -> list[str]:
        """Returns the resources whose front-end tables are missing, before anything is made there.

        Raises FrontTableWrong, FrontTableTaken.
        """
        missing = []
        for resource in resources:
            if not standing(self._front, resource.target):
                missing.append(resource.name)
        return missing

    def _make_state(self, resources: Sequence[Resource]) -> Mapping[str, object]:
        """Makes the agent's tables and its identity; returns the state row.

        An earlier run may have made them. Source and position are still unknown.
        """
        front, settings = self._front, self._settings
        if front.stored_state() is not None:
            # Of a run that did not come to its end; the configuration may have changed since
            with front.guarded(), front.engine.begin() as connection:
                connection.execute(delete(front.own.resource))
        topics = {resource.name: resource.topic for resource in resources}
        front.initialise(_first_state(settings.agent), topics)
        front.note_settings(init_settings.noted(settings.kafka.prefix), replace=True)
        stored = front.stored_state()
        if stored is None:
            raise AnotherAgent(holder=phrase("its tables are gone"))
        return stored

    def _make_tables(self, resources: Sequence[Resource]) -> list[str]:
        """Creates or checks each front-end table; returns the resources whose tables are new."""
        front, created = self._front, []
        for resource in resources:
            front.claim(resource.target)
            made = front.create(resource.target)
            front.check(resource.target)
            text = mark("Front-end table {table} exists and fits")
            if made:
                text = mark("Front-end table {table} created")
            self._tell(translate(text, table=resource.target.name))
            for found in hazards(front, resource.target):
                self._warn(found.message, found.fix)
            if made:
                front.note_made(resource.target)
                created.append(resource.name)
        return created

    def _make_state_record(self, state: Mapping[str, object]) -> None:
        settings = self._settings
        uuid, nonce = str(state["agent_uuid"]), str(state["nonce"])
        epoch = int(str(state["epoch"]))
        settled(lambda: write_first_state(settings.kafka, settings.topics, uuid, epoch, nonce))
        text = mark("Topic {topic}: first state record is there")
        self._tell(translate(text, topic=settings.state_topic))

    def _claim_topics(self, state: Mapping[str, object]) -> None:
        kafka, topics = self._settings.kafka, self._settings.topics
        uuid = str(state["agent_uuid"])
        settled(
            lambda: topic_owners.claim(
                kafka, topics, self._front, uuid, self._take_over, self._tell
            )
        )

    def _tell_left_behind(self) -> None:
        settings = self._settings
        kafka, topics = settings.kafka, settings.topics
        for found in left_behind(settings.resource, kafka, topics, self._front):
            self._warn(found.message, found.fix)

    def _tell_added(self, names: Sequence[str]) -> None:
        if names:
            text = mark(
                "Added: {names}; the service copies what they hold as soon as it is started again"
            )
            if self._running is not None:
                text = mark(
                    "Added: {names}; `systemctl reload` (SIGHUP) makes the service copy their rows"
                )
            self._tell(translate(text, names=", ".join(names)))

    def _warn(self, message: str, fix: str) -> None:
        self._tell(translate(mark("Warning: {finding}"), finding=message))
        for line in fix.splitlines():
            self._tell(f"   {line}")


def _first_state(agent: str) -> dict[str, object]:
    """Returns the state row before the source is known."""
    return {
        "agent_uuid": str(uuid4()),
        "agent_name": agent,
        "source_id": "",
        "identity": {},
        "epoch": 0,
        "nonce": str(uuid4()),
        "initialised": 0,
        "position": "",
        "position_time_us": 0,
        "commit_position": "",
        "commit_transaction": 0,
        "commit_time_us": 0,
        "number": 0,
        "batch": 0,
    }
