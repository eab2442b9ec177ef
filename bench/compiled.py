"""Measures what the compiled modules save: CPU per event in memory, without servers.

    python -m bench.compiled [--rows 4000] [--rounds 30]

The same rows go through the same code in two processes, pure and compiled, in turns. The least time
of each part counts, for what else the machine does can only add to it:

- decode: bytes of PostgreSQL's stream to messages
- read: events of the binary log of MariaDB and MySQL to messages, in place of that
- apply: messages to rows and to the outbox; nothing is written
- publish: the outbox to Kafka's records, in the batches of kafka-python; nothing is sent
"""

import argparse
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable

from agent import BUILD
from bench.table import say
from tests.compiled.work import apply, decode, log, publish, read_log, stream
from tests.services.companion import companion

PARTS = ("decode", "read", "apply", "publish")


def serve(rows: int) -> None:
    """Answers each line, which names a part, with the CPU that the part took in µs per event."""
    gc.freeze()
    gc.set_threshold(20_000)  # as in the agent's processes
    messages = stream(rows)
    decoded = decode(messages)
    events = log(rows)
    batches = apply(decoded)
    assert sum(batch.count for batch in publish(batches)) == rows

    work: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(messages),
        "read": lambda: read_log(events),
        "apply": lambda: apply(decoded),
        "publish": lambda: publish(batches),
    }
    say(BUILD)
    for line in sys.stdin:
        do = work[line.strip()]
        began = time.process_time()
        do()
        say(str((time.process_time() - began) / rows * 1e6))


class Child:
    """A process of one build."""

    def __init__(self, rows: int, build: str, folder: str) -> None:
        command = [sys.executable, "-m", "bench.compiled", "--rows", str(rows), "--serve"]
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = self._answer()
        assert found == build, f"{found} instead of {build}"
        self.least: dict[str, float] = {}

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def measure(self, part: str) -> None:
        """Has a part measured once."""
        assert self._process.stdin is not None
        self._process.stdin.write(part + "\n")
        self._process.stdin.flush()
        value = float(self._answer())
        self.least[part] = min(value, self.least.get(part, value))

    def end(self) -> None:
        """Ends the process."""
        self._process.communicate()


def main() -> None:
    """Measures both builds in turns and prints the least figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.rows)
        return

    pure = Child(given.rows, "pure", "")
    compiled = Child(given.rows, "compiled", str(companion()))
    for _ in range(given.rounds):
        for part in PARTS:
            pure.measure(part)
            compiled.measure(part)
    pure.end()
    compiled.end()

    say("| µs of CPU per event | pure | compiled | less |")
    say("|---|---|---|---|")
    for part in PARTS:
        say(line(part, pure.least[part], compiled.least[part]))
    for first in ("decode", "read"):
        listed = (first, "apply", "publish")
        name = " + ".join(listed)
        before = sum(pure.least[part] for part in listed)
        say(line(name, before, sum(compiled.least[part] for part in listed)))


def line(part: str, pure: float, compiled: float) -> str:
    """Returns a line of the table."""
    return f"| {part} | {pure:.2f} | {compiled:.2f} | {1 - compiled / pure:.0%} |"


if __name__ == "__main__":
    main()
