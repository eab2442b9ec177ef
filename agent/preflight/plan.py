"""Tells what `init --apply` would do, without doing anything."""

from collections.abc import Callable

from agent.config import Settings


def tell_plan(settings: Settings, admin_url: str | None, tell: Callable[[str], None]) -> None:
    """See `initialise`."""
    raise NotImplementedError
