"""Runs schedules of acknowledgement and recovery in the simulation.

Replies are lost and late in ways that real lines show too seldom to find a bug by them.

The real source, wire and relay run on servers in memory (tests/source/simulation.py,
tests/publish/simulation.py). One schedule is a batch of RUNS runs of each machine, with a seed of
hypothesis: `python -m tests.faults.simulation BATCH`.
"""

import json
import logging
import sys

from tests.publish.simulation import Publishing
from tests.simulation import Violated, simulate
from tests.source.simulation import Acknowledging

RUNS = {Acknowledging: 200, Publishing: 30}


def found(seed: int) -> tuple[str, str]:
    """Runs the batch in this process, and returns what speaks against the agent first.

    That is an oracle and its words; both are empty if nothing does.
    """
    logging.disable()  # what the agent logs of simulated trouble
    for machine, runs in RUNS.items():
        try:
            simulate(machine, runs, seed)
        except Violated as violated:
            return violated.oracle, f"{machine.__name__}: {violated}"
        except Exception as error:  # noqa: BLE001 - whatever it is, the simulation does not raise it on the product
            return f"crash {type(error).__name__}", f"{machine.__name__}: {error}"
    return "", ""


if __name__ == "__main__":
    print(json.dumps(found(int(sys.argv[1]))))
