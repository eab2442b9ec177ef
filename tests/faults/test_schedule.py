"""Schedules are data, and every planted bug still fits the product."""

import ast
import json
from pathlib import Path

import pytest

from agent.failpoints import PLACES, _parse
from tests.faults import catches
from tests.faults.__main__ import SEARCHED
from tests.faults.batch import batch
from tests.faults.bugs import BUGS
from tests.faults.planting import ROOT, Bug, Edit, PatchFailed
from tests.faults.schedule import KEPT, PAGES, SCHEDULES, Schedule

SEEDS = range(1, 41)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert [Schedule.of(seed) for seed in SEEDS] == [Schedule.of(seed) for seed in SEEDS]
    assert len({Schedule.of(seed)[1:] for seed in SEEDS}) == len(SEEDS)


def test_a_seed_means_the_same_for_ever() -> None:
    """Recorded seeds and reports of others depend on this.

    Who changes it searches for the planted bugs once more.
    """
    assert Schedule.of(5).setting == "after_front_commit:3:kill,after_page_merge:3:stall=1.2"
    assert (
        Schedule.of(12).setting
        == "before_front_commit:5:kill,after_position:4:kill,after_page_read:2:stall=0.2"
    )
    assert (Schedule.of(12).front, Schedule.of(12).rows, Schedule.of(12).stale) == (
        "postgres",
        900,
        True,
    )


@pytest.mark.parametrize("first", [1, 16, 40])
def test_as_many_seeds_as_there_are_places_kill_at_each(first: int) -> None:
    killed = [Schedule.of(seed).faults[0] for seed in range(first, first + len(PLACES))]
    assert {fault.place for fault in killed if fault.action == "kill"} == set(PLACES)


def test_tables_hold_rows_where_a_copy_is_to_fail_and_now_and_then_otherwise() -> None:
    copying = [
        schedule
        for schedule in map(Schedule.of, SEEDS)
        if any(fault.place in PAGES for fault in schedule.faults)
    ]
    assert all(schedule.rows for schedule in copying)
    filled = [schedule for schedule in map(Schedule.of, SEEDS) if schedule.rows]
    assert len(copying) < len(filled) < len(SEEDS)
    assert len(filled) > sum(schedule.stale for schedule in filled) > len(filled) / 4
    assert {(schedule.front, schedule.stale) for schedule in filled} == {
        (f, s) for f in ("sqlite", "postgres") for s in (False, True)
    }


def test_both_front_ends_both_processes_and_all_actions_are_met() -> None:
    assert sum(Schedule.of(seed).front == "postgres" for seed in SEEDS) == 13
    faults = [fault for seed in SEEDS for fault in Schedule.of(seed).faults]
    assert {(fault.stage, fault.action.split("=")[0]) for fault in faults} == {
        (s, a) for s in ("capture", "publish") for a in ("kill", "raise", "stall")
    }
    assert sum(fault.action == "kill" for fault in faults) > len(faults) * 0.7


KEPT_SCHEDULES = [known.schedule for known in KEPT]


@pytest.mark.parametrize(
    "schedule", [*map(Schedule.of, SEEDS), *map(Schedule.mixed, SEEDS), *KEPT_SCHEDULES]
)
def test_a_schedule_goes_through_a_file_unchanged(schedule: Schedule) -> None:
    assert Schedule.loads(schedule.dumps("nothing")) == schedule


def test_the_kept_schedules_say_what_they_found_and_are_written_as_they_are_read() -> None:
    for known in KEPT:
        assert known.found and "\n" not in known.found
        assert (SCHEDULES / f"{known.name}.json").read_text(
            encoding="utf-8"
        ) == known.schedule.dumps(known.found)


@pytest.mark.parametrize(
    "schedule",
    [*map(Schedule.of, SEEDS), *KEPT_SCHEDULES],
    ids=lambda schedule: f"seed {schedule.seed}",
)
def test_the_agent_understands_the_setting(schedule: Schedule) -> None:
    assert set(_parse(schedule.setting, frozenset())) == {fault.place for fault in schedule.faults}
    assert 1 <= len(schedule.happenings) <= 6


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_fits_the_product_and_compiles(bug: Bug, tmp_path: Path) -> None:
    package = bug.plant(tmp_path) / "agent"
    for file in {edit.file for edit in bug.edits}:
        patched = (package / file).read_text(encoding="utf-8")
        assert patched != (ROOT / "agent" / file).read_text(encoding="utf-8")
        ast.parse(patched)
    assert bug.mark in (package / "__init__.py").read_text(encoding="utf-8")


def test_a_patch_that_no_longer_fits_fails_clearly() -> None:
    bug = Bug("gone", "", (Edit("pipeline.py", "no such line", ""),))
    with pytest.raises(PatchFailed, match="gone: pipeline"):
        bug.patched("pipeline.py", "some text")


def test_every_planted_bug_was_caught_and_the_page_says_how() -> None:
    found = catches.load()
    assert list(found) == [bug.name for bug in BUGS]
    assert all(catch.schedules <= SEARCHED and catch.oracle for catch in found.values())
    assert catches.table(found) in catches.PAGE.read_text(encoding="utf-8")
    assert json.loads(catches.FILE.read_text(encoding="utf-8")).keys() == found.keys()


@pytest.mark.parametrize(
    "bug", [bug for bug in BUGS if bug.tier == "model"], ids=lambda bug: bug.name
)
def test_the_model_finds_its_bugs_again(bug: Bug, tmp_path: Path) -> None:
    """Runs the recorded batch; there is no clock, so it finds the same each time.

    `make faults` does so for all of these bugs.
    """
    known = catches.load()[bug.name]
    assert batch(bug.tier, known.seed, tmp_path, bug).oracle == known.oracle


def test_a_batch_of_the_product_is_green(tmp_path: Path) -> None:
    assert batch("model", 1, tmp_path).oracle == ""
