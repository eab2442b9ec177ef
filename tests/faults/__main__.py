"""`make faults`: schedules of kill -9 against the real product, then each planted bug until it is caught."""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.faults import catches, ledger
from tests.faults.bugs import BUGS, ROOT, Bug, bug
from tests.faults.ground import Ground
from tests.faults.model import batch
from tests.faults.schedule import KEPT, Schedule
from tests.faults.trial import Outcome, Servers, mixed_trial, trial
from tests.services.kafka import KafkaBroker
from tests.services.postgres import PostgresServer

EVIDENCE = ROOT / "build" / "faults"
LANES = 2  # trials at a time
LOT = 10  # schedules of a kind that a long run does before it keeps them
ATTEMPTS = 3  # of a recorded seed: it replays the schedule, not the scheduling of the processors
SEARCHED = 20  # schedules within which a planted bug must be caught


def main(arguments: list[str] | None = None) -> int:
    """Runs what was asked for; 0 only when every schedule was green and every planted bug caught."""
    given = parser().parse_args(arguments)
    began = time.monotonic()
    if given.budget:
        green = long(began + 60 * given.budget)
    elif given.mixed:
        green = all_green(around([Schedule.mixed(seed) for seed in range(given.first, given.first + given.mixed)]))
    else:
        green = short(given)
    say(f"faults: {'all as it must be' if green else 'FAILED'} after {time.monotonic() - began:.0f} s")
    return 0 if green else 1


def short(given: argparse.Namespace) -> bool:
    """Schedules of kill -9, and the planted bugs; or one of either."""
    began = time.monotonic()
    with servers() as real:
        say(f"faults: PostgreSQL 18 and Kafka run after {time.monotonic() - began:.0f} s")
        if given.seed is not None:
            return one(real, schedule_of(given.seed), bug(given.bug) if given.bug else None)
        schedules = [Schedule.of(seed) for seed in range(given.first, given.first + given.schedules)]
        green = all_green(product(real, list(dict.fromkeys([*KEPT, *schedules]))))
        return (planted(real, given.bugs == "search") if given.bugs != "none" else True) and green


def long(until: float) -> bool:
    """Lots of new seeds, of both kinds in turn, until the time is over; each goes into the ledger. Stops at the first lot that is not green."""
    green = True
    while green and time.monotonic() < until:
        for kind in ledger.KINDS:
            first = ledger.next_seed(kind)
            if kind == "kill":
                with servers() as real:
                    outcomes = product(real, [Schedule.of(seed) for seed in range(first, first + LOT)])
            else:
                outcomes = around([Schedule.mixed(seed) for seed in range(first, first + LOT)])
            ledger.append(ledger.Lot.of(kind, first, outcomes))
            green = all_green(outcomes) and green
    say(ledger.table(ledger.load()))
    return green


def parser() -> argparse.ArgumentParser:
    """The command line."""
    built = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    built.add_argument("--schedules", type=int, default=40, help="so many seeds against the product (default 40)")
    built.add_argument("--first", type=int, default=1, help="the first of these seeds (default 1)")
    built.add_argument("--mixed", type=int, default=0, metavar="N", help="instead: so many seeds whose servers and lines fail, too")
    built.add_argument("--budget", type=float, default=0, metavar="MINUTES", help="instead: new seeds of both kinds for so long, into the ledger")
    built.add_argument("--bugs", choices=["recorded", "search", "none"], default="recorded", help="planted bugs: on the recorded seeds, or search seeds anew")
    built.add_argument("--seed", type=int, help="only the schedule of this seed")
    built.add_argument("--bug", choices=[bug.name for bug in BUGS], help="with --seed: against this variant instead of the product")
    return built


@contextmanager
def servers() -> Iterator[Servers]:
    """A PostgreSQL and a Kafka for the whole run."""
    with PostgresServer.start(18) as postgres, KafkaBroker.start() as kafka:
        yield Servers(postgres, kafka)


def schedule_of(seed: int) -> Schedule:
    """The kept schedule of that seed if there is one: it stays as it was, whatever the seed gives by now."""
    return next((kept for kept in KEPT if kept.seed == seed), Schedule.of(seed))


