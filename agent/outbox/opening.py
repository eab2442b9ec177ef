"""Opens the front end for a reader of the outbox and of the agent's state."""

from collections.abc import Iterator
from contextlib import contextmanager

from agent.config import FrontSettings
from agent.front.opening import front_of, reading_engine
from agent.outbox.reader import Reader


def open_reader(settings: FrontSettings, agent: str) -> Reader:
    """Opens the front end of an agent for reading, beside the writer.

    Raises FileRefused, NotInitialised (no such SQLite file), FrontDamaged, FrontUnfit.
    """
    error_of = front_of(settings, agent).error
    return Reader(reading_engine(settings), agent, lambda cause: error_of(cause, None))


@contextmanager
def reading(settings: FrontSettings, agent: str) -> Iterator[Reader]:
    """Opens the same for one command, and lets go of its connections in the end."""
    reader = open_reader(settings, agent)
    try:
        yield reader
    finally:
        reader.engine.dispose()
