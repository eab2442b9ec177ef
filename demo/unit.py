"""The unit of a demonstration: its business database, and what the steps do there."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from tests.agent_process import Installation, Lines
from tests.checker.table import Database
from tests.checker.unit import UnitTable

DATABASE = "business"
PATIENCE = 300.0  # seconds for what is left when the writers are done, on a busy machine
SHARES: Mapping[str, float] = {  # of the rows of the largest table
    "居民": 1.0, "订单明细": 0.3, 'Audit"Log': 0.1, "文书": 0.03, "企业": 0.2, "户籍": 0.2,
    "测量": 0.05, "许可证": 0.2,
}  # fmt: skip


class Unit(Protocol):
    """A business database of one kind, and the way in which the agent finds its changes.

    All of them have residents, enterprises and documents: damage is done to these.
    """

    tables: Sequence[UnitTable]  # shared from the beginning on
    added: UnitTable  # shared only while the demonstration runs
    prepared: str  # what `init` makes in the business database
    streams_deletes: bool  # else a comparison finds them, and the workload deletes nothing

    @property
    def way(self) -> str:
        """How changes are found, for the head; '': in the log."""

    @property
    def database(self) -> Database:
        """Where its applications write."""

    def open(self, everything: ExitStack, rows: Mapping[str, int]) -> str:
        """Starts the database and makes its tables, with so many rows by resource.

        Everything ends with the stack. Returns what the database is, in words.
        """

    def place(
        self,
        directory: Path,
        bootstrap: str,
        name: str,
        front: str | None,
        sections: Mapping[str, Lines],
    ) -> Installation:
        """Returns the agent between this database and a front end (see Installation)."""

    def insert_many(self, rows: int, first: int) -> None:
        """Inserts so many residents in one transaction, with keys below -`first`."""

    def show_deletes(self, place: Installation) -> str:
        """Deletes rows and has them found, where the workload deletes none.

        Every table is live. Returns in words what was found.
        """

    def shell(self) -> str:
        """Returns how to look into the database."""


def shared_rows(unit: Unit, rows: int) -> dict[str, int]:
    """Returns how many rows each table has, by resource; the largest has `rows`."""
    found = {}
    for table in (*unit.tables, unit.added):
        found[table.resource] = int(rows * SHARES[table.name])
    return found
