"""What the judge has found: counts, and the first few differences by oracle."""

from collections import Counter
from dataclasses import dataclass, field

from tests.checker.table import SharedTable

SHOWN = 5  # differences told of one oracle at the most
LENGTH = 40  # characters told of a value


@dataclass
class Verdict:
    """Counts everything seen and everything wrong.

    `first` holds the first few differences of each oracle.
    """

    rows: int = 0
    events: int = 0
    missing: int = 0
    duplicates: int = 0
    oracles: Counter[str] = field(default_factory=Counter)  # differences found by each
    first: list[str] = field(default_factory=list)

    @property
    def found(self) -> int:
        """All differences."""
        return self.oracles.total()

    @property
    def equal(self) -> bool:
        """Whether nothing at all speaks against the agent."""
        return not (self.missing or self.duplicates or self.found)

    def differs(
        self, place: SharedTable | str, key: object, column: str, what: str, oracle: str
    ) -> None:
        """Notes a difference in a table or another place; a key of None is not told."""
        self.oracles[oracle] += 1
        if sum(line.startswith(f"{oracle} ") for line in self.first) < SHOWN:
            name = place if isinstance(place, str) else place.topic
            self.first.append(
                f"{oracle} {name} {'' if key is None else f'key {short(key)} '}{column}: {what}"
            )

    def more(self, oracle: str, differences: int) -> None:
        """Counts differences that are not told."""
        if differences:
            self.oracles[oracle] += differences

    def __str__(self) -> str:
        counts = (
            f"source = front-end = topics: {self.rows} rows, {self.events} events, "
            f"{self.missing} missing, {self.duplicates} duplicate"
        )
        if self.equal:
            return f"VERIFIED {counts}"
        by_oracle = ", ".join(f"{oracle} {count}" for oracle, count in sorted(self.oracles.items()))
        return "\n  ".join(
            [f"DIFFERENT {counts}, {self.found} differences ({by_oracle})", *self.first]
        )


def short(value: object) -> str:
    """Returns a value for the eye, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 3]}... ({len(text)} characters)"
