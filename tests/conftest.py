"""Sets what holds for all tests.

That is patience, the order of the files, and the fixtures of `tests/services/fixtures.py`.
"""

import uuid

import pytest

from tests import waiting

# tests/unit.txt leaves these out: what it names needs no service, nor the packages that start or
# ask one.
pytest_plugins = ["tests.services.fixtures"]

waiting.on_a_busy_machine()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first.

    A worker takes a file at a time; while it works on a long one that was begun last, the others
    have nothing to do.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix no other test uses, for topics and transactional ids."""
    return f"t{uuid.uuid4().hex[:12]}"
