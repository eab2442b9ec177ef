"""What is acknowledged to PostgreSQL: never more than is stored, always in time, everything in the end, whatever gets lost."""

from tests.simulation import simulate
from tests.source.simulation import Acknowledging

RUNS = 300


def test_never_more_than_is_stored_and_everything_in_the_end() -> None:
    simulate(Acknowledging, RUNS)
