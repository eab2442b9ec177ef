"""Shows, or takes away, what the agent has in the business database, for `remove-source`."""

from agent.config import Settings
from agent.connectors.opening import setup_of
from agent.connectors.setup import Removal, Setup, Tell
from agent.front import init_settings
from agent.messages import mark, translate
from agent.preflight.initialise import check_administrator, locked


def remove_source(settings: Settings, apply: bool, admin_url: str | None, tell: Tell) -> None:
    """Tells what of the agent is in the business database; with `apply` takes it away.

    `admin_url`: an administrator's way to the source, for what only its owner may do.
    The front end and the topics stay as they are.

    Raises AlreadyRunning, AnotherAgent, FrontReplaced, InitRefused, and the errors of connections.
    """
    setup = setup_of(settings)
    check_administrator(setup, admin_url)
    if not apply:
        _tell_plan(setup, setup.removal(admin_url), tell)
        return

    with locked(settings.front, settings.agent, settings.service.listen) as front:
        stored = front.stored_state()
        if stored is not None:
            init_settings.check(settings, stored, *front.noted())
        setup.remove(tell, admin_url)
        _tell_plan(setup, setup.removal(admin_url), tell)


def _tell_plan(setup: Setup, found: Removal, tell: Tell) -> None:
    text = mark("Nothing of this agent is in the business database {address}")
    if found.statements:
        text = mark(
            "Nothing is changed. `sync-agent remove-source --apply` runs the following in the "
            "business database {address} while the service is stopped:"
        )
    tell(translate(text, address=setup.address))
    for statement in found.statements:
        for line in f"{statement};".splitlines():
            tell(f"   {line}")
    for sentence in found.stays:
        tell(f"   {sentence}")
