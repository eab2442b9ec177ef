"""Gives the verdict over all sides.

The source must be at rest, and everything committed there must have arrived.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.checker.copies import Number
from tests.checker.journal import LEDGER_COLUMNS, read_journal, settle
from tests.checker.replay import Replay
from tests.checker.rows import column_types, front_rows, source_rows
from tests.checker.table import Database, Front, Key, Row, SharedTable, digest
from tests.checker.values import ValueType
from tests.checker.verdict import SHOWN, Verdict, short

Hashes = Mapping[str, Mapping[Key, bytes]]  # rows as digests, by side
ORACLES = {"front end": "O1", "topic": "O3"}  # who says that a side equals the source


class Places(NamedTuple):
    """Where the sides are."""

    source: Database  # who connects may read the shared tables
    front: Front
    bootstrap: str | None  # None: the topics are left out
    consumer: Mapping[str, str] = {}  # further options of the Kafka client: TLS, login

    def stored(
        self, table: SharedTable, types: Mapping[str, ValueType]
    ) -> dict[str, Iterator[tuple[Key, Row]]]:
        """Returns the rows of the two databases."""
        return {
            "source": source_rows(self.source, table, types),
            "front end": front_rows(self.front, table, types),
        }

    def whole(
        self, table: SharedTable, types: Mapping[str, ValueType], wanted: set[Key]
    ) -> dict[str, Mapping[Key, Row]]:
        """Returns the wanted rows of every side, read once more and kept whole."""
        sides: dict[str, Mapping[Key, Row]] = {
            side: {key: row for key, row in rows if key in wanted}
            for side, rows in self.stored(table, types).items()
        }
        if self.bootstrap is not None:
            replay = Replay([table], {table.topic: types}, Verdict(), wanted)
            replay.read(self.bootstrap, self.consumer)
            sides["topic"] = replay.kept
        return sides


def compare(
    places: Places,
    tables: Sequence[SharedTable],
    journal: Path | None = None,
    copied: Mapping[str, Number] = {},
    withheld: Mapping[str, Collection[Key]] = {},
) -> Verdict:
    """Returns the verdict over all tables, and with a journal also over each of its transactions.

    `copied`: see Copies.until.

    `withheld` holds by topic the keys of rows that are said to be too large for it; no other row
    may differ.
    """
    verdict = Verdict()
    types = {table.topic: column_types(places.source, table) for table in tables}
    replay = Replay(tables, types, verdict, copied=copied)
    if places.bootstrap is not None:
        replay.read(places.bootstrap, places.consumer)
    for table in tables:
        sides: dict[str, Mapping[Key, bytes]] = {}
        for side, rows in places.stored(table, types[table.topic]).items():
            sides[side] = {key: digest(row) for key, row in rows}
        if places.bootstrap is not None:
            excused = {
                key: sides["source"][key]
                for key in withheld.get(table.topic, ())
                if key in sides["source"]
            }
            sides["topic"] = replay.rows(table.topic) | excused
        verdict.rows += len(sides["source"])
        verdict.missing += sum(len(sides["source"].keys() - rows.keys()) for rows in sides.values())
        _judge(places, table, types[table.topic], sides, verdict)
        if journal is not None and is_ledger(table):
            settle(read_journal(journal), table, sides, verdict)
    if journal is not None and not any(map(is_ledger, tables)):
        raise LookupError(
            "no shared table is the ledger of a journal: "
            f"its columns are {', '.join(LEDGER_COLUMNS)}"
        )
    return verdict


def is_ledger(table: SharedTable) -> bool:
    """Tells whether the table is where the workload's transactions sign."""
    return tuple(table.columns) == LEDGER_COLUMNS


def _judge(
    places: Places,
    table: SharedTable,
    types: Mapping[str, ValueType],
    sides: Hashes,
    verdict: Verdict,
) -> None:
    """Compares each side with the source.

    It says of the first few keys in which column they differ, and counts the others.
    """
    source = sides["source"]
    keys = {
        oracle: [
            key
            for key in dict.fromkeys((*source, *sides[side]))
            if source.get(key) != sides[side].get(key)
        ]
        for side, oracle in ORACLES.items()
        if side in sides
    }
    wanted = {key for different in keys.values() for key in different[:SHOWN]}
    whole = places.whole(table, types, wanted) if wanted else {}
    for oracle, different in keys.items():
        verdict.more(oracle, len(different[SHOWN:]))
        for key in different[:SHOWN]:
            verdict.differs(table, key, *_difference(table, key, whole), oracle)


def _difference(
    table: SharedTable, key: Key, sides: Mapping[str, Mapping[Key, Row]]
) -> tuple[str, str]:
    """Returns the column in which the sides differ first, and how."""
    rows = {side: found[key] for side, found in sides.items() if key in found}
    if len(rows) < len(sides):
        return "row", f"only in {', '.join(rows) or 'none at the second look'}"
    for name, *values in zip(table.names, *rows.values(), strict=True):
        if len(set(map(repr, values))) > 1:
            return name, ", ".join(
                f"{side} {short(value)}" for side, value in zip(rows, values, strict=True)
            )
    return "row", "equal at the second look"
