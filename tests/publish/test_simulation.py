"""Tests the publisher's recovery, whatever dies or gets lost at whatever call.

Each event comes once and in order, and all of them in the end.
"""

import pytest

from tests.publish.simulation import Publishing
from tests.simulation import simulate

RUNS = 40


@pytest.mark.no_cover  # which triples its time; other tests run the same code
def test_each_event_once_and_in_order_whatever_happens_between_two_calls() -> None:
    simulate(Publishing, RUNS)
