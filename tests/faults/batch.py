"""Schedules that need no servers: batches of runs in memory, in a process of their own in which a variant can stand for the product."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.bugs import ROOT, Bug, Tier

LONGEST = 300.0  # seconds of a batch


class Batch(NamedTuple):
    """How a batch ended."""

    tier: Tier
    seed: int
    oracle: str = ""  # what speaks against the agent, as with a trial: O1 ..., halt, stuck, crash
    what: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """In a few words."""
        return f"{self.tier}  {self.seconds:.1f} s  {f'FOUND by {self.oracle}: {self.what}' if self.oracle else 'ok'}"


def batch(tier: Tier, seed: int, folder: Path, bug: Bug | None = None) -> Batch:
    """Runs tests/faults/<tier>.py on the product, or on the variant planted in `folder` (which must be empty or missing)."""
    began = time.monotonic()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COV", "SYNC_AGENT_"))
    }
    packages = [bug.plant(folder)] if bug else []
    environment = kept | {"PYTHONPATH": os.pathsep.join(map(str, [*packages, ROOT]))}
    command = [sys.executable, "-P", "-m", f"tests.faults.{tier}", str(seed)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    if done.returncode or (bug and bug.mark not in done.stderr):
        raise RuntimeError(
            f"batch {seed} of the {tier}{f' with {bug.name}' if bug else ''} did not run:\n{done.stdout}{done.stderr}"[
                -2000:
            ]
        )
    oracle, what = json.loads(done.stdout)
    return Batch(tier, seed, oracle, what, time.monotonic() - began)
