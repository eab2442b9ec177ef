"""What an error means, by the lists that each database has of its numbers or codes."""

from collections.abc import Collection, Mapping
from typing import TypeVar

from agent.connectors.dialects.base import Trouble

_Sign = TypeVar("_Sign", int, str)


def listed(troubles: Mapping[Trouble, Collection[_Sign]], sign: _Sign) -> Trouble | None:
    """Returns what a number or code stands for; None where it is in none of the lists."""
    for trouble, signs in troubles.items():
        if sign in signs:
            return trouble
    return None


def unlisted(error: BaseException) -> Trouble:
    """Returns what an error means that no list has."""
    return "value" if isinstance(error, UnicodeError) else "unfit"
