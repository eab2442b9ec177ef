"""Runs the same service for long, at a steady rate, with a disturbance every minute.

Call it by `python -m tests.faults.soak`. All oracles judge it, and what it takes of its machine.

None of its processes is killed, so that what they hold on to shows: servers, lines and sessions
fail, and processes freeze. The course of memory and descriptors goes into docs/RELIABILITY.md.
"""

import argparse
import re
import statistics
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple, Self

import psycopg

from tests import waiting
from tests.agent_process import Installation
from tests.checker.journal import Intent
from tests.checker.journal import Outcome as Ended
from tests.checker.plan import Plan
from tests.checker.workload import Workload
from tests.faults.catches import PAGE
from tests.faults.ground import Ground
from tests.faults.nemesis import Nemesis
from tests.faults.outcome import Found, Outcome, fresh_evidence, keep
from tests.faults.planting import ROOT
from tests.faults.schedule import CLIENTS, DEEDS, MIXED_FRONTS, OF_A_FRONT, Disturbance, Schedule
from tests.faults.service import ArmedAgent
from tests.faults.trial import Trial

# After which other processes would be measured
KILLS = (
    "capture_dies",
    "publisher_dies",
    "service_dies",
    "service_stops",
    "second_agent",
)
# Need a preloaded library, or a disk that is too small for so long
OTHERS = (
    "clock_jumps:forwards",
    "clock_jumps:backwards",
    "front_disk_full",
)
WRITERS = 4
MINUTE = 60.0
BEFORE = 5.0  # minutes until the caches of a process are full
GROWTH = 1.10  # of the median memory from the first third of what follows to the last
SNAPSHOTS = 20.0  # seconds between two of O2: the ledger gets long
LOOKS = 5.0  # seconds between two looks at the processes
SECTION = re.compile(r"(?<=<!-- soak -->\n).*(?=<!-- end of soak -->)", re.DOTALL)
PAGE_SIZE = 4096


class Look(NamedTuple):
    """What one process takes at one moment."""

    minute: float
    stage: str
    memory: float  # MB
    descriptors: int


class Observer:
    """Looks at the processes of a service every few seconds, as a context."""

    def __init__(self, agent: ArmedAgent) -> None:
        self._agent = agent
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._began = time.monotonic()
        self.looks: list[Look] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(LOOKS)

    def _run(self) -> None:
        while not self._ended.wait(LOOKS):
            try:
                for stage, pid in {"supervisor": self._agent.pid, **self._agent.children()}.items():
                    process = Path(f"/proc/{pid}")
                    memory = int((process / "statm").read_text().split()[1]) * PAGE_SIZE / 2**20
                    self.looks.append(
                        Look(
                            (time.monotonic() - self._began) / MINUTE,
                            stage,
                            memory,
                            sum(1 for _ in (process / "fd").iterdir()),
                        )
                    )
            except OSError:  # it is being started
                continue


