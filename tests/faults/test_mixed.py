"""Tests that mixed schedules are data and name what exists.

What long runs have shown is kept and summed up.
"""

import hashlib
from pathlib import Path

import pytest

from tests.faults import ledger
from tests.faults.nemesis import Nemesis
from tests.faults.outcome import Outcome
from tests.faults.schedule import (
    CLIENTS,
    DEEDS,
    LATER_DEEDS,
    LATER_FROM,
    MIXED_FRONTS,
    OF_A_FRONT,
    PAGES,
    Schedule,
)


def test_a_seed_always_means_the_same() -> None:
    assert [Schedule.mixed(seed) for seed in range(1, 50)] == [
        Schedule.mixed(seed) for seed in range(1, 50)
    ]
    texts = [Schedule.mixed(seed).dumps("") for seed in range(1, LATER_FROM)]
    assert (
        hashlib.sha256("".join(texts).encode()).hexdigest()[:16] == "52199468e24817f9"
    )  # as they were run


EVERY = {front: {*DEEDS, *further, *LATER_DEEDS[front]} for front, further in OF_A_FRONT.items()}


def test_six_in_a_row_meet_every_pair_and_enough_of_them_every_deed_on_every_front_end() -> None:
    seeds = range(LATER_FROM, LATER_FROM + 3 * max(map(len, EVERY.values())))
    schedules = [Schedule.mixed(seed) for seed in seeds]
    assert {(schedule.front, schedule.client) for schedule in schedules[:6]} == {
        (front, client) for front in MIXED_FRONTS for client in CLIENTS
    }
    for front in MIXED_FRONTS:
        assert {
            disturbance.deed
            for schedule in schedules
            if schedule.front == front
            for disturbance in schedule.disturbances
        } == EVERY[front]


def test_a_schedule_fits_its_front_end() -> None:
    for schedule in map(Schedule.mixed, range(1, 200)):
        deeds = [disturbance.deed for disturbance in schedule.disturbances]
        steps = [disturbance.step for disturbance in schedule.disturbances]
        assert EVERY[schedule.front].issuperset(deeds)
        assert steps == sorted(steps)
        assert not [fault for fault in schedule.faults if fault.place in PAGES]


@pytest.mark.parametrize("deed", sorted(set().union(*EVERY.values())))
def test_a_deed_exists(deed: str) -> None:
    assert callable(getattr(Nemesis, deed.partition(":")[0]))


def test_a_long_run_goes_on_where_the_last_one_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n| commit |\n|---|\n| old |\n\nafter\n")
    monkeypatch.setattr(ledger, "FILE", tmp_path / "ledger.jsonl")
    monkeypatch.setattr(ledger, "PAGE", page)
    assert ledger.next_seed("mixed") == 1
    outcomes = [Outcome(Schedule.mixed(seed), events=100, seconds=1800) for seed in (1, 2, 3)]
    outcomes[1].oracle = "O4"
    ledger.append(ledger.Lot.of("mixed", 1, outcomes))
    ledger.append(ledger.Lot.of("mixed", 4, outcomes[:1])._replace(first=4))
    assert (ledger.next_seed("mixed"), ledger.next_seed("kill")) == (5, 1)
    text = page.read_text()
    assert text.startswith("before\n\n| commit | date |")
    assert text.endswith("|\n\nafter\n")
    assert "| 4 | 1 to 4 | 3 |" in text
    assert "| 400 | 2.0 |" in text
