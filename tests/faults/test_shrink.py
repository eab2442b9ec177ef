"""A failing schedule gets as small as it can be, with as few runs as it takes."""

from collections.abc import Callable, Sequence

import pytest

from tests.faults.schedule import Disturbance, Fault, Schedule
from tests.faults.shrink import fails_often, fewest, smaller

SCHEDULE = Schedule(
    7, "postgres", 3, 50, (Fault("mid_rows", 3, "kill"), Fault("after_rows", 2, "kill")),
    900, stale=True,
    disturbances=tuple(
        Disturbance(step, deed, 2.0)
        for step, deed in enumerate(
            ("broker_dies", "front_restarts", "capture_dies", "line_breaks:kafka")
        )
    ),
)  # fmt: skip


def names(schedule: Schedule) -> set[str]:
    return {
        happening.deed if isinstance(happening, Disturbance) else happening.place
        for happening in schedule.happenings
    }


@pytest.mark.parametrize(
    "needed",
    [
        set(),
        {"front_restarts"},
        {"broker_dies", "after_rows"},
        {"front_restarts", "capture_dies", "mid_rows"},
        names(SCHEDULE),
    ],
)
def test_only_what_it_needs_is_left(needed: set[str]) -> None:
    tried: list[Schedule] = []

    def fails(schedule: Schedule) -> bool:
        tried.append(schedule)
        return needed <= names(schedule) and schedule.rows >= 200 and schedule.transactions >= 10

    found = smaller(SCHEDULE, fails)
    assert names(found) == needed
    assert (found.rows, found.writers, found.transactions, found.stale) == (225, 1, 12, False)
    assert (found.seed, found.front) == (7, "postgres")
    assert len(tried) == len(set(tried)) < 50
    assert SCHEDULE not in tried


def test_nothing_can_be_left_out() -> None:
    assert smaller(SCHEDULE, lambda schedule: False) == SCHEDULE


@pytest.mark.parametrize("size", range(1, 12))
def test_delta_debugging_finds_any_pair(size: int) -> None:
    for one in range(size):
        for other in range(one, size):

            def fails(some: Sequence[int], pair: frozenset[int] = frozenset((one, other))) -> bool:
                return pair <= set(some)

            assert list(fewest(range(size), fails)) == sorted({one, other})


def outcomes(*given: bool) -> tuple[Callable[[], bool], list[bool]]:
    left = list(given)
    return lambda: left.pop(0), left


@pytest.mark.parametrize(
    ("given", "failing"),
    [
        ((True, True), True),
        ((False, False, False, True, True), True),
        ((False, False, False, False), False),
        ((True, False, False, False, False), False),
    ],
)
def test_two_failures_in_five_runs_count_and_no_run_is_wasted(
    given: tuple[bool, ...], failing: bool
) -> None:
    run, left = outcomes(*given)
    assert fails_often(run) == failing
    assert left == []
