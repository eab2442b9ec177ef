"""The whole agent over a database that is polled: equal in the end, whatever dies in between."""

from pathlib import Path

import pytest

from tests.services.kafka import KafkaAddress
from tests.source.databases import Place, place_of
from tests.source.unit_without_log import Unit, check_equal_whatever_dies
from tests.waiting import eventually

SOURCE = 'type = "polling"\nevery = "1s"'
BY_TIME = 'mode = "timestamp", column = "changed"'
BY_FLAG = 'mode = "flag", column = "taken", pending = ["N"], done = "Y", write_back = true'


@pytest.mark.parametrize(("kind", "poll"), [("firebird", BY_TIME), ("mysql8", BY_FLAG)])
def test_equal_in_the_end_whatever_dies(
    request: pytest.FixtureRequest,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
    kind: str,
    poll: str,
) -> None:
    """Looks show what was added and changed, the comparison what was deleted."""
    resource = f'poll = {{ {poll}, compare = "02:00" }}'
    with place_of(kind, request, tmp_path) as place:
        unit = Unit(place, kafka, topic_prefix, tmp_path, SOURCE, resource)
        place.execute(
            "ALTER TABLE permit ADD taken CHAR(1) DEFAULT 'N' NOT NULL",
            "CREATE INDEX permit_taken ON permit (taken, id)",
        )

        def settled() -> None:
            unit.command("reconcile", "permit")
            if poll == BY_FLAG:
                eventually(lambda: flags(place) == {"Y"}, what="every flag is set")

        check_equal_whatever_dies(unit, settled)


def flags(place: Place) -> set[str]:
    """Returns the flags that there are."""
    with place.open() as connection:
        return set(connection.exec_driver_sql("SELECT taken FROM permit").scalars())