class Course(NamedTuple):
    """Tells how one process has developed, once it is warm.

    The numbers are medians of the first and of the last third.
    """

    stage: str
    memory: tuple[float, float]  # MB
    descriptors: tuple[float, float]

    @classmethod
    def of(cls, stage: str, looks: list[Look]) -> Self:
        """Of one process."""
        warm = [
            look
            for look in looks
            if look.stage == stage and look.minute >= min(BEFORE, looks[-1].minute / 4)
        ]
        third = max(1, len(warm) // 3)
        first, last = warm[:third], warm[-third:]
        memory = (
            statistics.median(look.memory for look in first),
            statistics.median(look.memory for look in last),
        )
        return cls(
            stage,
            memory,
            (
                statistics.median(look.descriptors for look in first),
                statistics.median(look.descriptors for look in last),
            ),
        )

    @property
    def flat(self) -> bool:
        """Whether it takes no more in the end than before."""
        return (
            self.memory[1] <= self.memory[0] * GROWTH
            and self.descriptors[1] <= self.descriptors[0] * GROWTH
        )


class Steady(Workload):
    """Writes at a rate of changes a second, counted over all writers.

    What a disturbance has kept them from is made up for.
    """

    def __init__(self, source: str, seed: int, journal: Path, rate: float) -> None:
        super().__init__(source, seed, journal, WRITERS, big=500, open_seconds=1.0)
        self._rate, self._turn = rate, threading.Lock()
        self._next = time.monotonic()
        self.changes = 0

    def _perform(self, connection: psycopg.Connection, plan: Plan, intent: Intent) -> Ended:
        with self._turn:
            changes = plan.ops + 3  # two legs of a transfer, and the ledger
            self.changes += changes
            now = time.monotonic()
            self._next = max(self._next, now - MINUTE) + changes / self._rate
            wait = self._next - now
        self._ended.wait(max(0.0, wait))
        return super()._perform(connection, plan, intent)


class Soak(Trial):
    """A trial whose disturbances come by the minute, and which lasts as long as it is told."""

    snapshots = SNAPSHOTS

    def __init__(
        self,
        place: Installation,
        agent: ArmedAgent,
        schedule: Schedule,
        nemesis: Nemesis,
        minutes: float,
        rate: float,
    ) -> None:
        super().__init__(place, agent, schedule, nemesis)
        self._minutes, self._rate = minutes, rate
        self.written = 0

    def _write(self) -> None:
        began = time.monotonic()
        with Steady(self._place.source, self._schedule.seed, self.journal, self._rate) as workload:
            try:
                while (minute := (time.monotonic() - began) / MINUTE) < self._minutes:
                    self._disturb(int(minute))
                    self._expect_running()
                    self._copies.look()
                    time.sleep(0.1)
            finally:
                self._disturb(0, heal=True)
        self.written = workload.changes


def main() -> int:
    """Runs it; 0 only when no oracle speaks and every process is flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=500.0, help="changes a second (default 500)")
    parser.add_argument("--front", choices=MIXED_FRONTS, default="postgres")
    parser.add_argument("--client", choices=CLIENTS, default="kafka-python")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--record", action="store_true", help="put the result into docs/RELIABILITY.md"
    )
    given = parser.parse_args()
    waiting.on_a_busy_machine()
    deeds = [deed for deed in (*DEEDS, *OF_A_FRONT[given.front]) if deed not in (*KILLS, *OTHERS)]
    chance = Random(f"soak {given.seed}")
    drawn = [
        Disturbance(minute, chance.choice(deeds), chance.choice((0.5, 2.0, 5.0)))
        for minute in range(1, int(given.minutes))
    ]
    schedule = Schedule(
        given.seed, given.front, WRITERS, 0, (), client=given.client, disturbances=tuple(drawn)
    )
    evidence = ROOT / "build" / "faults" / f"soak-{given.seed}"
    outcome = Outcome(schedule)
    fresh_evidence(evidence)
    began = time.monotonic()
    with (
        Ground() as ground,
        ground.installed(schedule, evidence) as place,
        ArmedAgent(place, "") as agent,
        Observer(agent) as observer,
    ):
        soak = Soak(
            place, agent, schedule, Nemesis(ground, place, agent), given.minutes, given.rate
        )
        try:
            soak.run(outcome)
        except Found as found:
            outcome.oracle, outcome.what = found.oracle, found.what
    outcome.seconds = time.monotonic() - began
    courses = [Course.of(stage, observer.looks) for stage in ("supervisor", "capture", "publish")]
    told = report(given, outcome, soak.written, courses, observer.looks)
    print(told, outcome.what, sep="\n", flush=True)
    if given.record:
        PAGE.write_text(
            SECTION.sub(lambda _: told, PAGE.read_text(encoding="utf-8")), encoding="utf-8"
        )
    keep(outcome, evidence)
    return 0 if outcome.green and all(course.flat for course in courses) else 1


def report(
    given: argparse.Namespace,
    outcome: Outcome,
    written: int,
    courses: list[Course],
    looks: list[Look],
) -> str:
    """Markdown: how it ended, a table of the processes, and their memory over time as a chart."""
    rate = written / (given.minutes * MINUTE)
    today = datetime.now(UTC).date().isoformat()
    disturbances = len(outcome.schedule.disturbances)
    lines = [
        (
            f"{today}: {given.minutes:.0f} minutes, {given.front} front end, {given.client}; "
            f"{written:,} changes were tried,"
        ),
        f"{rate:.0f} a second; {disturbances} disturbances. Verdict: {outcome.verdict}.",
        "",
        "| process | memory, first third | last third | descriptors, first third | last third | |",
        "|---|---|---|---|---|---|",
        *(
            f"| {c.stage} | {c.memory[0]:.1f} MB | {c.memory[1]:.1f} MB "
            f"| {c.descriptors[0]:.0f} | {c.descriptors[1]:.0f} | {'flat' if c.flat else 'GROWS'} |"
            for c in courses
        ),
        "",
        "```mermaid",
        "xychart-beta",
        '    title "Memory of supervisor, capture and publisher in MB, by minute"',
        f"    x-axis 0 --> {max(1, round(looks[-1].minute))}",
        f"    y-axis 0 --> {max(look.memory for look in looks) * 1.2:.0f}",
        *(
            f"    line [{', '.join(f'{memory:.0f}' for memory in by_minute(looks, course.stage))}]"
            for course in courses
        ),
        "```",
        "",
    ]
    return "\n".join(lines)


def by_minute(looks: list[Look], stage: str) -> list[float]:
    """Returns the most memory in each minute."""
    minutes: dict[int, float] = {}
    for look in looks:
        if look.stage == stage:
            minutes[int(look.minute)] = max(look.memory, minutes.get(int(look.minute), 0.0))
    return [minutes[minute] for minute in sorted(minutes)]


if __name__ == "__main__":
    sys.exit(main())
