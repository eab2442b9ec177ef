"""Makes a schedule that fails smaller, as long as it still fails.

First faults and disturbances become fewer, then rows, writers and transactions.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tests.faults.schedule import Disturbance, Fault, Schedule

# A smaller schedule counts as failing when so many of so many runs fail: the processors'
# scheduling is not replayed
RUNS, ENOUGH = (
    5,
    2,
)
T = TypeVar("T")


def fails_often(fails: Callable[[], bool]) -> bool:
    """Tells whether at least ENOUGH of RUNS fail; no run more than it takes to know."""
    failed = 0
    for run in range(RUNS):
        failed += fails()
        if failed == ENOUGH or failed + RUNS - run - 1 < ENOUGH:
            break
    return failed == ENOUGH


def smaller(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Returns the smallest failing schedule that is found by leaving things out.

    `schedule` itself is taken to fail. No schedule is tried twice.
    """
    tried: dict[Schedule, bool] = {schedule: True}

    def still(candidate: Schedule) -> bool:
        if candidate not in tried:
            tried[candidate] = fails(candidate)
        return tried[candidate]

    left = fewest(schedule.happenings, lambda some: still(_only(schedule, some)))
    found = _only(schedule, left)
    while (simpler := next(filter(still, _simpler(found)), None)) is not None:
        found = simpler
    return found


def fewest(things: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Returns things of which none can be left out any more, in their order (ddmin).

    This is delta debugging. `things` must fail.
    """
    if fails(()):
        return ()
    parts = 2
    while len(things) > 1:
        size = -(-len(things) // parts)
        cuts = [range(at, min(at + size, len(things))) for at in range(0, len(things), size)]
        chosen = [[things[i] for i in cut] for cut in cuts] + [
            [thing for i, thing in enumerate(things) if i not in cut] for cut in cuts
        ]
        less = next(
            (
                number
                for number, some in enumerate(chosen)
                if len(some) < len(things) and fails(some)
            ),
            None,
        )
        if less is not None:
            things, parts = chosen[less], 2 if less < len(cuts) else max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(parts * 2, len(things))
    return things


def _only(schedule: Schedule, happenings: Sequence[Disturbance | Fault]) -> Schedule:
    return schedule._replace(
        disturbances=tuple(
            happening for happening in happenings if isinstance(happening, Disturbance)
        ),
        faults=tuple(happening for happening in happenings if isinstance(happening, Fault)),
    )


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    """Yields the schedule with one number smaller, the boldest first."""
    if schedule.stale:
        yield schedule._replace(stale=False)
    if schedule.rows:
        yield schedule._replace(rows=0, stale=False)
        yield schedule._replace(rows=schedule.rows // 2)
    if schedule.writers > 1:
        yield schedule._replace(writers=1)
    if schedule.transactions > 1:
        yield schedule._replace(transactions=schedule.transactions // 4 or 1)
        yield schedule._replace(transactions=schedule.transactions // 2)
