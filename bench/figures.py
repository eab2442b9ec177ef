"""What the benches have found: ratios within one run, compared with those of an earlier one.

Absolute times say more about the machine and what else it does than about the agent. A ratio of two
times of the same run says something about the agent.
"""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

STORED = Path(__file__).with_name("stored.json")

# Shares by which a ratio moves on a shared machine though nothing has changed
NOISE = 0.25


class Figure(NamedTuple):
    """One ratio."""

    name: str
    value: float
    less_is_better: bool


def machine() -> str:
    """Says on what the figures were taken."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = os.cpu_count()
    return f"{cores} cores of {model}, Python {platform.python_version()}, {platform.system()}"


def stored(kind: str) -> dict[str, float]:
    """Returns the stored ratios of a kind of run, `full` or `quick`, if there are any."""
    if not STORED.exists():
        return {}
    held = json.loads(STORED.read_text(encoding="utf-8"))
    return dict(held.get(kind, {}).get("ratios", {}))


def store(kind: str, figures: Sequence[Figure]) -> None:
    """Replaces the stored ratios of this kind of run."""
    held = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    ratios = {figure.name: round(figure.value, 2) for figure in figures}
    held[kind] = {"machine": machine(), "ratios": ratios}
    STORED.write_text(json.dumps(held, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def comparison(before: dict[str, float], figures: Sequence[Figure]) -> list[str]:
    """Returns a table of the ratios beside the stored ones; what moved is named in it."""
    lines = ["| ratio | stored | now | |", "|---|---|---|---|"]
    for figure in figures:
        was = before.get(figure.name)
        said = "new" if was is None else _moved(was, figure)
        held = "" if was is None else f"{was:.2f}"
        lines.append(f"| {figure.name} | {held} | {figure.value:.2f} | {said} |")
    return lines


def _moved(was: float, figure: Figure) -> str:
    """Says how a ratio moved, if it moved by more than noise."""
    if not was or abs(figure.value / was - 1) <= NOISE:
        return ""
    grown = figure.value > was
    return "WORSE" if grown == figure.less_is_better else "better"
