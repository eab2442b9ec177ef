"""Runs schedules on the model of the hand-over.

They make late visibility, crashes and key moves that real servers show too seldom to find a bug.

The real capture loop, applier and reconciler run on the source and the front end in memory
(tests/pipeline/handover.py). One schedule is a batch of SEEDS seeds of the model: `python -m
tests.faults.model BATCH`.
"""

import json
import sys

from tests.pipeline.handover import ENDLESS, HandOver, NeverEnds

SEEDS = 200  # of the model in one batch


def found(seed: int) -> tuple[str, str]:
    """Runs the batch in this process, and returns what speaks against the agent first.

    That is an oracle and its words; both are empty if nothing does.
    """
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
