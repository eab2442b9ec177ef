"""A thread that looks at a running agent again and again while the faults come."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from tests.checker.verdict import SHOWN, Verdict

STOPPED_WITHIN = 15.0  # seconds; a frozen server may hold it longer, and then it stays behind


class Sampler(ABC):
    """Takes samples from `start` to `stop`.

    Use it as a context manager, then call `report`. What is down or locked costs the sample, not
    the sampler.
    """

    oracle: str  # in whose name it speaks
    place: str  # what it looks at

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"{type(self).oracle} sampler", daemon=True
        )
        self.samples = 0
        self.skipped = 0
        self.violations: list[str] = []  # the first few
        self.violated = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def __str__(self) -> str:
        return (
            f"{self.oracle}: {self.samples} samples, {self.skipped} skipped, "
            f"{self.violated} violations"
        )

    @abstractmethod
    def sample(self) -> None:
        """Takes one sample: counts itself in `samples` or `skipped`, and tells `violation`."""

    def start(self) -> None:
        """Samples from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Takes no further sample."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(STOPPED_WITHIN)

    def violation(self, what: str) -> None:
        """Notes a violation."""
        self.violated += 1
        if len(self.violations) < SHOWN:
            self.violations.append(what)

    def report(self, verdict: Verdict) -> None:
        """Puts what was found into the verdict; to have seen nothing is a finding too."""
        if self.samples == 0:
            verdict.differs(
                self.place,
                None,
                "sample",
                f"was never taken ({self.skipped} attempts)",
                self.oracle,
            )
        for violation in self.violations:
            verdict.differs(self.place, None, "sample", violation, self.oracle)
        verdict.more(self.oracle, self.violated - len(self.violations))

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self.sample()
                self._ended.wait(self._interval)
        except Exception as error:  # noqa: BLE001 - whatever no sample can explain is a finding
            self.violation(f"{type(error).__name__}: {error}")
