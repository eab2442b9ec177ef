"""The whole agent over a database with a trigger log: equal in the end, whatever dies in between.

Deletes are noted: no comparison is needed to find them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import Stage
from tests.services.kafka import KafkaAddress
from tests.source.databases import place_of
from tests.test_end_to_end_polling import TIMES, Rows, Unit
from tests.waiting import eventually


@pytest.fixture(params=list(TIMES))
def unit(
    request: pytest.FixtureRequest, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> Iterator[Unit]:
    """A unit with a database of each kind in turn; the agent's account makes the triggers."""
    with place_of(request.param, request, tmp_path) as place:
        made = Unit(place, kafka, topic_prefix, tmp_path)
        polled = made.config.read_text(encoding="utf-8")
        noted = polled.replace('"polling"', '"trigger"').replace(
            'every = "1s"', "look_seconds = 0.2"
        )
        lines = [line for line in noted.splitlines() if not line.startswith("poll =")]
        made.config.write_text("\n".join(lines), encoding="utf-8")
        yield made


def test_equal_in_the_end_whatever_dies(unit: Unit) -> None:
    """Service and single processes are killed while rows change; no event comes twice."""
    unit.write(30)
    unit.command("init", "--apply")
    stages: list[Stage | None] = [None, "capture", "publish"]
    for stage in stages:
        with unit.start() as agent:
            agent.wait_ready()
            unit.write(20)
            if stage is not None:
                agent.kill9_child(stage)
                agent.wait_ready()
                unit.write(20)

    with unit.start() as agent:
        agent.wait_ready()
        unit.write(20)
        eventually(lambda: unit.front == unit.business, what="the front end equals the source")
        unit.command("verify", "permit")
        agent.stop()

    rows: Rows = {}
    for key, op, after in unit.events():
        before = rows.pop(key, None)
        if after is not None:
            rows[key] = (after["holder"], after["amount"])
            assert before != rows[key], "an event tells nothing new"
        else:
            assert op == "d"
            assert before is not None, "a delete of a row that is not there"
    assert rows == unit.business
