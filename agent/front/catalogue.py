"""What a database says of a front-end table that others may alter.

Its fingerprint tells whether anything has changed; its hazards are what can change or refuse rows.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agent.errors import FrontTableWrong
from agent.messages import mark, phrase
from agent.resource import Target

# Parts of a fingerprint whose change leaves every row as it was: they can only refuse or change
# rows that are written later
LATER = frozenset({"others", "unique", "checks", "referenced"})

# What is said of a hazard; `name` and `table` are filled in
TRIGGER = mark(
    "Front-end table {table}: trigger {name} can change or refuse rows; each row is read back "
    "when it is written"
)
RULE = mark(
    "Front-end table {table}: rule {name} can change or refuse rows; each row is read back when "
    "it is written"
)
CHECK = mark("Front-end table {table}: CHECK constraint {name} can refuse rows")
UNIQUE = mark(
    "Front-end table {table}: unique index {name} besides the key can refuse rows, of one "
    "transaction as well that exchanges two values"
)
EXCLUSION = mark("Front-end table {table}: exclusion constraint {name} can refuse rows")
FOREIGN = mark(
    "Front-end table {table}: foreign key {name} can refuse rows that come before those they "
    "refer to"
)
REFERENCED = mark(
    "Front-end table {table}: foreign key {name} of another table can refuse that rows are deleted"
)
SECURITY = mark("Front-end table {table}: row security ({name}) can hide or refuse rows")
COLUMN = mark(
    "Front-end table {table}: column {name} is not shared; its default or expression can refuse "
    "rows"
)
UNSEEN = mark(
    "Front-end table {table}: without the right TRIGGER the agent's user sees no triggers; each "
    "row is read back when it is written, which takes time"
)

# The code of a row that the table holds otherwise than it was written, though no statement failed
ASTRAY = "NOT_AS_WRITTEN"

_ACTIONS = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


def with_remedy(reason: str, statement: str) -> str:
    """Returns what is wrong with a table, and the statement with which its owner mends it."""
    return phrase("{reason}; {remedy}", reason=reason, remedy=statement)


class Hazard(NamedTuple):
    """Something of a front-end table that can change or refuse rows.

    With a `reason` no row is safe: the table is unfit.
    """

    message: str
    name: str

    # The statement that removes it
    remedy: str

    reason: str = ""


class Catalogue(NamedTuple):
    """A front-end table as its database describes it."""

    # The fingerprint: plain text, compared for equality only
    parts: Mapping[str, str]

    hazards: Sequence[Hazard] = ()

    # Triggers and rules that may leave other rows than were written
    rewriting: str = ""

    def check(self, target: Target) -> None:
        """Raises FrontTableWrong for what makes the table unfit."""
        for hazard in self.hazards:
            if hazard.reason:
                raise FrontTableWrong(
                    resource=target.resource, table=target.name, reason=hazard.reason
                )


class ForeignKey(NamedTuple):
    """A foreign key of the table, or of another one that refers to it."""

    name: str

    # The table at the other end
    table: str

    # In SQL's words
    on_delete: str
    on_update: str

    # The statement that drops it, without semicolon
    drop: str

    # The statement that makes it deferred; '' where the database has none
    defer: str = ""


def foreign_keys(outgoing: Iterable[ForeignKey], incoming: Iterable[ForeignKey]) -> list[Hazard]:
    """Returns the hazards of foreign keys.

    One that deletes or changes rows of the table by itself makes it unfit.
    """
    found = []
    for key in outgoing:
        found.append(Hazard(FOREIGN, key.name, f"{key.defer or key.drop};", _acts(key)))
    for key in incoming:
        found.append(Hazard(REFERENCED, f"{key.name} ({key.table})", f"{key.drop};"))
    return found


def _acts(key: ForeignKey) -> str:
    """Returns what a foreign key does with rows by itself; '' where it does nothing."""
    actions = []
    for event, action in (("DELETE", key.on_delete), ("UPDATE", key.on_update)):
        if action in _ACTIONS:
            actions.append(f"ON {event} {action}")
    if not actions:
        return ""
    return phrase(
        "foreign key {name} to {table} {names} deletes or changes its rows by itself; {drop};",
        name=key.name,
        table=key.table,
        names=" ".join(actions),
        drop=key.drop,
    )


def text(rows: Iterable[Iterable[Any]]) -> str:
    """Returns rows of a catalogue as one part of a fingerprint, whatever their order."""
    lines = []
    for row in rows:
        values = [str(value) for value in row]
        lines.append(json.dumps(values, ensure_ascii=False))
    return "\n".join(sorted(lines))


def shared_columns(target: Target) -> set[str]:
    """Returns the names of the columns that the agent writes."""
    return {column.name for column in target.columns} | set(target.technical.values())


def moved(before: str, now: str) -> set[str]:
    """Returns the parts in which two stored fingerprints of a front-end table differ."""
    old, new = json.loads(before), json.loads(now)
    differing = set()
    for part in old.keys() | new.keys():
        if old.get(part) != new.get(part):
            differing.add(part)
    return differing


def stored(parts: Mapping[str, str]) -> str:
    """Returns a fingerprint as it is stored, in one text."""
    return json.dumps(dict(parts), ensure_ascii=False, sort_keys=True)


def extra_columns(
    target: Target,
    rows: Iterable[tuple[str, str]],
    alter: str,
    drop: str,
) -> Iterator[Hazard]:
    """Yields the hazards of columns of others; `rows` are those with a default or an expression.

    Each row is the column's name, and the name as the statement has it.
    """
    ours = shared_columns(target)
    for name, quoted in rows:
        if name not in ours:
            yield Hazard(COLUMN, name, f"{alter} {drop} {quoted};")
