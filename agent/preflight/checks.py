"""Finds for `check` everything that stands in the service's way, each with what fixes it."""

from agent.config import Settings
from agent.connectors.opening import setup_of
from agent.findings import Finding
from agent.preflight.front_checks import FrontCheck
from agent.preflight.kafka_checks import check_kafka
from agent.preflight.resources import compiled
from agent.preflight.service_checks import check_build, check_disk, check_service


def check(settings: Settings) -> list[Finding]:
    """Returns all findings: of the source, the front end, Kafka and this host.

    A peer that is away hides nothing of the others; nothing is changed.
    """
    front = FrontCheck(settings)
    try:
        front.open()
        if front.misfit:
            # All else would be judged, and made, by the settings that are wrong
            return [
                *front.findings,
                *check_service(settings.service, settings.agent),
                *check_disk(settings.service.source_disk),
                *check_build(),
            ]
        source = setup_of(settings).check(front.resume if front.stored else None)
        if source.tables is not None:
            front.tables(compiled(settings.resource, settings.kafka, source.tables))
    finally:
        front.close()

    uuid = str(front.stored["agent_uuid"]) if front.stored else ""
    return [
        *source.findings,
        *front.findings,
        *check_kafka(settings.kafka, settings.topics, uuid, front.agent_uuid),
        *check_service(settings.service, settings.agent),
        *check_disk(settings.service.source_disk),
        *check_build(),
    ]
