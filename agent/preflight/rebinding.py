"""Takes up the stream for `rebind`, after what a person says has happened."""

from agent.config import Settings
from agent.connectors.opening import setup_of
from agent.connectors.setup import After, Tell
from agent.errors import NotInitialised
from agent.front import init_settings
from agent.messages import phrase
from agent.preflight import generations
from agent.preflight.initialise import locked
from agent.preflight.stored_source import follow, resume_of, store_identity


def rebind(settings: Settings, tell: Tell, after: After) -> None:
    """Accepts another server of the source, or a front end or Kafka restored from a backup.

    Every table is compared with the source, unless the source proves that nothing can be missing.
    After a restore every topic begins a new generation.

    Raises InitRefused where there is nothing to accept, NotInitialised, FrontReplaced, what
    `Setup.rebind` raises, the errors of connections, and Kafka's.
    """
    with locked(settings.front, settings.agent, settings.service.listen) as front:
        stored = front.stored_state()
        if stored is None or not stored["initialised"]:
            raise NotInitialised(what=phrase("the state in the front end"))
        init_settings.check(settings, stored, *front.noted())

        rebound = setup_of(settings).rebind(resume_of(stored), after)
        if after == "restore":
            uuid, epoch = str(stored["agent_uuid"]), int(str(stored["epoch"]))
            kafka, topics = settings.kafka, settings.topics
            generations.begin_anew(kafka, topics, front, uuid, epoch)
        if rebound.proven:
            store_identity(front, rebound.start)
        else:
            follow(front, rebound.start)
        tell(rebound.told)
