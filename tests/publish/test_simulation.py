"""Tests the publisher's recovery, whatever dies or gets lost at whatever call.

Each event comes once and in order, and all of them in the end.
"""

from tests.publish.simulation import Publishing
from tests.simulation import simulate

RUNS = 40


def test_each_event_once_and_in_order_whatever_happens_between_two_calls() -> None:
    simulate(Publishing, RUNS)
