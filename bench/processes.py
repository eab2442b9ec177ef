"""What processes use, by /proc, and what an agent says of itself."""

import os
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.services.processes import HOST

_TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Returns the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def cpu_of(pids: Iterable[int]) -> float:
    """Returns the seconds of CPU that these processes have used."""
    return sum(map(cpu, pids))


def machine() -> float:
    """Returns the seconds of CPU that all processes have used."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / _TICK


def most_memory(pid: int) -> float:
    """Returns the most memory that a process has had, in MB."""
    return _number(Path(f"/proc/{pid}/status"), "VmHWM:") / 1024


def memory(pid: int) -> float:
    """Returns the memory that a process has now, in MB.

    Of what it shares with other processes only its part counts (PSS), so that the figures of
    several can be added.
    """
    return _number(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") / 1024


def wakes(pid: int) -> int:
    """Returns how often the threads of a process have waited for something: their wake-ups.

    Threads that have ended are left out.
    """
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has ended just now
            count += _number(task / "status", "voluntary_ctxt_switches:")
    return count


def _number(file: Path, name: str) -> int:
    """Returns the number in the line of a file that begins so; 0 where there is none."""
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def published(port: int) -> float:
    """Returns how many events the agent that listens there has published since its start."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    count = 0.0
    for line in lines:
        if line.startswith("agent_events_total{") and 'stage="published"' in line:
            count += float(line.split()[-1])
    return count