def one(real: Servers, schedule: Schedule, variant: Bug | None) -> bool:
    """One schedule, in full words."""
    if variant:
        oracle, told = attempt(real, variant, schedule)
        say(f"{variant.name}: seed {schedule.seed}: {told}")
        return not oracle
    outcome = trial(real, schedule, folder(schedule))
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
    """Every schedule against the product, some at a time: most of a trial is waiting."""
    outcomes = []
    with ThreadPoolExecutor(LANES) as lanes:
        for number, outcome in enumerate(lanes.map(lambda schedule: trial(real, schedule, folder(schedule)), schedules), 1):
            outcomes.append(outcome)
            say(f"{number:2}/{len(schedules)} seed {outcome.schedule.seed:2} {line(outcome)}")
            if not outcome.green:
                say(f"{outcome.what}\n      kept in {folder(outcome.schedule)}; replay: python -m tests.faults --seed {outcome.schedule.seed}")
    return outcomes


def around(schedules: list[Schedule]) -> list[Outcome]:
    """Mixed schedules, each lane with servers of its own."""
    waiting = list(reversed(schedules))
    with ThreadPoolExecutor(LANES) as lanes:
        return [outcome for outcomes in lanes.map(lambda _: lane(waiting), range(min(LANES, len(schedules)))) for outcome in outcomes]


def lane(waiting: list[Schedule]) -> list[Outcome]:
    """Takes mixed schedules as long as there are any. What stands after a finding may be anything: then come new servers."""
    outcomes: list[Outcome] = []
    while waiting:
        with Ground() as ground:
            while waiting:
                schedule = waiting.pop()
                evidence = EVIDENCE / f"mixed-{schedule.seed}"
                outcome = mixed_trial(ground, schedule, evidence)
                outcomes.append(outcome)
                say(f"mixed {schedule.seed:3} {line(outcome)}")
                if not outcome.green:
                    say(f"{outcome.what}\n      kept in {evidence}; replay: python -m tests.faults --mixed 1 --first {schedule.seed}")
                    break
    return outcomes


def planted(real: Servers, search: bool) -> bool:
    """Every planted bug: on its recorded seed, or on seeds from 1 until it is caught. Prints the table; after a search it is kept."""
    recorded = {} if search else catches.load()
    found: dict[str, catches.Catch] = {}
    with ThreadPoolExecutor(LANES) as lanes:
        for variant, catch in zip(BUGS, lanes.map(lambda variant: caught(real, variant, recorded.get(variant.name)), BUGS), strict=True):
            if catch:
                found[variant.name] = catch
    say(catches.table(found))
    say(f"faults: {len(found)}/{len(BUGS)} planted bugs caught")
    if search:
        catches.save(found)
    return len(found) == len(BUGS)


def caught(real: Servers, variant: Bug, known: catches.Catch | None) -> catches.Catch | None:
    """How the planted bug was caught, None if it was not."""
    seeds = [known.seed] * ATTEMPTS if known else range(1, SEARCHED + 1)
    for count, seed in enumerate(seeds, 1):
        oracle, told = attempt(real, variant, Schedule.of(seed))
        say(f"{variant.name}: seed {seed:2} {told}")
        if oracle:
            return catches.Catch(seed, oracle, known.schedules if known else count)
    return None


def attempt(real: Servers, variant: Bug, schedule: Schedule) -> tuple[str, str]:
    """One schedule on a planted bug, in its tier: what spoke against it ('' if nothing did), and how it ended in one line."""
    evidence = EVIDENCE / variant.name
    if variant.tier == "model":
        shutil.rmtree(evidence, ignore_errors=True)
        ended = batch(schedule.seed, evidence / "variant", variant)
        return ended.oracle, ended.verdict
    outcome = trial(real, schedule, evidence, variant)
    return outcome.oracle, line(outcome)


def folder(schedule: Schedule) -> Path:
    """Where the evidence of a schedule is kept."""
    return EVIDENCE / f"{'seed' if schedule == Schedule.of(schedule.seed) else 'kept'}-{schedule.seed}"


def line(outcome: Outcome) -> str:
    """How a trial ended, in one line."""
    happens = " ".join(map(str, (*outcome.schedule.disturbances, *outcome.schedule.faults)))
    return f"{outcome.schedule.front:8} {outcome.schedule.client:12} {happens}  {outcome.seconds:.1f} s  {outcome.verdict}"


def say(text: str) -> None:
    """Tells progress."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
