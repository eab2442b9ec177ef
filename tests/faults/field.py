"""Keeps the servers of schedules: started on first need, and started again after a finding."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.bugs import Bug
from tests.faults.ground import Ground
from tests.faults.schedule import Schedule
from tests.faults.trial import Outcome, Servers, mixed_trial, trial
from tests.services.kafka import KafkaBroker
from tests.services.postgres import PostgresServer


@contextmanager
def servers() -> Iterator[Servers]:
    """Yields a PostgreSQL and a Kafka, to which nothing happens."""
    with PostgresServer.start(18) as postgres, KafkaBroker.start() as kafka:
        yield Servers(postgres, kafka)


class Field:
    """Runs schedules of every kind, one at a time."""

    def __init__(self) -> None:
        self._unharmed = ExitStack()
        self._harmed = ExitStack()
        self._servers: Servers | None = None
        self._ground: Ground | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._harmed.close()
        self._unharmed.close()

    def run(self, schedule: Schedule, evidence: Path, bug: Bug | None = None) -> Outcome:
        """See `trial`."""
        if not schedule.needs_ground:
            self._servers = self._servers or self._unharmed.enter_context(servers())
            return trial(self._servers, schedule, evidence, bug)
        self._ground = self._ground or self._harmed.enter_context(Ground())
        outcome = mixed_trial(self._ground, schedule, evidence, bug)
        if not outcome.green:  # what stands there now may be anything
            self._harmed.close()
            self._ground = None
        return outcome
