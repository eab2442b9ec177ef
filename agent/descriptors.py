"""Waits for file descriptors."""

import select


def readable(seconds: float | None, *fds: int) -> set[int]:
    """Returns which of the descriptors are readable, or have come to their end.

    Waits at most so many seconds for the first one, without a bound for None.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)}
