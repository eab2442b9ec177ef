"""Opens the front end for a reader of the outbox and of the agent's state."""

from agent.config import Settings
from agent.front.opening import front_of, reading_engine
from agent.outbox.reader import Reader


def open_reader(settings: Settings) -> Reader:
    """Opens the front end for reading, beside the writer.

    Raises FileRefused, NotInitialised (no such SQLite file), FrontDamaged, FrontUnfit.
    """
    error_of = front_of(settings).error
    return Reader(reading_engine(settings), settings.agent, lambda cause: error_of(cause, None))
