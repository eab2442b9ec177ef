"""What commands ask of the service: suspend, resume, reconcile, verify, retry, republish."""

import logging
from collections.abc import Callable, Mapping, Sequence

from agent.capture.runs import Run, Runs
from agent.capture.table_state import TableState, TableStates
from agent.errors import Suspend, TableWork, stored
from agent.front.base import FOLLOWED, PAGES, WITHHELD, Copy, Front, Request

log = logging.getLogger(__name__)


class Requests:
    """Takes requests up: each is answered at once, or by the run that it leads to."""

    def __init__(
        self,
        front: Front,
        tables: TableStates,
        runs: Runs,
        drop: Callable[[str], None],
    ) -> None:
        """`drop` gives up the pages that were asked for, with a reason."""
        self._front = front
        self._tables = tables
        self._runs = runs
        self._drop = drop

    def take_up(self, requests: Sequence[Request]) -> bool:
        """Takes up those that are new. True: all must be opened again before anything else."""
        known = self._runs.requests
        outdated = False
        for request in requests:
            if request.id in known:
                continue
            with TableWork(request.resource):
                if self._take(request):
                    outdated = True
        return outdated

    def _take(self, request: Request) -> bool:
        table = self._tables[request.resource]
        if request.kind == "suspend":
            return self._suspend(request, table)
        if request.kind == "resume":
            return self._resume(request, table)
        if request.kind == "republish" and self._republish(request, table):
            return True

        resource = self._runs.resource(table.name)
        if resource is None or (table.copying and request.kind in ("verify", "retry")):
            state = "copying" if table.copying else "suspended"
            self._answer(request, "failed", {"state": state})
        elif request.kind == "verify":
            self._answer(request, "running")
            run = Run(resource, FOLLOWED, repair=False, request=request)
            self._runs.verify(run)
        else:
            self._repair(request, table)
        return False

    def _suspend(self, request: Request, table: TableState) -> bool:
        opened = self._runs.resource(table.name) is not None
        if opened:
            code = str(request.values["code"])
            values = dict(request.values["values"])
            error = stored(code, values)
            assert isinstance(error, Suspend), "an error of one table"
            log.error(
                "table_suspended resource=%s code=%s error=%s",
                table.name,
                error.code,
                error.text("en"),
            )
            table.suspend(error)
        self._answer(request, "done")
        return opened

    def _resume(self, request: Request, table: TableState) -> bool:
        opened = self._runs.resource(table.name) is not None
        if opened and not table.copying:
            self._answer(request, "failed", {"state": "live"})
            return False
        copy = Copy(allow_deletes=request.allow_deletes)
        table.start_copy(copy)
        self._answer(request, "done")
        return True

    def _republish(self, request: Request, table: TableState) -> bool:
        """Begins a new generation, unless the table is in one: then the copy answers."""
        under_way = table.copy is not None and table.copy.republish
        if request.running or under_way:
            return False
        copy = Copy(allow_deletes=request.allow_deletes, republish=True)
        table.begin_generation(copy)
        self._answer(request, "running")
        return True

    def _repair(self, request: Request, table: TableState) -> None:
        """Makes the copy of the table answer, one that looks at all the request is about."""
        copy = table.copy
        every_row = request.kind == "reconcile"
        if copy is None or (every_row and not copy.whole):
            self._start(request, table)
        self._answer(request, "running")
        self._runs.answer_with_copy(table.name, request)

    def _start(self, request: Request, table: TableState) -> None:
        """Sends a table through the phases that was live, or had only some of its keys read."""
        run = self._runs.repairing(table.name)
        if run is not None:
            self._drop("every row is compared instead")
            self._runs.end(run)

        retry = request.kind == "retry"
        copy = FOLLOWED._replace(
            phase=WITHHELD if retry else PAGES,
            allow_deletes=request.allow_deletes,
            whole=not retry,
        )
        table.start_copy(copy)

    def _answer(
        self,
        request: Request,
        state: str,
        report: Mapping[str, str] = {},
    ) -> None:
        self._front.answer(request.id, state, report)
