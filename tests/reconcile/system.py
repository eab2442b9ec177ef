"""Holds what these tests ask and do around an installation.

That is statements on both sides, states, events, and the reports of verify.
"""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from tests import waiting
from tests.agent_process import LASTS, Agent, Installation, in_this_process, program
from tests.checker import compare
from tests.checker.copies import Copies, Number
from tests.checker.front import Rows, at_front
from tests.checker.plan import relation
from tests.checker.replay import Event, headers_of, messages
from tests.checker.unit import TABLES, UnitTable, create_tables
from tests.checker.workload import Workload
from tests.reconcile.tables import fill
from tests.services.processes import dying_with_parent
from tests.waiting import PATIENCE, eventually

LIVE = 120.0  # seconds until every table is live, on a busy machine
ENTERPRISES = TABLES[4]
BREATH = 0.04  # seconds between the transactions of one writer


def execute(conninfo: str, statement: str, *values: object) -> Rows:
    """One statement at the source, and what it returns."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def states(place: Installation) -> dict[str, str]:
    """The state of each table as the front end has it stored."""
    return {
        str(name): str(state)
        for name, state in at_front(
            place.places.front, "SELECT name, state FROM sync_agent_resource"
        )
    }


def wait_state(
    place: Installation, agent: Agent, state: str, *resources: str, timeout: float = LIVE
) -> None:
    """Waits until the tables (all, if none is named) are in a state."""
    names = resources or tuple(table.resource for table in place.tables)

    def reached() -> bool:
        agent.check()
        now = states(place)
        return all(now.get(name) == state for name in names)

    eventually(reached, timeout, f"{', '.join(names)}: {state}", 0.2)


def copied(place: Installation, agent: Agent) -> Mapping[str, Number]:
    """Waits until every table is live, and returns until when each was copied.

    Before that an event may be of a row that its topic never had.
    """
    copies = Copies(place.places.front)

    def done() -> bool:
        agent.check()
        return not copies.look()

    eventually(done, LIVE, "every table is live", 0.1)
    return copies.until


def equal(
    place: Installation, *tables: UnitTable, timeout: float = LIVE, until: Mapping[str, Number] = {}
) -> None:
    """Asserts that source, front end and topics are the same, once everything has arrived.

    It is about all tables, if none is named; `until`: see `copied`.
    """
    eventually(place.caught_up, timeout, "all events are published", 0.5)
    judged = [table.judged(place.name) for table in tables or place.tables]
    deadline = time.monotonic() + LASTS * waiting.patience
    while (
        not (verdict := compare(place.places, judged, copied=until)).equal
        and time.monotonic() < deadline
    ):
        pass
    assert verdict.equal, verdict


def events(place: Installation, *tables: UnitTable) -> list[tuple[str, Event]]:
    """Every event of the tables' topics with its resource, partition by partition."""
    topics = {table.judged(place.name).topic: table.resource for table in tables}
    found = messages(place.bootstrap, list(topics))
    return [
        (topics[str(message.topic())], Event.of(message, headers_of(message)))
        for message in found
        if message.value() is not None
    ]


def operations(place: Installation, table: UnitTable) -> Counter[str]:
    """How many events of each kind a table's topic holds."""
    return Counter(event.op for _, event in events(place, table))


def operations_of_each(place: Installation) -> dict[str, Counter[str]]:
    """The same of every table, by resource."""
    counted: dict[str, Counter[str]] = {table.resource: Counter() for table in place.tables}
    for resource, event in events(place, *place.tables):
        counted[resource][event.op] += 1
    return counted


def report(
    place: Installation, command: str, *arguments: str, expect: int = 0
) -> dict[str, dict[str, Any]]:
    """What verify or reconcile say, by resource."""
    return {
        found["resource"]: found
        for found in json.loads(place.command(command, "--json", *arguments, expect=expect).stdout)
    }


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    """Missing, different and extra rows of a report."""
    return found["missing"], found["different"], found["extra"]


def verified(place: Installation, *resources: str) -> None:
    """Asserts that `verify` reads every row of the source and finds nothing.

    It is about all tables, if none is named; a table with a filter keeps rows back.
    """
    tables = {table.resource: table for table in place.tables}
    for name, found in report(place, "verify", *resources).items():
        assert counts(found) == (0, 0, 0), (name, found)
        assert (
            found["rows"]
            == execute(place.source, f"SELECT count(*) FROM {relation(tables[name]).as_string()}")[
                0
            ][0]
            >= found["equal"]
        ), (name, found)
        assert found["rows"] == found["equal"] or name == ENTERPRISES.resource, (name, found)
        assert found["differences"] == []


def keys_of(place: Installation, table: UnitTable) -> list[tuple[Any, ...]]:
    """The keys the front end's table holds, in some order that stays."""
    names = ", ".join(f'"{table.rename.get(column, column)}"' for column in table.key)
    return sorted(at_front(place.places.front, f'SELECT {names} FROM "{table.name}"'), key=repr)


@contextmanager
def running(place: Installation, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command of the agent beside the test."""
    with subprocess.Popen(
        [*program(place.config), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - see there
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], expect: int = 0, timeout: float = PATIENCE) -> str:
    """What a command has printed, once it has ended as it should."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == expect, output
    return output


class Paced(Workload):
    """A workload at about the pace of an office: its writers rest between transactions."""

    def _transaction(self, connection: psycopg.Connection, writer: int, txn: int) -> None:
        super()._transaction(connection, writer, txn)
        self._ended.wait(BREATH)


class Place(Installation):
    """An installation with a section of settings of its own for copies.

    Its commands run in the test's process: processes of their own are tested elsewhere.
    """

    def completed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """See Installation.completed."""
        return in_this_process(self.config, *arguments)

    def write_config(self) -> None:
        """See Installation.write_config."""
        super().write_config()
        settings = self.sections.get("reconcile", {})
        with self.config.open("a", encoding="utf-8") as file:
            file.writelines(
                ["\n[reconcile]\n", *(f"{name} = {value}\n" for name, value in settings.items())]
            )


class Ground(NamedTuple):
    """Where an agent will stand."""

    directory: Path
    source: str
    front: str | None  # None: SQLite
    bootstrap: str
    name: str

    def installed(
        self,
        tables: Sequence[UnitTable],
        rows: int = 0,
        before: Callable[[str], object] = lambda _: None,
        **sections: Mapping[str, object],
    ) -> Installation:
        """Installs an agent when the tables hold about so many rows already.

        `before` does something at the source first; `sections` are settings.
        """
        create_tables(self.source, tables)
        fill(self.source, tables, rows)
        before(self.source)
        place = Place(
            self.directory,
            self.source,
            self.bootstrap,
            self.name,
            tables=tables,
            front=self.front,
            sections=sections,
        )
        place.write_config()
        place.init_here()
        return place
