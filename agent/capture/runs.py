"""Runs: one table each on its way through the phases, and which of them are next."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.capture.differences import Differences
from agent.capture.table_state import TableStates
from agent.connectors.base import Page
from agent.front.base import PAGES, WITHHELD, Copy, Request
from agent.resource import Resource
from agent.values.rows import Key

FIRST: Final = 1_000  # rows of the first page
_SHOWN = 20  # differences that a report names
_KINDS = ("missing", "different", "extra")


@dataclass(eq=False)
class Run:
    """One table on its way through the phases: a repair (copy, reconcile), or a verify.

    Of a verify nothing is stored: it begins from the first page after a restart.
    """

    resource: Resource
    copy: Copy
    repair: bool = True
    request: Request | None = None
    # Of a verify for which nobody asked: the fingerprint of the table since it was rewritten
    rewritten: Mapping[str, str] | None = None
    # Of a verify that follows a repair: the report of that
    repaired: Mapping[str, Any] | None = None

    # ---- what is read next
    limit: int = FIRST  # rows of a page
    keys: Sequence[Key] = ()  # to look up; in the phase of the pages none
    topic_keys: Sequence[str] = ()  # in the phase of the topic: the same as the topic has them
    unsure: set[Key] = field(default_factory=set)  # of a verify: keys to look up in the end

    # ---- what was found
    equal: int = 0
    withheld: int = 0
    refused: int = 0  # rows that differ since the front end refuses them
    shown: list[dict[str, str]] = field(default_factory=list)
    counted: tuple[int, int] | None = None  # rows to share at the source, rows in the front end
    tolerance: int = 0  # by how many rows the two may differ: those that the front end refuses
    repeated: bool = False  # every row is compared a second time (Reconciler._repeat)

    @property
    def republishes(self) -> bool:
        """Whether rows are published though nothing differs."""
        phase = self.copy.phase
        if phase == WITHHELD:
            return True
        return phase == PAGES and self.copy.republish

    @property
    def differences(self) -> int:
        """How many rows differed so far."""
        copy = self.copy
        return copy.missing + copy.different + copy.extra

    @property
    def unequal(self) -> bool:
        """Whether a row has differed, or the numbers of rows do."""
        return self.miscounted or self.differences > 0

    @property
    def miscounted(self) -> bool:
        """Whether the numbers of rows differ by more than the refused rows explain."""
        source, front = self.counted or (0, 0)
        return abs(source - front) > self.tolerance

    @property
    def left(self) -> int:
        """How many rows differ still: none after a repair, all that were found by a verify."""
        if self.repair:
            return 0
        return self.differences or int(self.miscounted)

    def report(self) -> dict[str, Any]:
        """Returns what a command is answered."""
        copy = self.copy
        report = {
            "phase": copy.phase,
            "estimate": copy.estimate,
            "looked_up": copy.looked_up,
            "rows": copy.rows,
            "equal": self.equal,
            "missing": copy.missing,
            "different": copy.different,
            "extra": copy.extra,
            "withheld": self.withheld,
            "counted": list(self.counted or ()),
            "refused": self.refused,
            "differences": self.shown,
        }
        if self.repaired is None:
            return report
        return {
            **report,
            **self.repaired,
            "left": self.left,
            "refused": self.refused,
        }

    def count(
        self,
        page: Page,
        found: Differences,
        being_read: Collection[Key],
    ) -> None:
        """Counts what a page has shown; rows that are being read again are no differences."""
        copy = self.copy
        rows = 0
        looked_up = 0
        if copy.phase == PAGES:
            rows = len(page.lines)
        else:
            looked_up = len(self.keys)

        for refused in found.refused.values():
            self.refused += len(refused)

        differing = {kind: found.of(kind) for kind in _KINDS}
        if being_read:
            for kind, keys in differing.items():
                differing[kind] = [key for key in keys if key not in being_read]

        self.copy = copy._replace(
            rows=copy.rows + rows,
            looked_up=copy.looked_up + looked_up,
            missing=copy.missing + len(differing["missing"]),
            different=copy.different + len(differing["different"]),
            extra=copy.extra + len(differing["extra"]),
        )
        for kind, keys in differing.items():
            self._show(kind, keys)

    def _show(self, kind: str, keys: Sequence[Key]) -> None:
        """Names differences in the report, the first ones only."""
        room = max(0, _SHOWN - len(self.shown))
        for key in keys[:room]:
            text = self.resource.key_json(key).decode()
            digest = hashlib.sha256(text.encode()).hexdigest()
            shown = {
                "kind": kind,
                "hash": digest[:16],
                "key": text,
            }
            self.shown.append(shown)


class Runs:
    """The runs at work and those that wait: copies first, in the order of the configuration.

    Those at work are all repairs or all verifies, no two of one table.
    """

    def __init__(
        self,
        tables: TableStates,
        resources: Sequence[Resource],
        unsettled: Collection[str],
    ) -> None:
        """`unsettled`: tables that are not copied yet."""
        self._tables = tables
        self._resources = {resource.name: resource for resource in resources}
        self._unsettled = unsettled
        self.at_work: list[Run] = []
        self._verifies: list[Run] = []
        # By resource: what its copy is to answer, once it is its turn
        self._requests: dict[str, Request] = {}

    def resource(self, name: str) -> Resource | None:
        """Returns the table if it is open; None for a suspended one."""
        return self._resources.get(name)

    def repairing(self, name: str) -> Run | None:
        """Returns the run at work that repairs this table."""
        for run in self.at_work:
            if run.repair and run.resource.name == name:
                return run
        return None

    @property
    def requests(self) -> set[str]:
        """The ids of the requests that were taken up and are not answered."""
        ids = {request.id for request in self._requests.values()}
        for run in (*self.at_work, *self._verifies):
            if run.request is not None:
                ids.add(run.request.id)
        return ids

    def verify(self, run: Run, *, first: bool = False) -> None:
        """Lines a verify up, at the end or (`first`) before all others."""
        if first:
            self._verifies.insert(0, run)
        else:
            self._verifies.append(run)

    def answer_with_copy(self, name: str, request: Request) -> None:
        """Makes the copy of a table answer a request when it ends."""
        run = self.repairing(name)
        if run is not None:
            run.request = request
        else:
            self._requests[name] = request

    def next(self, most: int) -> Sequence[Run]:
        """Puts runs to work and returns those to go on with, at most so many."""
        repairs = []
        verifies = []
        for run in self.at_work:
            if not run.repair:
                verifies.append(run)
            elif self._tables[run.resource.name].copying:
                repairs.append(run)

        self._join_copies(repairs, most)
        if repairs:
            self._verifies[:0] = verifies
            self.at_work = repairs
        else:
            self._join_verifies(verifies, most)
            self.at_work = verifies
        return self.at_work[:most]

    def end(self, run: Run) -> None:
        """Takes a run from work: its table is through, or nobody wants it any more."""
        self.at_work.remove(run)

    def _join_copies(self, repairs: list[Run], most: int) -> None:
        """Begins runs of tables that are copying."""
        repaired = {run.resource.name for run in repairs}
        for name, resource in self._resources.items():
            if len(repairs) >= most:
                return
            copy = self._tables[name].copy
            if copy is not None and name not in repaired and name not in self._unsettled:
                request = self._requests.pop(name, None)
                repairs.append(Run(resource, copy, request=request))

    def _join_verifies(self, verifies: list[Run], most: int) -> None:
        """Takes up verifies that wait, in their order."""
        verified = {run.resource.name for run in verifies}
        while self._verifies and len(verifies) < most:
            name = self._verifies[0].resource.name
            if name in verified:
                return
            verified.add(name)
            verifies.append(self._verifies.pop(0))
