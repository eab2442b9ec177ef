"""The whole agent over a database with a trigger log: equal in the end, whatever dies meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.kafka import KafkaAddress
from tests.source.databases import place_of
from tests.source.unit_without_log import Unit, check_equal_whatever_dies

SOURCE = 'type = "trigger"\nlook_seconds = 0.2'


@pytest.fixture(params=["sqlite", "mariadb", "postgresql", "firebird"])
def unit(
    request: pytest.FixtureRequest, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> Iterator[Unit]:
    """A unit with a database of each kind in turn; the agent's account makes the triggers."""
    with place_of(request.param, request, tmp_path) as place:
        yield Unit(place, kafka, topic_prefix, tmp_path, SOURCE)


def test_equal_in_the_end_whatever_dies(unit: Unit) -> None:
    """Deletes are noted: no comparison is needed to find them."""
    check_equal_whatever_dies(unit, lambda: None)
