"""Runs schedules of kill -9 on the real product, then each planted bug until it is caught.

This is what `make faults` calls.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import waiting
from tests.faults import catches, ledger
from tests.faults.batch import batch
from tests.faults.bugs import BUGS, bug
from tests.faults.field import Field, servers, trial
from tests.faults.outcome import Outcome
from tests.faults.planting import ROOT, Bug, Tier
from tests.faults.schedule import KEPT, SCHEDULES, SOURCES, Schedule, Source
from tests.faults.shrink import fails_often, smaller
from tests.faults.trial import Servers
from tests.faults.worlds import lanes as worlds
from tests.faults.worlds.world import World
from tests.faults.worlds.world import kept as kept_worlds

EVIDENCE = ROOT / "build" / "faults"
LANES = 2  # trials at a time
LOT = 10  # schedules of a kind that a long run does before it keeps them
# About as much time for each kind
TURN: Sequence[ledger.Kind] = (
    "kill",
    "kill",
    "kill",
    "mixed",
    "worlds",
    "log kill",
    "log kill",
    "log kill",
    "log mixed",
)
FEW = 4  # schedules over a binary log in a short run

# Of a recorded seed: it replays the schedule, not the scheduling of the processors. On a busy
# machine most looks at the front end may fall into the copy
ATTEMPTS = 8
# The source over which the schedules of planted bugs run, where they run on real servers
ON_SERVERS: Mapping[Tier, Source] = {"real": "postgresql", "log": "mariadb"}
SEARCHED = 50  # schedules within which a planted bug must be caught


def main(arguments: list[str] | None = None) -> int:
    """Runs what was asked for and returns the exit status.

    It is 0 only when every schedule was green and every planted bug was caught.
    """
    given = parser().parse_args(arguments)
    waiting.on_a_busy_machine()
    began = time.monotonic()
    named = [bug(name) for name in given.bug]
    variant = named[0] if named else None
    if given.shrink:
        green = shrunk(given.shrink, variant)
    elif given.schedule:
        green = replayed(given.schedule, variant)
    elif given.budget:
        green = long(began + 60 * given.budget, given.source)
    elif given.world:
        text = given.world.read_text(encoding="utf-8")
        green = worlds.green(worlds.all_of([World.loads(text)], given.product))
    elif given.worlds:
        seeds = range(given.first, given.first + given.worlds)
        green = worlds.green(worlds.all_of([World.of(seed) for seed in seeds], given.product))
    elif given.mixed:
        source: Source = given.source or "postgresql"
        seeds = range(given.first, given.first + given.mixed)
        green = all_green(around([Schedule.mixed(seed, source) for seed in seeds]))
    else:
        green = short(given, named)
    took = time.monotonic() - began
    say(f"faults: {'all as it must be' if green else 'FAILED'} after {took:.0f} s")
    return 0 if green else 1


def short(given: argparse.Namespace, named: Sequence[Bug]) -> bool:
    """Schedules of kill -9 with the kept ones, and the planted bugs; or one of either."""
    began = time.monotonic()
    with servers() as real:
        say(f"faults: PostgreSQL 18 and Kafka run after {time.monotonic() - began:.0f} s")
        if given.seed is not None:
            schedule = Schedule.of(given.seed, given.source or "postgresql")
            return one(real, schedule, named[0] if named else None)
        if named:
            return planted(real, named, given.bugs == "search")
        if given.source is not None:
            return of_source(real, given)
        seeds = range(given.first, given.first + given.schedules)
        schedules = [Schedule.of(seed) for seed in seeds]
        kept = [known.schedule for known in KEPT]
        outcomes = product(
            real,
            list(
                dict.fromkeys(
                    [*(schedule for schedule in kept if not schedule.needs_ground), *schedules]
                )
            ),
        )
        outcomes += around([schedule for schedule in kept if schedule.needs_ground])
        green = all_green(outcomes)
        logged = [Schedule.of(seed, "mariadb") for seed in seeds[:FEW]]
        green = all_green(product(real, logged)) and green
        if given.bugs != "none":
            green = planted(real, BUGS, given.bugs == "search") and worlds.caught() and green
    green = stated() and green
    return worlds.green(worlds.short()) and green


def of_source(real: Servers, given: argparse.Namespace) -> bool:
    """Schedules of kill -9 over one source, and the planted bugs that are looked for there."""
    seeds = range(given.first, given.first + given.schedules)
    green = all_green(product(real, [Schedule.of(seed, given.source) for seed in seeds]))
    tier = "real" if given.source == "postgresql" else "log"
    variants = [variant for variant in BUGS if variant.tier == tier]
    if given.bugs != "none":
        green = planted(real, variants, given.bugs == "search") and green
    return green


def stated() -> bool:
    """Runs state sources of the product (tests/faults/states.py), a batch in each lane."""
    batches = range(1, LANES + 1)
    with ThreadPoolExecutor(LANES) as lanes:
        ended = list(lanes.map(lambda seed: batch("states", seed, EVIDENCE / "states"), batches))
    for one in ended:
        say(f"batch {one.seed} of {one.verdict}")
    return not any(one.oracle for one in ended)


def replayed(file: Path, variant: Bug | None) -> bool:
    """The schedule of a file."""
    schedule = Schedule.loads(file.read_text(encoding="utf-8"))
    with Field() as field:
        outcome = field.run(schedule, EVIDENCE / "replayed", variant)
    say(f"{file}: {line(outcome)}\n{outcome.what}".strip())
    return outcome.green


def shrunk(file: Path, variant: Bug | None) -> bool:
    """Makes the failing schedule of a file smaller and keeps each smaller one beside it.

    Returns False when nothing could be left out.
    """
    schedule = Schedule.loads(file.read_text(encoding="utf-8"))
    result = file.with_name("smaller.json")

    def fails(candidate: Schedule) -> bool:
        found: list[str] = []

        def run() -> bool:
            outcome = field.run(candidate, EVIDENCE / "shrinking", variant)
            say(
                f"  {candidate.rows} rows, {candidate.writers} writers, "
                f"{candidate.transactions} transactions: {line(outcome)}"
            )
            found.extend([outcome.oracle] if outcome.oracle else [])
            return bool(outcome.oracle)

        failing = fails_often(run)
        if failing:
            result.write_text(candidate.dumps(f"smaller: FOUND by {found[-1]}"), encoding="utf-8")
            say(f"still fails: {result}")
        return failing

    with Field() as field:
        least = smaller(schedule, fails)
    told = (
        f"{len(schedule.happenings)} faults and disturbances became {len(least.happenings)}, "
        f"{schedule.transactions} transactions {least.transactions}"
    )
    say(f"faults: {told}: {result}" if least != schedule else "faults: nothing could be left out")
    return least != schedule


def long(until: float, source: Source | None) -> bool:
    """Runs lots of new seeds, of each kind in turn, until the time is over.

    Each lot is noted in the ledger. Stops at the first one that is not green.

    Before them come all worlds that are kept. With a `source` there are no worlds, and no
    schedules over another one.
    """
    kinds = [kind for kind in TURN if source is None or ledger.SOURCES.get(kind) == source]
    green = True
    if source is None:
        green = worlds.green(worlds.all_of([known.world for known in kept_worlds()]))
    while green and time.monotonic() < until:
        for kind in kinds:
            if time.monotonic() > until:
                break
            first = ledger.next_seed(kind)
            if kind == "worlds":
                told = worlds.all_of([World.of(seed) for seed in range(first, first + LOT)])
                ledger.append(ledger.Lot.of_worlds(first, told))
                green = worlds.green(told) and green
                continue
            over, seeds = ledger.SOURCES[kind], range(first, first + LOT)
            if kind.endswith("kill"):
                with servers() as real:
                    outcomes = product(real, [Schedule.of(seed, over) for seed in seeds])
            else:
                outcomes = around([Schedule.mixed(seed, over) for seed in seeds])
            ledger.append(ledger.Lot.of(kind, first, outcomes))
            green = all_green(outcomes) and green
    say(ledger.table(ledger.load()))
    return green


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    built = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    built.add_argument(
        "--schedules", type=int, default=40, help="so many seeds against the product (default 40)"
    )
    told = (
        "only what is between this source and a front end; with --budget: postgresql or mariadb "
        "(default: all but MySQL)"
    )
    built.add_argument("--source", choices=SOURCES, help=told)
    built.add_argument("--first", type=int, default=1, help="the first of these seeds (default 1)")
    built.add_argument(
        "--mixed",
        type=int,
        default=0,
        metavar="N",
        help="instead: so many seeds whose servers and lines fail, too",
    )
    built.add_argument(
        "--worlds",
        type=int,
        default=0,
        metavar="N",
        help="instead: so many seeds of worlds, that is schemas, settings, names and roles",
    )
    built.add_argument("--world", type=Path, metavar="FILE", help="instead: the world of a file")
    built.add_argument(
        "--product",
        type=Path,
        metavar="FOLDER",
        help="with worlds: the folder of another copy of the product, such as an older version",
    )
    built.add_argument(
        "--budget",
        type=float,
        default=0,
        metavar="MINUTES",
        help="instead: new seeds of every kind for so long, into the ledger",
    )
    built.add_argument(
        "--bugs",
        choices=["recorded", "search", "none"],
        default="recorded",
        help="planted bugs: on the recorded seeds, or search seeds anew",
    )
    built.add_argument("--seed", type=int, help="instead: the schedule of this seed")
    built.add_argument(
        "--schedule", type=Path, metavar="FILE", help="instead: the schedule of a file"
    )
    built.add_argument(
        "--shrink",
        type=Path,
        metavar="FILE",
        help="instead: make the failing schedule of a file smaller",
    )
    names = [bug.name for bug in BUGS]
    told = (
        "only this planted bug, may be given again; "
        "with a schedule: against it instead of the product"
    )
    built.add_argument(
        "--bug", choices=names, metavar="NAME", action="append", default=[], help=told
    )
    return built


def one(real: Servers, schedule: Schedule, variant: Bug | None) -> bool:
    """One schedule, in full words."""
    if variant:
        oracle, told = attempt(real, variant, schedule.seed)
        say(f"{variant.name}: seed {schedule.seed}: {told}")
        return not oracle
    outcome = trial(real, schedule, evidence(schedule))
    say(f"seed {schedule.seed}: {line(outcome)}")
    if not outcome.green:
        say(outcome.what)
    return outcome.green


def all_green(outcomes: list[Outcome]) -> bool:
    """Says how many are."""
    green = sum(outcome.green for outcome in outcomes)
    say(f"faults: {green}/{len(outcomes)} schedules of the product green")
    return green == len(outcomes)


def product(real: Servers, schedules: list[Schedule]) -> list[Outcome]:
    """Runs every schedule on the product, some at a time: most of a trial is waiting."""
    outcomes = []
    with ThreadPoolExecutor(LANES) as lanes:
        for number, outcome in enumerate(
            lanes.map(lambda schedule: trial(real, schedule, evidence(schedule)), schedules), 1
        ):
            outcomes.append(outcome)
            say(f"{number:2}/{len(schedules)} {name(outcome.schedule):7} {line(outcome)}")
            if not outcome.green:
                say(kept_in(outcome))
    return outcomes


def around(schedules: list[Schedule]) -> list[Outcome]:
    """Mixed schedules, each lane with servers of its own."""
    waiting = list(reversed(schedules))
    with ThreadPoolExecutor(LANES) as lanes:
        return [
            outcome
            for outcomes in lanes.map(lambda _: lane(waiting), range(min(LANES, len(schedules))))
            for outcome in outcomes
        ]


def lane(waiting: list[Schedule]) -> list[Outcome]:
    """Takes mixed schedules as long as there are any."""
    outcomes: list[Outcome] = []
    with Field() as field:
        while waiting:
            schedule = waiting.pop()
            outcome = field.run(schedule, evidence(schedule))
            outcomes.append(outcome)
            say(f"{name(schedule):9} {line(outcome)}")
            if not outcome.green:
                say(kept_in(outcome))
    return outcomes


def planted(real: Servers, variants: Sequence[Bug], search: bool) -> bool:
    """Runs each planted bug and prints the table of what caught it.

    A bug runs on its recorded seed, or on seeds from 1 until it is caught; after a search the table
    is kept.
    """
    recorded = catches.load()
    found: dict[str, catches.Catch] = {}
    with ThreadPoolExecutor(LANES) as lanes:
        for variant, catch in zip(
            variants,
            lanes.map(
                lambda variant: caught(
                    real, variant, None if search else recorded.get(variant.name)
                ),
                variants,
            ),
            strict=True,
        ):
            if catch:
                found[variant.name] = catch
    say(catches.table(found, variants))
    say(f"faults: {len(found)}/{len(variants)} planted bugs caught")
    if search:
        searched = {variant.name for variant in variants}
        catches.save(
            {name: catch for name, catch in recorded.items() if name not in searched} | found
        )
    return len(found) == len(variants)


def caught(real: Servers, variant: Bug, known: catches.Catch | None) -> catches.Catch | None:
    """Returns how the planted bug was caught, None if it was not."""
    seeds = [known.seed] * ATTEMPTS if known else range(1, SEARCHED + 1)
    for count, seed in enumerate(seeds, 1):
        oracle, told = attempt(real, variant, seed)
        say(f"{variant.name}: seed {seed:2} {told}")
        if oracle:
            return catches.Catch(seed, oracle, known.schedules if known else count)
    return None


def attempt(real: Servers, variant: Bug, seed: int) -> tuple[str, str]:
    """Runs one schedule on a planted bug, and returns what spoke against it and how it ended.

    Both are one line; the first is empty if nothing spoke against the bug.
    """
    folder = EVIDENCE / variant.name
    if variant.tier not in ON_SERVERS:
        shutil.rmtree(folder, ignore_errors=True)
        ended = batch(variant.tier, seed, folder / "variant", variant)
        return ended.oracle, ended.verdict
    outcome = trial(real, Schedule.of(seed, ON_SERVERS[variant.tier]), folder, variant)
    return outcome.oracle, line(outcome)


def origin(schedule: Schedule) -> tuple[str, str]:
    """Returns the name of a schedule, and the arguments that replay it."""
    seed = schedule.seed
    if (known := next((known for known in KEPT if known.schedule == schedule), None)) is not None:
        return known.name, f"--schedule {(SCHEDULES / f'{known.name}.json').relative_to(ROOT)}"
    name, arguments = (
        (f"mixed-{seed}", f"--mixed 1 --first {seed}")
        if schedule.disturbances
        else (f"seed-{seed}", f"--seed {seed}")
    )
    if schedule.source == "postgresql":
        return name, arguments
    return f"{schedule.source}-{name}", f"--source {schedule.source} {arguments}"


def name(schedule: Schedule) -> str:
    """Returns what a schedule is called."""
    return origin(schedule)[0]


def evidence(schedule: Schedule) -> Path:
    """Returns where the evidence of a schedule is kept."""
    return EVIDENCE / name(schedule)


def kept_in(outcome: Outcome) -> str:
    """Returns what was found, where its evidence is, and how it is replayed."""
    return (
        f"{outcome.what}\n      kept in {evidence(outcome.schedule)}; "
        f"replay: python -m tests.faults {origin(outcome.schedule)[1]}"
    )


def line(outcome: Outcome) -> str:
    """Returns how a trial ended, in one line."""
    happens = " ".join(map(str, outcome.schedule.happenings))
    setting = f"{outcome.schedule.front:8} {outcome.schedule.client:12} {happens}"
    return f"{setting}  {outcome.seconds:.1f} s  {outcome.verdict}"


def say(text: str) -> None:
    """Tells progress."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
