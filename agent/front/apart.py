"""Tells the rows that a table refuses apart from the others of their set, by halving it. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.errors import RowRefused

Item = TypeVar("Item")


def taken_apart(
    items: Sequence[Item], write: Callable[[Sequence[Item]], None], most: int
) -> dict[Item, RowRefused]:
    """Writes all items but those that are refused, in their order, and returns these with their errors.

    `write` takes some of the items and leaves nothing behind when it raises RowRefused. The error of the last one is raised when
    more than `most` are refused.
    """
    refused: dict[Item, RowRefused] = {}
    waiting = [list(items)]
    while waiting:
        some = waiting.pop()
        if not some:
            continue

        try:
            write(some)
        except RowRefused as error:
            if len(some) > 1:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
                continue
            refused[some[0]] = error
            if len(refused) > most:
                raise
    return refused
