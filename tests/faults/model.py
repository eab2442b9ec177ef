"""Runs schedules on the model of the hand-over.

They make late visibility, crashes and key moves that real servers show too seldom to find a bug.

The real capture loop, applier and reconciler run on the source and the front end in memory
(tests/pipeline/handover.py). One schedule is a batch of SEEDS seeds of the model: `python -m
tests.faults.model BATCH`.
"""

import json
import sys
from collections.abc import Sequence

from tests.pipeline.handover import ENDLESS, HandOver, NeverEnds

SEEDS = 200  # of the model in one batch
TOGETHER = 100  # of those, the ones that are run again with several tables, read together
FURTHER = ("filtered", "deferred")


def found(seed: int) -> tuple[str, str]:
    """Runs the batch in this process, and returns what speaks against the agent first.

    That is an oracle and its words; both are empty if nothing does.
    """
    first = (seed - 1) * SEEDS
    for number in range(first, first + SEEDS):
        tables = [("plain", "filtered")[number % 2]]
        spoken = _speaks(number, tables)
        if spoken[0]:
            return spoken
    for number in range(first, first + TOGETHER):
        spoken = _speaks(number, ["plain", *FURTHER])
        if spoken[0]:
            return spoken
    return "", ""


def _speaks(number: int, tables: Sequence[str]) -> tuple[str, str]:
    """Runs one seed, and returns what speaks against the agent, as `found` does."""
    first, *further = tables
    run = HandOver(number, first, number % 4 > 1, further=further)
    where = f"model seed {number}, {'tables' if further else 'table'} {', '.join(tables)}"
    try:
        run.run()
    except NeverEnds:
        return "stuck", f"{where}: not live after {ENDLESS} steps"
    except Exception as error:  # noqa: BLE001 - whatever it is, the model does not raise it on the product
        return f"crash {type(error).__name__}", f"{where}: {error}"
    for table, code in run.durable.suspended.items():
        return f"halt {code}", f"{where}: {table}"

    oracles = set()
    for table in tables:
        expected = run.expected(table)
        if run.durable.tables[table] != expected:
            oracles.add("O1")
        if run.subscriber(table) != expected:
            oracles.add("O3")
    return (" ".join(sorted(oracles)), where) if oracles else ("", "")


if __name__ == "__main__":
    print(json.dumps(found(int(sys.argv[1]))))
