"""Tests the publisher against a real Kafka, with each client: killed, frozen, cloned, throttled.

It is judged by another client that reads committed records.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publish.fronts import workload
from tests.publish.site import CLIENTS, Sites, sites
from tests.services.kafka import KafkaBroker
from tests.waiting import BUSY, eventually

FROZEN = 7.0  # seconds
# So many batches are in the outbox, at the most. So the publisher is busy and never hopelessly
# behind.
WAITING = 20


@pytest.fixture(params=CLIENTS)
def site(
    request: pytest.FixtureRequest, kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path
) -> Iterator[Sites]:
    """Yields a function that makes the site, with each client in turn."""
    client, bootstrap = request.param, kafka_broker.bootstrap
    with sites(client, bootstrap, topic_prefix, tmp_path, covered=False) as make:
        yield make


@pytest.mark.slow
def test_killed_many_times(site: Sites) -> None:
    """It is killed 12 times with much to do.

    Half of the kills come at any moment, half while it publishes for certain, with splits.

    Each event is there once, in order, seq gapless.
    """
    here, chance = site(transaction_events=25), random.Random(20)
    for turn in range(12):
        publisher = here.publisher()
        if turn % 2:
            publisher.wait_recovered()
        ends = time.monotonic() + chance.uniform(0.3, 2.0)
        while time.monotonic() < ends:
            here.front.write(
                workload(chance.randrange(1 << 30), 5, 60),
                size=300,
                heartbeat=chance.random() < 0.3,
            )
            eventually(
                lambda ends=ends: (  # type: ignore[misc]
                    here.front.outbox_rows() < WAITING or time.monotonic() >= ends
                ),
                what="the publisher needs more",
            )
        publisher.kill()
        if turn % 4 == 0:
            here.front.opened_again("nonce-1")
    last = here.publisher()
    here.verdict(120)
    split = [
        record.headers
        for events in here.judge.seen.values()
        for record in events
        if "sync.part" in record.headers
    ]
    assert split and {headers["sync.last"] for headers in split} == {"0", "1"}
    assert last.stop() < 3 + BUSY


@pytest.mark.slow
def test_frozen_and_killed_broker(site: Sites, kafka_broker: KafkaBroker) -> None:
    """The broker is frozen beyond every deadline, then killed and started again.

    The outbox grows meanwhile and is delivered once.
    """
    here = site()
    here.publisher()
    here.front.write(workload(1, 50, 20))
    here.verdict()
    with kafka_broker.paused():
        began = time.monotonic()
        for turn in range(40):
            here.front.write(workload(turn, 20, 20))
        eventually(lambda: time.monotonic() - began > FROZEN, what="every deadline has passed")
    here.verdict()
    kafka_broker.kill9()
    here.front.write(workload(3, 50, 20))
    kafka_broker.start_again()
    here.verdict()


def test_stops_at_once_while_the_broker_is_frozen(site: Sites, kafka_broker: KafkaBroker) -> None:
    """SIGTERM ends it within seconds, whatever it waits for."""
    here = site()
    publisher = here.publisher()
    here.front.write(workload(1, 5))
    here.verdict()
    with kafka_broker.paused():
        here.front.write(workload(2, 5))
        eventually(lambda: "retry" in publisher.log.read_text(), 30, "it has noticed")
        assert publisher.stop() < 4 + BUSY


def test_a_clone_and_the_original(site: Sites, tmp_path: Path) -> None:
    """A copied front end is started elsewhere.

    One of the two halts with DUPLICATE_AGENT, and no event is seen twice.
    """
    here = site()
    original = here.publisher()
    here.front.write(workload(1, 50))
    here.verdict()
    second = here.publisher("clone", here.front.clone(tmp_path / "clone", "clone"))
    eventually(lambda: "kafka_recovered" in second.log.read_text(), 30, "the clone publishes")
    here.front.write(workload(2, 50))
    assert original.halted() == "DUPLICATE_AGENT"
    here.judge.poll()
    for topic in here.front.expected:
        identities = [record.headers["sync.id"] for record in here.judge.events(topic)]
        assert len(identities) == len(set(identities))


def test_a_second_service_on_one_front_end(site: Sites) -> None:
    """The front end says who holds it: the other exits 75 without touching Kafka."""
    here = site()
    assert here.publisher("another").halted() == "ANOTHER_AGENT"


@pytest.mark.slow
def test_a_slow_line_makes_progress(site: Sites, kafka_broker: KafkaBroker) -> None:
    """One source transaction of 600 kB goes over 60 kB/s with a time-out of 4 s.

    It is sent in parts that pass, then the line heals.
    """
    here = site(kafka_broker.proxied_bootstrap)
    here.publisher()
    here.front.write(workload(1, 5))
    here.verdict()
    kafka_broker.proxy.throttle(60_000)
    try:
        here.front.write([[("orders", number, "c") for number in range(1000)]], size=500)
        here.verdict(300)
    finally:
        kafka_broker.proxy.heal()
    heads = sorted(
        (
            record.headers
            for record in here.judge.seen[f"{here.settings.kafka.prefix}.orders"]
            if "sync.part" in record.headers
        ),
        key=lambda h: int(h["sync.seq"]),
    )
    parts = [int(headers["sync.part"]) for headers in heads]
    assert (
        len(parts) == 1000 and parts == sorted(parts) and set(parts) == set(range(1, parts[-1] + 1))
    )
    assert [headers["sync.last"] == "1" for headers in heads] == [
        part == parts[-1] for part in parts
    ]
