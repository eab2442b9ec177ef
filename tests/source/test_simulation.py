"""Tests what is acknowledged to PostgreSQL, whatever gets lost.

It is never more than is stored, always in time, and everything in the end.
"""

import pytest

from tests.simulation import simulate
from tests.source.simulation import Acknowledging

RUNS = 300


@pytest.mark.no_cover  # which triples its time; other tests run the same code
def test_never_more_than_is_stored_and_everything_in_the_end() -> None:
    simulate(Acknowledging, RUNS)
