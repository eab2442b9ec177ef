"""Proposes a `[[resource]]` for each table that was found: deny by default."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agent.config import names as front_names
from agent.connectors.discovery import FoundColumn, FoundTable
from agent.findings import Finding, error
from agent.messages import mark, translate
from agent.setup import personal
from agent.setup.cursors import proposed_poll
from agent.setup.names import resource_name, taken_by, unused

_LONGEST = 63  # characters of a name that every front end takes


class Proposal(NamedTuple):
    """What `[[resource]]` of a table may say, and what somebody has to decide."""

    found: FoundTable
    settings: Mapping[str, Any]  # of the [[resource]], in the order in which they are written

    # Columns that are left out: by what they seem to hold, and because nobody can read them
    guessed: Mapping[str, str]
    unread: Sequence[FoundColumn]

    # Columns of the key that seem to hold personal data: without them nothing can be shared
    personal_key: Mapping[str, str]

    # What stands in the way of sharing the table at all
    obstacles: Sequence[Finding]

    @property
    def ready(self) -> bool:
        """Whether the table can be shared as proposed, and nobody has to decide on its key."""
        return not self.obstacles and not self.personal_key


class Proposals:
    """Makes proposals, with names that no other one and no configured resource has."""

    def __init__(self, *, polled: bool, resources: Iterable[Mapping[str, Any]] = ()) -> None:
        """`resources` are configured already."""
        self._polled = polled
        self._names = [str(resource.get("name", "")) for resource in resources]

    def of(self, found: FoundTable) -> Proposal:
        """Returns the proposal for a table."""
        comments = {column.name: column.comment for column in found.readable}
        guesses = personal.guesses(comments)
        in_key = {name: kind for name, kind in guesses.items() if name in found.key}
        guessed = {name: kind for name, kind in guesses.items() if name not in in_key}

        columns = [column.name for column in found.readable if column.name not in guessed]
        return Proposal(
            found,
            self._settings(found, columns),
            guessed,
            [column for column in found.columns if column.column is None],
            in_key,
            [*_unnamable(found), *_nothing_left(found, columns), *found.obstacles],
        )

    def _settings(self, found: FoundTable, columns: Sequence[str]) -> dict[str, Any]:
        name = resource_name((found.schema, found.name), taken_by(self._names))
        self._names.append(name)
        settings: dict[str, Any] = {
            "name": name,
            "table": found.full_name,
            "columns": list(columns),
        }
        if self._polled:
            settings["poll"] = proposed_poll(found)
            if not found.key:
                # To be filled in; it stands in a comment until then
                settings["poll"]["key"] = []
        return settings


class Fitting:
    """Fits resources to a front end, for which several names may be one."""

    def __init__(self, front_url: str, resources: Iterable[Mapping[str, Any]] = ()) -> None:
        """`resources` are configured already."""
        kind = front_names.kind_of(front_url)
        self._fold_table = front_names.table_fold(kind)
        self._fold_column = front_names.column_fold(kind)
        self._targets: set[str] = set()
        for resource in resources:
            table = str(resource.get("target") or resource.get("table", ""))
            self._targets.add(self._folded(table))

    def fitted(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the settings of a resource with new names where it needs them."""
        made: dict[str, Any] = {
            "name": settings["name"],
            "table": settings["table"],
            "columns": settings["columns"],
        }
        rename = {**renamed(settings["columns"], self._fold_column), **settings.get("rename", {})}
        if rename:
            made["rename"] = rename

        table = settings["table"].rpartition(".")[2]
        target = settings.get("target") or self._target(table, settings["name"])
        self._targets.add(self._folded(target))
        if target != table:
            made["target"] = target
        return {**made, **{name: settings[name] for name in settings if name not in made}}

    def _target(self, table: str, name: str) -> str:
        """Returns a name for the front-end table: the source table's own unless it is taken."""
        return unused(name, self._is_target, _LONGEST) if self._is_target(table) else table

    def _is_target(self, table: str) -> bool:
        return self._folded(table) in self._targets

    def _folded(self, table: str) -> str:
        return self._fold_table(table.rpartition(".")[2])


def fitted(
    proposals: Iterable[Proposal], front_url: str, resources: Iterable[Mapping[str, Any]] = ()
) -> list[Proposal]:
    """Returns proposals that fit to a front end, together and with what is configured already."""
    fitting = Fitting(front_url, resources)
    made = []
    for proposal in proposals:
        made.append(proposal._replace(settings=fitting.fitted(proposal.settings)))
    return made


def renamed(columns: Sequence[str], fold: Callable[[str], str]) -> dict[str, str]:
    """Returns new names for columns whose names are one after `fold`; the first keeps its own."""
    seen = {fold(name) for name in columns}
    first: set[str] = set()
    new: dict[str, str] = {}
    for name in columns:
        if fold(name) not in first:
            first.add(fold(name))
            continue
        number = 2
        while fold(f"c{number}_{name}") in seen:
            number += 1
        new[name] = f"c{number}_{name}"
        seen.add(fold(new[name]))
    return new


def _unnamable(found: FoundTable) -> list[Finding]:
    """Says that the configuration has no way to name the table, where that is so."""
    if "." in found.name or "." in found.schema or not found.name:
        text = mark("table {table}: a name with a dot cannot be configured")
        fix = mark("Have a view with another name made of it, and share that by polling.")
        return [error("TABLE_NAME", text, translate(fix), table=found.full_name)]
    if not found.readable:
        text = mark("table {table} has no column that the agent can read")
        return [error("COLUMN_MISSING", text, table=found.full_name)]
    return []


def _nothing_left(found: FoundTable, columns: Sequence[str]) -> list[Finding]:
    """Says that no column is proposed, for all that can be read seem to hold personal data."""
    if columns or not found.readable:
        return []
    text = mark("table {table}: every column that the agent can read seems to hold personal data")
    fix = mark("Write into `columns` what may be shared.")
    return [error("COLUMN_MISSING", text, translate(fix), table=found.full_name)]
