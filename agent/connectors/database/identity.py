"""What a business database is known by: the address that the configuration gives."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import make_url

from agent.config import DatabaseSettings
from agent.connectors.database.session import address_of
from agent.errors import FrontReplaced
from agent.messages import mark, phrase


def identity_of(settings: DatabaseSettings) -> dict[str, Any]:
    """Returns what `init` stores."""
    return {"address": address_of(make_url(settings.url))}


def check_settings(settings: DatabaseSettings, identity: Mapping[str, Any]) -> None:
    """Raises FrontReplaced where the configuration names another database than `init` did."""
    before = identity.get("address", "")
    now = identity_of(settings)["address"]
    if before != now:
        text = mark("it follows the database {other}, the configuration names {now}")
        raise FrontReplaced(reason=phrase(text, other=before, now=now))
