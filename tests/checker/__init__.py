"""The independent judge: source = front end = topics, each event once, in order. Nothing here is imported from `agent`.

`python -m tests.checker --help` judges a running system. The oracles: O1 front end = source; O2 the front end always is
the source at one commit; O3 replay of the topics = source;
O4 each event once, `seq` gapless; O5 order per key; O6 a reader is never told what is not so; O7 every transaction of
the workload's journal came to its end everywhere; O8 the slot was never past what the front end has stored; O9 no event of an older run comes after one of a
newer. (O10 watches the service's processes: tests/faults/hygiene.py.)
"""

from tests.checker.comparison import Places, compare
from tests.checker.table import SharedTable
from tests.checker.verdict import Verdict

__all__ = ["Places", "SharedTable", "Verdict", "compare"]
