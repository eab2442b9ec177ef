"""Where source and front end differ, by key: what a page finds and a repair takes away."""

from dataclasses import dataclass, field

from agent.resource import FrontRow
from agent.values.rows import Key


@dataclass
class Differences:
    """What the source has and the front end has not, by key, and the other way round."""

    missing: dict[Key, FrontRow] = field(default_factory=dict)
    different: dict[Key, FrontRow] = field(default_factory=dict)
    extra: list[Key] = field(default_factory=list)

    # Rows to be published once more, however the front end has them
    republished: dict[Key, FrontRow] = field(default_factory=dict)
    # Rows that the front end has refused and subscribers know: to be written without an event
    silent: dict[Key, FrontRow | None] = field(default_factory=dict)
    # Of the rows known to be refused, those that differ: by kind, as above
    refused: dict[str, list[Key]] = field(default_factory=dict)

    # Neither side has a row, and the topic has one
    only_in_topic: list[Key] = field(default_factory=list)
    # Nobody knows: their rows must be read again
    holes: list[Key] = field(default_factory=list)

    def of(self, kind: str) -> list[Key]:
        """Returns the keys of one kind, missing, different or extra, those of refused rows too."""
        keys: dict[str, list[Key]] = {
            "missing": list(self.missing),
            "different": list(self.different),
            "extra": self.extra,
        }
        refused = self.refused.get(kind, ())
        return [*keys[kind], *refused]
