"""The error with which a configuration model names all its settings that contradict each other."""

from collections.abc import Mapping, Sequence

# Place below the model, catalogue message, its values
Contradiction = tuple[tuple[str | int, ...], str, Mapping[str, object]]


class Inconsistent(ValueError):
    """Settings that are right by themselves and wrong together.

    The contradictions are for `agent.config.loading` to report.
    """

    def __init__(self, contradictions: Sequence[Contradiction]) -> None:
        self.contradictions = contradictions
        super().__init__("; ".join(message for _, message, _ in contradictions))
