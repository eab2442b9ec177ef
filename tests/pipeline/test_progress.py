"""Tests when capture counts as well again.

That is past the place where its attempts failed, and not before, whatever else succeeds meanwhile.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.capture import loop as pipeline
from agent.capture.commit_rule import CommitRule
from agent.capture.loop import Capture
from agent.connectors.memory import MemorySnapshot
from agent.errors import FrontBusy
from agent.front.base import Stored
from agent.front.memory import MemoryFront
from agent.service.control import Control
from tests.pipeline.model import Bench, heartbeat

FAILURES = 3


class Fed(MemoryFront):
    """A front end for which something new waits at the source after every opening."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.durable)
        self._bench = bench

    def silent_since(self) -> float | None:
        return None

    def open(self, nonce: str) -> Stored:
        self.durable.holder = None
        self._bench.source.log.append(heartbeat(len(self._bench.source.log) + 1))
        return super().open(nonce)


def failing(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which fails some times before it works."""
    left = [FAILURES]

    def tried(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise FrontBusy(reason="simulated")
        return method(*arguments)

    return tried


@pytest.mark.parametrize(
    ("of", "method"),
    [
        ("front", "open"),
        ("front", "commit"),
        ("front", "requests"),
        ("front", "housekeeping"),
        ("source", "housekeeping"),
    ],
)
def test_what_fails_again_and_again_is_not_well_in_between(
    of: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt opens all and, but for the first two, commits what is new before it fails."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    monkeypatch.setattr(pipeline, "_ASK", 0.0)
    monkeypatch.setattr(pipeline, "_CATALOGUE", 0.0)
    bench = Bench()
    bench.control = control = Control.alone()
    bench.source.snapshot = MemorySnapshot(1)
    front = Fed(bench)
    told: list[str] = []

    def tell(message: dict[str, object]) -> None:
        told.extend(message)
        if told.count("failed") == FAILURES and told[-1] == "well":
            control.stop()

    monkeypatch.setattr(control, "_report", tell)
    place = front if of == "front" else bench.source
    monkeypatch.setattr(place, method, failing(getattr(place, method)))
    Capture(bench.settings, bench.source, front, control).run()
    control.close()
    told = [word for word in told if word not in ("ready", "active")]
    assert told[told.index("failed") :] == [*["failed"] * FAILURES, "well"]
    assert bench.durable.stored.position


def test_rests_until_something_is_due() -> None:
    """What the source delivers ends each rest; else it lasts until a request is looked for."""
    bench = Bench()
    bench.control = control = Control.alone()
    capture = Capture(bench.settings, bench.source, Fed(bench), control)
    capture._open()
    rule = CommitRule(10, 1_000)
    assert capture._seconds_to_rest(rule) == 0.0

    capture._requests_at = capture._catalogues_at = math.inf
    longest = control.beat_at - time.monotonic()
    assert 0 <= capture._seconds_to_rest(rule) <= longest
    capture._requests_at = time.monotonic() - 1
    assert capture._seconds_to_rest(rule) == 0.0

    rule.taken(heartbeat(1)[0], 0.0)
    assert capture._seconds_to_rest(rule) == pipeline._IDLE
    control.close()
