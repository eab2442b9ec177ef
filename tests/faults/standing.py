"""How far an agent is, as its front end tells."""

from typing import NamedTuple

from tests.checker.front import at_front
from tests.checker.table import Front

NUMBERS = "SELECT s.number, p.number FROM sync_agent_state s, sync_agent_published p"
NOT_LIVE = (
    "SELECT r.name, r.state, r.code, c.progress FROM sync_agent_resource r "
    "LEFT JOIN sync_agent_copy c ON c.name = r.name WHERE r.state <> 'live'"
)
NOT_ANSWERED = (
    "SELECT kind, resource, state, report FROM sync_agent_request "
    "WHERE state IN ('asked', 'running')"
)


class Standing(NamedTuple):
    """How far front end and publisher are."""

    number: int  # last event of the outbox
    published: int  # last event known to be published
    # Tables that are not live, with their progress, and requests not answered
    busy: tuple[str, ...]
    suspended: tuple[tuple[str, str], ...]  # tables with their codes


def standing(front: Front) -> Standing:
    """Returns how far they are. Raises the errors of tests.checker.front."""
    ((number, published),) = at_front(front, NUMBERS)
    tables = at_front(front, NOT_LIVE)
    asked = at_front(front, NOT_ANSWERED)
    return Standing(
        int(number),
        int(published),
        tuple(sorted(" ".join(map(str, found)) for found in [*tables, *asked])),
        tuple((str(name), str(code)) for name, state, code, _ in tables if state == "suspended"),
    )
