"""Schedules on the model of the hand-over: late visibility, crashes and key moves that real servers show too seldom to find a bug by them.

The real capture loop, applier and reconciler of a variant run on the source and the front end in memory (tests/pipeline/handover.py), in
a process of their own. One schedule is a batch of SEEDS seeds of the model: `python -m tests.faults.model BATCH`.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.bugs import ROOT, Bug

SEEDS = 200  # of the model in one batch
LONGEST = 120.0  # seconds of a batch


class Batch(NamedTuple):
    """How a batch ended."""

    seed: int
    oracle: str = ""  # O1: front end, O3: subscriber, halt: the table was suspended, stuck, or crash
    what: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """In a few words."""
        return f"model  {SEEDS} seeds  {self.seconds:.1f} s  {f'FOUND by {self.oracle}: {self.what}' if self.oracle else 'ok'}"


def batch(seed: int, folder: Path, bug: Bug | None = None) -> Batch:
    """Runs a batch on the product, or on the variant planted in `folder` (which must be empty or missing)."""
    began = time.monotonic()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "SYNC_AGENT_"))}
    packages = [bug.plant(folder)] if bug else []
    environment = kept | {"PYTHONPATH": os.pathsep.join(map(str, [*packages, ROOT]))}
    command = [sys.executable, "-P", "-m", "tests.faults.model", str(seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode or (bug and bug.mark not in done.stderr):
        raise RuntimeError(f"batch {seed} of the model{f' with {bug.name}' if bug else ''} did not run:\n{done.stdout}{done.stderr}"[-2000:])
    oracle, what = json.loads(done.stdout)
    return Batch(seed, oracle, what, time.monotonic() - began)


def found(seed: int) -> tuple[str, str]:
    """Runs the batch in this process: what speaks against the agent first (oracle, words), two times '' if nothing does."""
    from tests.pipeline.handover import ENDLESS, HandOver, NeverEnds

    for number in range((seed - 1) * SEEDS, seed * SEEDS):
        table, ordered = ("plain", "filtered")[number % 2], number % 4 > 1
        run = HandOver(number, table, ordered)
        where = f"model seed {number}, table {table}"
        try:
            run.run()
        except NeverEnds:
            return "stuck", f"{where}: not live after {ENDLESS} steps"
        except Exception as error:  # noqa: BLE001 - whatever it is, the model does not raise it on the product
            return f"crash {type(error).__name__}", f"{where}: {error}"
        if run.durable.suspended:
            return f"halt {run.durable.suspended[table]}", where
        sides = {"O1": run.durable.tables[table], "O3": run.subscriber()}
        oracles = [oracle for oracle, rows in sides.items() if rows != run.expected()]
        if oracles:
            return " ".join(oracles), where
    return "", ""


if __name__ == "__main__":
    print(json.dumps(found(int(sys.argv[1]))))
