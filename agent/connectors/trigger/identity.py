"""What a database with a trigger log is known by: its address and the table of the notes."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import make_url

from agent.config import TriggerSettings
from agent.connectors.database.session import address_of
from agent.errors import FrontReplaced
from agent.messages import mark, phrase


def identity_of(settings: TriggerSettings) -> dict[str, Any]:
    """Returns what `init` stores."""
    return {"address": address_of(make_url(settings.url)), "log": settings.log_table}


def check_settings(settings: TriggerSettings, identity: Mapping[str, Any]) -> None:
    """Raises FrontReplaced where the configuration names another database than `init` did."""
    before = identity.get("address", "")
    now = identity_of(settings)["address"]
    if before != now:
        text = mark("it follows the database {other}, the configuration names {now}")
        raise FrontReplaced(reason=phrase(text, other=before, now=now))
