"""Many worlds, some at a time, on shared servers; how they ended, told and kept."""

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

from tests.faults.bugs import ROOT
from tests.faults.worlds.built import Servers
from tests.faults.worlds.life import Told, run
from tests.faults.worlds.planted import PLANTED
from tests.faults.worlds.world import FOLDER, VERSIONS, World, kept

EVIDENCE = ROOT / "build" / "faults"
LANES = 2  # most of a world is waiting
FEW = 3  # new worlds of a short run, beside the kept ones


def all_of(worlds: Sequence[World], package: Path | None = None) -> list[Told]:
    """Runs worlds on the product, or on another copy of it. Each ends in a line; one with a finding shows the world as well."""
    began = time.monotonic()
    with Servers() as servers:
        servers.prepare(worlds)
        print(f"worlds: the servers run after {time.monotonic() - began:.0f} s", flush=True)
        told = []
        with ThreadPoolExecutor(LANES) as lanes:
            jobs = lanes.map(
                lambda world: run(servers, world, EVIDENCE / name(world), package), worlds
            )
            for ended in jobs:
                told.append(ended)
                print(report(ended), flush=True)
    print(summary(told), flush=True)
    return told


def caught() -> bool:
    """Plants each bug that only a world finds, and runs the product on its kept world: something must speak."""
    by_name = {one.name: one.world for one in kept()}
    all_caught = True
    with Servers() as servers:
        servers.prepare([by_name[one.world] for one in PLANTED])
        for one in PLANTED:
            folder = EVIDENCE / one.bug.name
            shutil.rmtree(folder, ignore_errors=True)
            told = run(
                servers, by_name[one.world], folder / "world", one.bug.plant(folder / "variant")
            )
            print(f"{one.bug.name}: {one.world} {told.verdict}", flush=True)
            all_caught = all_caught and not told.green
    return all_caught


def short() -> list[World]:
    """The worlds of each `make faults`: every kept one, and the first seeds on the one PostgreSQL that has everything."""
    drawn = filter(lambda world: world.version == VERSIONS[0], map(World.of, count(1)))
    return [*(one.world for one in kept()), *islice(drawn, FEW)]


def name(world: World) -> str:
    """What a world is called: its file's name where it is kept."""
    return next((one.name for one in kept() if one.world == world), f"world-{world.seed}")


def replay(world: World) -> str:
    """The arguments that run it again."""
    file = FOLDER / f"{name(world)}.json"
    return (
        f"--world {file.relative_to(ROOT)}" if file.exists() else f"--worlds 1 --first {world.seed}"
    )


def report(told: Told) -> str:
    """How a world ended: one line, or with a finding all that is needed to see and replay it."""
    line = f"{name(told.world):24} {told.world.front:8} {told.world.client:12} {told.seconds:5.1f} s  {told.verdict}"
    if told.green:
        return line
    return "\n".join(
        [
            line,
            *(f"      {what}" for what in told.found[1:]),
            *(f"      {what}" for what in told.world.lines()),
            f"      kept in {EVIDENCE / name(told.world)}; replay: python -m tests.faults {replay(told.world)}",
        ]
    )


def summary(told: Sequence[Told]) -> str:
    """How many ended well, and in which way."""
    refused = sum(bool(one.refused) for one in told if one.green)
    green = sum(one.green for one in told)
    return f"faults: {green}/{len(told)} worlds as promised, {refused} of them refused by name"


def green(told: Sequence[Told]) -> bool:
    """Whether the product has kept its promise in each."""
    return all(one.green for one in told)
