"""Many worlds, some at a time, on shared servers; how they ended, told and kept."""

import math
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path

from tests.faults.planting import ROOT
from tests.faults.worlds.built import Servers
from tests.faults.worlds.life import Told, run
from tests.faults.worlds.planted import PLANTED, Planted
from tests.faults.worlds.world import FOLDER, VERSIONS, World, kept

EVIDENCE = ROOT / "build" / "faults"
LANES = 2  # most of a world is waiting
FEW = 3  # new worlds of a short run, beside the kept ones
# In a short run no world begins after so many seconds. A world takes a minute and a half at the
# most where nothing else runs.
BUDGET = 60.0


def all_of(
    worlds: Sequence[World], package: Path | None = None, budget: float = math.inf
) -> list[Told]:
    """Runs worlds on the product, or on another copy of it.

    Each ends in a line; one with a finding shows the world as well.

    `budget`: seconds after which no further one begins; how many are left is told.
    """
    began = time.monotonic()
    with Servers() as servers:
        servers.prepare(worlds)
        print(f"worlds: the servers run after {time.monotonic() - began:.0f} s", flush=True)

        def one(world: World) -> Told | None:
            if time.monotonic() - began > budget:
                return None
            ended = run(servers, world, EVIDENCE / name(world), package)
            print(report(ended), flush=True)
            return ended

        with ThreadPoolExecutor(LANES) as lanes:
            told = [ended for ended in lanes.map(one, worlds) if ended is not None]
    print(summary(told, len(worlds) - len(told)), flush=True)
    return told


def caught() -> bool:
    """Plants each bug that only a world finds, and runs its kept world: something must speak."""
    by_name = {one.name: one.world for one in kept()}
    with Servers() as servers:
        servers.prepare([by_name[one.world] for one in PLANTED])

        def speaks(one: Planted) -> bool:
            folder = EVIDENCE / one.bug.name
            shutil.rmtree(folder, ignore_errors=True)
            variant = one.bug.plant(folder / "variant")
            told = run(servers, by_name[one.world], folder / "world", variant)
            print(f"{one.bug.name}: {one.world} {told.verdict}", flush=True)
            return not told.green

        with ThreadPoolExecutor(LANES) as lanes:
            found = list(lanes.map(speaks, PLANTED))
    return all(found)


def short() -> list[Told]:
    """Runs the worlds of each `make faults`, as many as its time allows.

    Another kept one begins each day, and the first seeds follow.
    """
    known = [one.world for one in kept()]
    first = datetime.now(UTC).timetuple().tm_yday % len(known)
    drawn = filter(lambda world: world.version == VERSIONS[0], map(World.of, count(1)))
    return all_of([*known[first:], *known[:first], *islice(drawn, FEW)], budget=BUDGET)


def name(world: World) -> str:
    """Returns what a world is called: its file's name where it is kept."""
    return next((one.name for one in kept() if one.world == world), f"world-{world.seed}")


def replay(world: World) -> str:
    """Returns the arguments that run it again."""
    file = FOLDER / f"{name(world)}.json"
    return (
        f"--world {file.relative_to(ROOT)}" if file.exists() else f"--worlds 1 --first {world.seed}"
    )


def report(told: Told) -> str:
    """How a world ended: one line, or with a finding all that is needed to see and replay it."""
    where = f"{name(told.world):24} {told.world.front:8} {told.world.client:12}"
    line = f"{where} {told.seconds:5.1f} s  {told.verdict}"
    if told.green:
        return line
    return "\n".join(
        [
            line,
            *(f"      {what}" for what in told.found[1:]),
            *(f"      {what}" for what in told.world.lines()),
            (
                f"      kept in {EVIDENCE / name(told.world)}; "
                f"replay: python -m tests.faults {replay(told.world)}"
            ),
        ]
    )


def summary(told: Sequence[Told], left: int = 0) -> str:
    """Returns how many ended well, and in which way; and how many had no time."""
    refused = sum(bool(one.refused) for one in told if one.green)
    green = sum(one.green for one in told)
    more = f"; {left} are left for a long run" if left else ""
    return (
        f"faults: {green}/{len(told)} worlds as promised, {refused} of them refused by name{more}"
    )


def green(told: Sequence[Told]) -> bool:
    """Tells whether the product has kept its promise in each."""
    return all(one.green for one in told)
