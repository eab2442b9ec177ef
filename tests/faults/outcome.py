"""How a schedule has ended, and the evidence of what was not green."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.faults.schedule import Schedule


@dataclass
class Outcome:
    """How a trial ended."""

    schedule: Schedule
    oracle: str = ""  # what speaks against the product; "": nothing does
    what: str = ""  # the finding in words
    unfired: tuple[str, ...] = ()  # places of faults that never came: then "green" means little
    rows: int = 0
    events: int = 0
    seconds: float = 0.0

    @property
    def green(self) -> bool:
        """Every fault came and nothing speaks against the product."""
        return not self.oracle and not self.unfired

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.oracle:
            return f"FOUND by {self.oracle}"
        return (
            f"NOT ALL FIRED: {', '.join(self.unfired)}"
            if self.unfired
            else f"ok, {self.rows} rows, {self.events} events"
        )


class Found(Exception):
    """Something speaks against the product before the judge is even asked."""

    def __init__(self, oracle: str, what: str) -> None:
        self.oracle, self.what = oracle, what
        super().__init__(oracle, what)


def fresh_evidence(evidence: Path) -> None:
    """An empty folder."""
    shutil.rmtree(evidence, ignore_errors=True)
    evidence.mkdir(parents=True)


def keep(outcome: Outcome, evidence: Path) -> None:
    """Keeps the evidence of what was not green."""
    if outcome.green:
        shutil.rmtree(evidence)
        return
    (evidence / "schedule.json").write_text(
        outcome.schedule.dumps(outcome.verdict), encoding="utf-8"
    )
    (evidence / "finding.txt").write_text(f"{outcome.verdict}\n{outcome.what}\n", encoding="utf-8")
