"""Keeps the servers of schedules: started on first need, and started again after a finding."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults import trial as of_postgres
from tests.faults.binary_log import trial as of_a_log
from tests.faults.binary_log.ground import LoggedGround
from tests.faults.binary_log.server import LoggingServers
from tests.faults.ground import Ground
from tests.faults.outcome import Outcome
from tests.faults.planting import Bug
from tests.faults.schedule import Schedule, Source
from tests.faults.trial import Servers
from tests.services.kafka import KafkaBroker
from tests.services.postgres import PostgresServer


@contextmanager
def servers() -> Iterator[Servers]:
    """Yields a PostgreSQL, a Kafka, and what starts MariaDB and MySQL; nothing happens to them."""
    with (
        PostgresServer.start(18) as postgres,
        KafkaBroker.start() as kafka,
        closing(LoggingServers()) as logging,
    ):
        yield Servers(postgres, kafka, logging)


def trial(servers: Servers, schedule: Schedule, evidence: Path, bug: Bug | None = None) -> Outcome:
    """Runs a schedule on servers to which nothing happens; see tests.faults.trial.trial."""
    if schedule.source == "postgresql":
        return of_postgres.trial(servers, schedule, evidence, bug)
    return of_a_log.trial(servers, schedule, evidence, bug)


class Field:
    """Runs schedules of every kind, one at a time."""

    def __init__(self) -> None:
        self._unharmed = ExitStack()
        self._harmed = ExitStack()
        self._servers: Servers | None = None
        self._ground: Ground | None = None
        self._source: Source = "postgresql"

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
        if self._source != schedule.source:
            self._source = schedule.source
            self._leave()
        if self._source == "postgresql":
            ground = self._ground = self._ground or self._harmed.enter_context(Ground())
            outcome = of_postgres.mixed_trial(ground, schedule, evidence, bug)
        else:
            logged = self._ground or self._harmed.enter_context(LoggedGround(self._source))
            self._ground = logged
            assert isinstance(logged, LoggedGround)
            outcome = of_a_log.mixed_trial(logged, schedule, evidence, bug)
        if not outcome.green:  # what stands there now may be anything
            self._leave()
        return outcome

    def _leave(self) -> None:
        """Ends the servers to which things have happened."""
        self._harmed.close()
        self._ground = None
