"""The whole agent over a database that is polled: equal in the end, whatever dies in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.kafka import KafkaAddress
from tests.source.databases import place_of
from tests.source.unit_without_log import TIMES, Unit, check_equal_whatever_dies

SOURCE = 'type = "polling"\nevery = "1s"'
RESOURCE = 'poll = { mode = "timestamp", column = "changed", compare = "02:00" }'


@pytest.fixture(params=list(TIMES))
def unit(
    request: pytest.FixtureRequest, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> Iterator[Unit]:
    """A unit with a database of each kind in turn."""
    with place_of(request.param, request, tmp_path) as place:
        yield Unit(place, kafka, topic_prefix, tmp_path, SOURCE, RESOURCE)


def test_equal_in_the_end_whatever_dies(unit: Unit) -> None:
    """Looks show what was added and changed, the comparison what was deleted."""
    check_equal_whatever_dies(unit, lambda: unit.command("reconcile", "permit"))
