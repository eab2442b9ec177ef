"""`check`: everything that can be known to stand in the service's way, before init and after, each with what fixes it."""

from agent.config import Settings
from agent.preflight.findings import Finding, errors
from agent.preflight.front_checks import FrontCheck
from agent.preflight.kafka_checks import check_kafka
from agent.preflight.service_checks import check_service
from agent.preflight.source_checks import check_source


def check(settings: Settings) -> list[Finding]:
    """All findings: business database, front end, Kafka, this host. A peer that is away hides nothing of the others; nothing is changed."""
    front = FrontCheck(settings)
    try:
        front.open()
        if front.misfit:  # all else would be judged, and made, by the settings that are wrong
            return [*front.findings, *check_service(settings)]
        source = check_source(settings, front.state if front.stored else None)
        if source.judged is not None and not errors(source.judged.tables):
            front.tables(source.judged.resources(settings))
    finally:
        front.close()
    uuid = str(front.stored["agent_uuid"]) if front.stored else ""
    return [
        *source.findings,
        *front.findings,
        *check_kafka(settings, uuid, front.agent_uuid),
        *check_service(settings),
    ]
