"""Shows, or does, what takes an agent's stored data back to an older version, for `downgrade`."""

import time
from collections.abc import Callable

from sqlalchemy import func, select

from agent.config import Settings
from agent.errors import InitRefused, NotInitialised
from agent.front.first_version import FIRST
from agent.messages import Phrase, mark, phrase, translate
from agent.outbox.opening import reading
from agent.outbox.reader import Reader
from agent.preflight.initialise import locked
from agent.publish import recovery, state
from agent.publish.topics import SECONDS, broker, write_state

Tell = Callable[[str], None]

# Versions of the program that store data in another form than this one
OLDER = ("0.1.0",)

_PLAN = mark(
    "Nothing is changed. `sync-agent downgrade --to {version} --apply` rewrites the agent's tables "
    "in the front end and its state record in Kafka, so that version {version} goes on where this "
    "one has stopped."
)
_DONE = mark(
    "Version {version} goes on where this one has stopped: start it now. The first start of this "
    "version would rewrite the stored data again."
)


def downgrade(settings: Settings, version: str, apply: bool, tell: Tell) -> None:
    """Tells what has to change for a version of `OLDER`; with `apply` changes it.

    First the state record in Kafka, which this version still reads, then the tables in the front
    end, all at once: so it can be given again, whatever has stopped it.

    Raises AlreadyRunning, AnotherAgent, InitRefused where 0.1.0 could not go on, and the errors of
    the front end and Kafka.
    """
    try:
        newer = _is_newer(settings)
    except NotInitialised:
        newer = False
    if not newer:
        text = mark("Nothing is stored that version {version} could not read")
        tell(translate(text, version=version))
        return
    if not apply:
        tell(translate(_PLAN, version=version))
        return

    with locked(settings.front, settings.agent, settings.service.listen) as front:
        with reading(settings.front, settings.agent) as reader:
            _check(settings, reader)
            uuid = reader.identity().agent_uuid
        _write_older_record(settings, uuid)
        front.step_back()
    tell(translate(_DONE, version=version))


def _is_newer(settings: Settings) -> bool:
    """Says whether what is stored has the form of this version, and could take the older one.

    Raises NotInitialised where nothing is stored, InitRefused.
    """
    with reading(settings.front, settings.agent) as reader:
        reader.identity()
        if reader.own.version == FIRST:
            return False
        _check(settings, reader)
    return True


def _check(settings: Settings, reader: Reader) -> None:
    """Raises InitRefused where 0.1.0 could not go on."""
    reason = _hindrance(reader)
    if settings.source.type != "postgresql":
        reason = phrase("version 0.1.0 reads nothing but the log of a PostgreSQL database")
    if reason is not None:
        raise InitRefused(reason=reason)


def _hindrance(reader: Reader) -> Phrase | None:
    """Returns what keeps 0.1.0 from going on, or None."""
    for name, row in reader.resources().items():
        if row["state"] != "live":
            return phrase(
                "table {table} is not live: start the service, wait until every table is, stop it",
                table=name,
            )
    for name, count in reader.refused().items():
        return phrase(
            "table {table} has {count} refused rows, which version 0.1.0 does not know: "
            "`sync-agent refused` lists them",
            table=name,
            count=count,
        )

    if _rows_share_keys(reader):
        return phrase(
            "a large transaction has come half-way: start the service, wait until "
            "`sync-agent status` says that it keeps up, stop it"
        )
    return None


def _rows_share_keys(reader: Reader) -> bool:
    """Whether a source transaction has come half-way."""
    shared = reader.own.shared_keys
    with reader.connection() as connection:
        count = connection.execute(select(func.count()).select_from(shared)).scalar_one()
    return bool(count)


def _write_older_record(settings: Settings, agent_uuid: str) -> None:
    """Writes the last state record again, in the form of 0.1.0."""
    topic = settings.topics.state
    cluster = broker(settings.kafka, topic, agent_uuid)
    producer = cluster.open(time.monotonic() + SECONDS)  # fences whoever may publish still
    try:
        deadline = time.monotonic() + SECONDS
        record = recovery.read(topic, cluster.states(deadline).visible)
        write_state(producer, topic, record, deadline, state.FIRST)
    finally:
        producer.abandon()
