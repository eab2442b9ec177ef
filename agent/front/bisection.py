"""Finds the rows of a set that a table refuses, by halving the set. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.errors import RowRefused

Item = TypeVar("Item")


def isolate_refused(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], None],
    most: int,
) -> dict[Item, RowRefused]:
    """Writes all items but those that are refused, in their order; returns these with their errors.

    `write` takes some of the items, and leaves nothing behind when it raises RowRefused. When more
    than `most` are refused, the error of the last one is raised.
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
