"""The shared tables as source and front end have them now: compiled, checked, and compared with what the catalogue said of them before."""

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
    TableUnpublished,
    TableWork,
)
from agent.front import catalogue
from agent.front.base import Copy, Front, Stored
from agent.messages import phrase
from agent.resource import Resource

log = logging.getLogger(__name__)


class Tables:
    """From one opening of source and front end to the next. `resources`: the tables that are not suspended."""

    def __init__(self, settings: Settings, source: Source, front: Front, stored: Stored) -> None:
        """Both are open. Raises TableChanged, TableUnpublished, FrontTableTaken, FrontTableWrong (suspend the table), NotInitialised."""
        self._source, self._front = source, front
        found = source.tables()
        self.resources: list[Resource] = []
        self._fronts: dict[str, str] = {}  # by resource: the front end's catalogue
        for resource in settings.resource:
            if resource.name not in stored.resources:
                raise NotInitialised(what=phrase("resource {name}", name=resource.name))
            if stored.resources[resource.name].state != "suspended":
                with TableWork(resource.name):
                    self.resources.append(self._compiled(settings, resource, found, stored))
        for name in stored.resources.keys() - {resource.name for resource in settings.resource}:
            front.release(name)
            if stored.resources[name].state == "live":
                command = f"sync-agent forget {name}"
                log.warning("resource_removed resource=%s next=%s", name, command)
                # What it misses from now on is made up for when the configuration has it again
                front.start_copy(name, Copy())
        self._filtered = {resource.name for resource in self.resources if resource.filtered}
        self._now = self._fingerprints()
        self._opened = dict(self._now)
        self.rewritten: dict[str, dict[str, str]] = {}  # by resource: nobody knows why
        self.stored = self._compared(stored)  # with what is copied anew
        self._doubtful = set(self.rewritten)  # rewritten since, or shortly before, all was opened

    def _compiled(
        self,
        settings: Settings,
        resource: ResourceSettings,
        found: dict[tuple[str, str], SourceTable],
        stored: Stored,
    ) -> Resource:
        table = found.get(settings.source.place(resource.table))
        if table is None:
            raise TableChanged(
                resource=resource.name, table=resource.table, change=phrase("it does not exist")
            )
        reason = self._source.unpublished(*settings.source.place(resource.table))
        if reason:
            raise TableUnpublished(
                resource=resource.name,
                publication=settings.source.publication,
                table=resource.table,
                reason=reason,
            )
        criteria = self._criteria(resource, table, stored)
        compiled = Resource(resource, settings, table, criteria)
        self._front.claim(compiled.target)
        # Before the check: what is altered after it is seen at the next look
        self._fronts[compiled.name] = catalogue.stored(self._front.catalogue(compiled.target))
        self._front.check(compiled.target)
        return compiled

    def _criteria(
        self, resource: ResourceSettings, table: SourceTable, stored: Stored
    ) -> tuple[Criterion, ...]:
        """The filter in the texts of its columns as they are now.

        Values that fitted until the table was changed concern this table alone, not the configuration.
        """
        try:
            return self._source.criteria(resource, table)
        except ConfigInvalid as error:
            before = stored.fingerprints.get(resource.name)
            now = self._source.fingerprints().get((table.schema, table.table))
            if before is None or now is None:
                raise
            if all(before.get(part) == getattr(now, part) for part in ("columns", "storage")):
                raise
            raise TableChanged(
                resource=resource.name,
                table=resource.table,
                change=phrase(
                    "its filter does not fit any more: {names}", names="; ".join(error.problems)
                ),
            ) from None

    def _fingerprints(self) -> dict[str, Fingerprint]:
        found = self._source.fingerprints()
        return {
            r.name: found[r.table.schema, r.table.table]
            for r in self.resources
            if (r.table.schema, r.table.table) in found
        }

    def _compared(self, stored: Stored) -> Stored:
        """Compares the catalogue with what it was when the tables were last copied or compared; where rows may have changed unseen, the copy begins anew."""
        for name, now in self._now.items():
            before, found = stored.fingerprints.get(name), self._parts(name, now)
            moved = {
                part
                for part, value in found.items()
                if before is not None and before.get(part) != value
            }
            altered = self._altered(name, moved, before or {})
            if moved:
                log.warning("catalogue_changed resource=%s parts=%s", name, ",".join(sorted(moved)))
            if moved - {"storage", "others", "front"}:
                self._front.start_copy(name, Copy())
                copying = stored.resources[name]._replace(state="copying")
                copy = Copy(republish=stored.copies.get(name, Copy()).republish)
                stored = stored._replace(
                    resources={**stored.resources, name: copying},
                    copies={**stored.copies, name: copy},
                )
            elif "storage" in moved or altered - catalogue.LATER:
                self.rewritten[name] = found  # kept when the verify has ended
                continue
            if before != found:
                self._front.keep_fingerprint(name, found)
        return stored

    @property
    def unsettled(self) -> set[str]:
        """Tables whose copy has to wait until all is opened anew."""
        return {name for name, now in self._now.items() if now.unsettled}

    def _altered(self, name: str, moved: set[str], before: Mapping[str, str]) -> set[str]:
        """The parts of the front end's catalogue that have moved; a record of an older version has none, which is no change."""
        if "front" not in moved:
            return set()
        if "front" not in before:
            moved.discard("front")
            return set()
        altered = catalogue.moved(before["front"], self._fronts[name])
        log.warning("front_table_changed resource=%s parts=%s", name, ",".join(sorted(altered)))
        return altered

    def _parts(self, name: str, now: Fingerprint) -> dict[str, str]:
        """What is stored: both catalogues' parts, and what the configuration shares of the table."""
        resource = next(resource for resource in self.resources if resource.name == name)
        return {**now._asdict(), "shared": resource.shape, "front": self._fronts[name]}

    def front_moved(self) -> bool:
        """Looks at the front end's catalogue again, with no transaction open there: whether the tables must be opened anew.

        Then they are checked, too, and what moved is compared with what is stored.
        """
        for resource in self.resources:
            try:
                with TableWork(resource.name):
                    now = catalogue.stored(self._front.catalogue(resource.target))
            except (
                FrontBusy
            ) as busy:  # somebody is altering it: the next look shows what came of it
                log.info("front_table_locked resource=%s error=%s", resource.name, busy.text("en"))
                continue
            if now != self._fronts[resource.name]:
                return True
        return False

    def changed(self, name: str) -> bool:
        """Looks at the catalogue of the source: whether rows of a table may have changed in silence since all was opened."""
        before, now = self._opened[name], self._fingerprints().get(name)
        if now is None or name in self._doubtful:
            return True
        return (now.storage, now.leaves) != (before.storage, before.leaves)

    def moved(self) -> bool:
        """Looks at the catalogue again: whether the tables must be opened anew. What was only rewritten is in `rewritten`."""
        before, self._now = self._now, self._fingerprints()
        self.rewritten = {}
        outdated = bool(before.keys() - self._now.keys())
        for name, now in self._now.items():
            parts = {
                part
                for part, value in now._asdict().items()
                if value != getattr(before[name], part)
            }
            if parts:
                log.warning("catalogue_changed resource=%s parts=%s", name, ",".join(sorted(parts)))
            outdated = outdated or bool(parts - {"storage", "others"})
            # A label that was renamed is another text for the filter, too
            outdated = outdated or ("storage" in parts and name in self._filtered)
            if "storage" in parts:
                self.rewritten[name] = self._parts(name, now)
                self._doubtful.add(name)
            elif parts == {"others"} and name not in self._doubtful:
                # Of a rewritten table, the verify keeps the fingerprint when it has ended
                self._front.keep_fingerprint(name, self._parts(name, now))
        return outdated
