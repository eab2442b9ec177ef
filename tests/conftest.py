"""Sets what holds for all tests.

That is patience, with hypothesis too, the order of the files, and the fixtures of
`tests/services/fixtures.py`.
"""

import uuid
from pathlib import Path

import pytest
from hypothesis import settings

from agent import BUILD
from tests import waiting

# tests/unit.txt leaves these out: what it names needs no service, nor the packages that start or
# ask one.
pytest_plugins = ["tests.services.fixtures"]

TESTS = Path(__file__).parent
# The files that take minutes, the longest first
LONGEST = (
    "test_end_to_end_kills.py",
    "publish/test_relay_kafka.py",
    "upgrade/test_migration.py",
    "publish/test_relay_harm.py",
    "test_demo.py",
    "test_end_to_end_outages.py",
    "reconcile/test_ways_back.py",
    "reconcile/test_verify.py",
    "reconcile/test_republish.py",
    "reconcile/test_catalogue.py",
    "reconcile/test_front_catalogue.py",
    "test_situations.py",
)

waiting.on_a_busy_machine()

# How long an example takes says how busy the machine is, and nothing of the code
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def pytest_report_header() -> str:
    """Says which build is tested."""
    return f"agent: {BUILD}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first.

    A worker takes a file at a time; while it works on a long one that was begun last, the others
    have nothing to do.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path, len(places)), item.path not in slow))


@pytest.fixture
def topic_prefix() -> str:
    """A prefix no other test uses, for topics and transactional ids."""
    return f"t{uuid.uuid4().hex[:12]}"
