"""The shared tables as source and front end have them now.

They are compiled, checked, and compared with what the catalogues said of them before.
"""

import logging
from collections.abc import Mapping

from agent.config import ResourceSettings, Settings
from agent.connectors.base import Fingerprint, Source
from agent.connectors.table import Criterion, SourceTable
from agent.errors import (
    ConfigInvalid,
    FrontBusy,
    NotInitialised,
    TableChanged,
    TableWork,
)
from agent.front import catalogue
from agent.front.base import Copy, Front, Stored
from agent.messages import phrase
from agent.resource import Resource

log = logging.getLogger(__name__)

# Parts that are stored beside those of the source's catalogue
_SHARED = "shared"  # what the configuration shares of the table
_FRONT = "front"  # the front end's catalogue


class Tables:
    """The shared tables, from one opening of source and front end to the next.

    `resources` are those that are not suspended.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        front: Front,
        stored: Stored,
    ) -> None:
        """Takes a source and a front end that are open.

        Raises TableChanged, TableNotCaptured, FrontTableTaken, FrontTableWrong (suspend the table),
        NotInitialised.
        """
        self._settings = settings
        self._source = source
        self._front = front
        self._fronts: dict[str, str] = {}  # by resource: the front end's catalogue
        self.resources = self._compile(stored)
        self._next = 0  # the resource whose front-end table is looked at next
        self._release_removed(stored)
        self._filtered: set[str] = set()
        for resource in self.resources:
            if resource.filtered:
                self._filtered.add(resource.name)
        self._now = self._fingerprints()
        self._opened = dict(self._now)

        # By resource what is stored once it is verified: it was rewritten, nobody knows how
        self.rewritten: dict[str, dict[str, str]] = {}
        # With the copies that begin anew
        self.stored = self._compared(stored)
        # Rewritten since, or shortly before, all was opened
        self._doubtful = set(self.rewritten)

    # ---- opening

    def _compile(self, stored: Stored) -> list[Resource]:
        """Compiles and checks the tables that are not suspended."""
        found = self._source.tables()
        compiled = []
        for resource in self._settings.resource:
            if resource.name not in stored.resources:
                raise NotInitialised(what=phrase("resource {name}", name=resource.name))
            if stored.resources[resource.name].state == "suspended":
                continue
            with TableWork(resource.name):
                table = self._compiled(resource, found, stored)
            compiled.append(table)
        return compiled

    def _compiled(
        self,
        resource: ResourceSettings,
        found: dict[tuple[str, str], SourceTable],
        stored: Stored,
    ) -> Resource:
        place = self._settings.source.place(resource.table)
        table = found.get(place)
        if table is None:
            raise TableChanged(
                resource=resource.name,
                table=resource.table,
                change=phrase("it does not exist"),
            )
        self._source.check_captured(resource)
        criteria = self._criteria(resource, table, stored)
        origin = self._source.origin(table)
        compiled = Resource(resource, self._settings.kafka, table, origin, criteria)

        self._front.claim(compiled.target)
        # Before the check: what is altered after it is seen at the next look
        parts = self._front.catalogue(compiled.target)
        self._fronts[compiled.name] = catalogue.stored(parts)
        self._front.check(compiled.target)
        return compiled

    def _criteria(
        self,
        resource: ResourceSettings,
        table: SourceTable,
        stored: Stored,
    ) -> tuple[Criterion, ...]:
        """Returns the filter in the texts of its columns as they are now.

        Values that fitted until the table was changed concern this table alone, not the
        configuration.
        """
        try:
            return self._source.criteria(resource, table)
        except ConfigInvalid as error:
            before = stored.fingerprints.get(resource.name)
            place = table.schema, table.table
            now = self._source.fingerprints().get(place)
            if before is None or now is None:
                raise
            if not _moved(before, {**now.copy, **now.verify}):
                raise
            problems = "; ".join(error.problems)
            raise TableChanged(
                resource=resource.name,
                table=resource.table,
                change=phrase("its filter does not fit any more: {names}", names=problems),
            ) from None

    def _release_removed(self, stored: Stored) -> None:
        """Lets go of what the configuration names no more."""
        configured = {resource.name for resource in self._settings.resource}
        for name in stored.resources.keys() - configured:
            self._front.release(name)
            if stored.resources[name].state == "live":
                command = f"sync-agent forget {name}"
                log.warning("resource_removed resource=%s next=%s", name, command)
                # What it misses from now on is made up for when the configuration has it again
                self._front.start_copy(name, Copy())

    # ---- the source's catalogue

    def _fingerprints(self) -> dict[str, Fingerprint]:
        """Looks at the source's catalogue; by resource."""
        found = self._source.fingerprints()
        ours = {}
        for resource in self.resources:
            place = resource.table.schema, resource.table.table
            if place in found:
                ours[resource.name] = found[place]
        return ours

    def _compared(self, stored: Stored) -> Stored:
        """Compares the catalogues with what they were when the tables were last compared.

        Where rows may have changed unseen, the copy begins anew.
        """
        for name, now in self._now.items():
            before = stored.fingerprints.get(name)
            found = self._parts(name, now)
            moved = set() if before is None else _moved(before, found)
            altered = self._altered(name, moved, before or {})
            if moved:
                _warn_changed(name, moved)

            if moved & (now.copy.keys() | {_SHARED}):
                stored = self._copied_anew(stored, name)
            elif moved & now.verify.keys() or altered - catalogue.LATER:
                self.rewritten[name] = found  # kept when the verify has ended
                continue
            if before != found:
                self._front.keep_fingerprint(name, found)
        return stored

    def _copied_anew(self, stored: Stored, name: str) -> Stored:
        """Begins a copy of a table; a republication that was under way goes on."""
        self._front.start_copy(name, Copy())
        copying = stored.resources[name]._replace(state="copying")
        before = stored.copies.get(name, Copy())
        copy = Copy(republish=before.republish)
        return stored._replace(
            resources={**stored.resources, name: copying},
            copies={**stored.copies, name: copy},
        )

    @property
    def unsettled(self) -> set[str]:
        """Tables whose copy has to wait until all is opened anew."""
        return {name for name, now in self._now.items() if now.unsettled}

    def _parts(self, name: str, now: Fingerprint) -> dict[str, str]:
        """Returns what is stored of a table.

        These are the parts of both catalogues, and what the configuration shares.
        """
        resource = next(resource for resource in self.resources if resource.name == name)
        return {
            **now.parts,
            _SHARED: resource.shape,
            _FRONT: self._fronts[name],
        }

    def changed(self, name: str) -> bool:
        """Looks at the source's catalogue: whether a table may have changed in silence.

        That is, since all was opened.
        """
        before = self._opened[name]
        now = self._fingerprints().get(name)
        if now is None or name in self._doubtful:
            return True
        return (now.copy, now.verify) != (before.copy, before.verify)

    def moved(self) -> bool:
        """Looks at the catalogue again: whether the tables must be opened anew.

        What was only rewritten is in `rewritten`.
        """
        before = self._now
        self._now = self._fingerprints()
        self.rewritten = {}
        outdated = bool(before.keys() - self._now.keys())
        for name, now in self._now.items():
            moved = _moved(before[name].parts, now.parts)
            if moved:
                _warn_changed(name, moved)

            rewritten = bool(moved & now.verify.keys())
            if moved & now.copy.keys():
                outdated = True
            if rewritten and name in self._filtered:
                outdated = True  # a label that was renamed is another text for the filter, too

            if rewritten:
                self.rewritten[name] = self._parts(name, now)
                self._doubtful.add(name)
            elif moved and moved <= now.notice.keys() and name not in self._doubtful:
                # Of a rewritten table, the verify keeps the fingerprint when it has ended
                self._front.keep_fingerprint(name, self._parts(name, now))
        return outdated

    # ---- the front end's catalogue

    def _altered(
        self,
        name: str,
        moved: set[str],
        before: Mapping[str, str],
    ) -> set[str]:
        """Returns the parts of the front end's catalogue that have moved.

        A record of an older version has none, which is no change.
        """
        if _FRONT not in moved:
            return set()
        if _FRONT not in before:
            moved.discard(_FRONT)
            return set()
        altered = catalogue.moved(before[_FRONT], self._fronts[name])
        parts = ",".join(sorted(altered))
        log.warning("front_table_changed resource=%s parts=%s", name, parts)
        return altered

    def front_moved(self, count: int | None = None) -> bool:
        """Looks at the front end's catalogue again: whether the tables must be opened anew.

        Then they are checked, too, and what moved is compared with what is stored. To be called
        with no transaction open at the front end. `count`: only so many tables, in turn.
        """
        resources = self.resources
        if count is not None:
            resources = resources[self._next : self._next + count]
            self._next += count
            if self._next >= len(self.resources):
                self._next = 0
        for resource in resources:
            try:
                with TableWork(resource.name):
                    parts = self._front.catalogue(resource.target)
            except FrontBusy as busy:
                # Somebody is altering it: the next look shows what came of it
                error = busy.text("en")
                log.info("front_table_locked resource=%s error=%s", resource.name, error)
                continue
            if catalogue.stored(parts) != self._fronts[resource.name]:
                return True
        return False


def _warn_changed(name: str, moved: set[str]) -> None:
    parts = ",".join(sorted(moved))
    log.warning("catalogue_changed resource=%s parts=%s", name, parts)


def _moved(before: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    """Returns the names of the parts that are not as they were."""
    moved = set()
    for part, value in now.items():
        if before.get(part) != value:
            moved.add(part)
    return moved
