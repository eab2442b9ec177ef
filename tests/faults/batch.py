"""Runs batches of schedules in memory, without servers, each in a process of its own.

In that process a planted bug can stand for the product.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.planting import ROOT, Bug, Tier

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
        ended = f"FOUND by {self.oracle}: {self.what}" if self.oracle else "ok"
        return f"{self.tier}  {self.seconds:.1f} s  {ended}"


def batch(tier: Tier, seed: int, folder: Path, bug: Bug | None = None) -> Batch:
    """Runs tests/faults/<tier>.py on the product, or on the bug planted in `folder`.

    The folder must be empty or missing.
    """
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
        variant = f" with {bug.name}" if bug else ""
        failed = f"batch {seed} of the {tier}{variant} did not run:\n{done.stdout}{done.stderr}"
        raise RuntimeError(failed[-2000:])
    oracle, what = json.loads(done.stdout)
    return Batch(tier, seed, oracle, what, time.monotonic() - began)
