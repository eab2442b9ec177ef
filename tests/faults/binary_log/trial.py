"""Runs one schedule on an agent that reads a binary log, and judges it as every other one."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.checker.commits import CommitOrder
from tests.checker.prefix import PrefixReader
from tests.checker.sampler import Sampler
from tests.checker.table import SharedTable
from tests.checker.workload import Workload
from tests.faults.binary_log.ground import LoggedGround
from tests.faults.binary_log.hygiene import LoggedHygiene
from tests.faults.binary_log.installation import TOKEN, LoggedInstallation
from tests.faults.binary_log.nemesis import LoggedNemesis
from tests.faults.binary_log.order import last_number, number_of, watched
from tests.faults.binary_log.server import fresh_unit
from tests.faults.binary_log.unit import RESIDENTS, TABLES, create_tables, define, fill
from tests.faults.binary_log.workload import KINDS, LoggedWorkload
from tests.faults.ground import PASSWORD, sections
from tests.faults.hygiene import Hygiene
from tests.faults.outcome import Outcome, fresh_evidence
from tests.faults.planting import Bug
from tests.faults.schedule import Schedule
from tests.faults.trial import BIG, LONG, Servers, Trial, front_database, prepare, run

DEFINITION = "after_definition"
BETWEEN_DEFINITIONS = 2.0  # seconds


def trial(servers: Servers, schedule: Schedule, evidence: Path, bug: Bug | None = None) -> Outcome:
    """See tests.faults.trial.trial."""
    assert servers.logging is not None, "somebody starts servers of the MySQL family"
    fresh_evidence(evidence)
    name = f"f{uuid.uuid4().hex[:12]}"
    with (
        servers.logging.taken(schedule.source) as server,
        fresh_unit(server, schedule.source, name) as source,
        front_database(servers, schedule) as front,
    ):
        place = LoggedInstallation(
            evidence,
            source,
            servers.kafka.bootstrap,
            name,
            front=front,
            sections=sections(evidence),
        )
        create_tables(source, place.tables)
        prepare(place, schedule, fill, TABLES)
        return run(place, schedule, evidence, bug, LoggedTrial)


def mixed_trial(
    ground: LoggedGround, schedule: Schedule, evidence: Path, bug: Bug | None = None
) -> Outcome:
    """See tests.faults.trial.mixed_trial."""
    fresh_evidence(evidence)
    with ground.installed(schedule, evidence) as place:
        return run(place, schedule, evidence, bug, LoggedTrial, partial(LoggedNemesis, ground))


class LoggedTrial(Trial):
    """See Trial. The server is told nothing of what is stored, so there is no O8."""

    _define_at = 0.0  # when a table may be changed for a fault

    def _workload(self) -> Workload:
        return LoggedWorkload(
            self._place.source,
            self._schedule.seed,
            self.journal,
            self._schedule.writers,
            TABLES,
            KINDS,
            big=BIG,
            open_seconds=LONG,
        )

    def _watched(self) -> AbstractContextManager[CommitOrder]:
        return watched(self._place.source, self._place.name)

    def _prefix(self) -> PrefixReader:
        return PrefixReader(self._front, self.snapshots, TOKEN, number_of)

    def _samplers(self) -> Sequence[Sampler]:
        return ()

    def _hygiene(self, order: CommitOrder) -> Hygiene:
        return LoggedHygiene(self._place, self._agent, [PASSWORD])

    @contextmanager
    def _passed(self) -> Iterator[Callable[[], bool]]:
        assert isinstance(self._place, LoggedInstallation)
        yield partial(self._place.stored, last_number(self._place.source))

    def _copy_again(self) -> None:
        """Has a statement change a table, too, while a fault that needs one has not come."""
        super()._copy_again()
        now = time.monotonic()
        places = {fault.place for fault in self._schedule.faults}
        if DEFINITION in places.difference(self._agent.fired()) and now > self._define_at:
            self._define_at = now + BETWEEN_DEFINITIONS
            define(self._place.source, f"ALTER TABLE \"{RESIDENTS.name}\" COMMENT = '居民'")

    def _before_the_last(self) -> None:
        self._wait_for_copies()

    def _tables(self) -> Sequence[SharedTable]:
        return self._place.judged
