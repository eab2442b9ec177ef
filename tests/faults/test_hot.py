"""Has writers change hot rows over a trigger log for a few seconds, while the agent is killed.

`python -m tests.faults.hot` does it for ten minutes, on MariaDB as well.
"""

from pathlib import Path

import pytest

from tests.faults.hot import Given, storm
from tests.services.kafka import KafkaAddress
from tests.source.databases import place_of


def test_equal_after_writers_on_hot_rows_and_kills(
    request: pytest.FixtureRequest, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """No statement fails because of the triggers, and no change is lost or told twice."""
    with place_of("postgresql", request, tmp_path) as place:
        told = storm(place, kafka, topic_prefix, tmp_path, Given(8))
    assert told.green, f"{told}\n{told.failures[:5]}"
    assert told.commits > 0
    assert told.kills.total() > 1
