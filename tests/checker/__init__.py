"""Judges independently: source = front end = topics, each event once, in order.

Nothing here is imported from `agent`. `python -m tests.checker --help` judges a running system.

- O1: the front end equals the source.
- O2: at every moment the front end is the source at one commit.
- O3: what the topics give when replayed equals the source.
- O4: each event comes once, and `seq` has no gaps.
- O5: the events of a key are in order.
- O6: a reader never sees what is not so.
- O7: every transaction of the workload's journal came to its end everywhere.
- O8: the slot was never past what the front end has stored.
- O9: no event of an older run comes after one of a newer run.
- O10 (tests/faults/hygiene.py): the service's processes show and leave nothing they must not.
"""

from tests.checker.comparison import Places, compare
from tests.checker.table import SharedTable
from tests.checker.verdict import Verdict

__all__ = ["Places", "SharedTable", "Verdict", "compare"]
