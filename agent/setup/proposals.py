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
    """Makes proposals that fit together, and the resources that are there already.

    `front_url` decides which names of tables and columns are the same.
    """

    def __init__(
        self, front_url: str, *, polled: bool, resources: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        kind = front_names.kind_of(front_url)
        self._polled = polled
        self._fold_table = front_names.table_fold(kind)
        self._fold_column = front_names.column_fold(kind)
        self._names: list[str] = []
        self._targets: set[str] = set()
        for resource in resources:
            self._names.append(str(resource.get("name", "")))
            table = str(resource.get("target") or resource.get("table", ""))
            self._targets.add(self._fold_table(table.rpartition(".")[2]))

    def of(self, found: FoundTable, *, shared: Iterable[str] = ()) -> Proposal:
        """Returns the proposal for a table; `shared` are columns that are shared in any case."""
        comments = {column.name: column.comment for column in found.readable}
        all_guesses = personal.guesses(comments)
        chosen = set(shared)
        key_guesses = {}
        guessed = {}
        for name, kind in all_guesses.items():
            if name in found.key:
                key_guesses[name] = kind
            elif name not in chosen:
                guessed[name] = kind

        columns = [column.name for column in found.readable if column.name not in guessed]
        settings = self._settings(found, columns)
        return Proposal(
            found,
            settings,
            guessed,
            [column for column in found.columns if column.column is None],
            key_guesses,
            [*_unnamable(found), *found.obstacles],
        )

    def _settings(self, found: FoundTable, columns: Sequence[str]) -> dict[str, Any]:
        name = resource_name((found.schema, found.name), taken_by(self._names))
        self._names.append(name)
        settings: dict[str, Any] = {
            "name": name,
            "table": found.full_name,
            "columns": list(columns),
        }

        rename = self._renamed(columns)
        if rename:
            settings["rename"] = rename
        target = self._target(found.name, name)
        if target != found.name:
            settings["target"] = target
        if self._polled:
            settings["poll"] = proposed_poll(found)
            if not found.key:
                # To be filled in; it stands in a comment until then
                settings["poll"]["key"] = []
        return settings

    def _target(self, table: str, name: str) -> str:
        """Returns a name for the front-end table: the source table's own unless it is taken."""
        target = table
        if self._is_target(table):
            target = unused(name, self._is_target, _LONGEST)
        self._targets.add(self._fold_table(target))
        return target

    def _is_target(self, table: str) -> bool:
        return self._fold_table(table) in self._targets

    def _renamed(self, columns: Sequence[str]) -> dict[str, str]:
        """Returns new names for columns whose names are one for the front end."""
        return renamed(columns, self._fold_column)


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
