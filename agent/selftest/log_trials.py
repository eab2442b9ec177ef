"""The trials of a trigger log."""

from collections.abc import Callable, Iterator

from sqlalchemy import make_url

from agent.config import ResourceSettings
from agent.connectors.trigger.databases.base import LoggedTable, TriggerLog
from agent.connectors.trigger.databases.opening import trigger_log_of
from agent.connectors.trigger.keys import logged
from agent.connectors.trigger.notes import NotesTable
from agent.connectors.trigger.source import Place, TriggerSource
from agent.connectors.trigger.statements import execute
from agent.messages import mark, translate
from agent.selftest.report import Failed
from agent.selftest.scratch import ROWS, Scratch, ScratchTable
from agent.selftest.sources import await_condition, await_state, opened, resource_of, settle


class LogTrials:
    """Makes a trigger log, has it followed, and takes it away."""

    def __init__(self, url: str, scratch: Scratch) -> None:
        self._backend = make_url(url).get_backend_name()
        self._scratch = scratch
        self._database = scratch.database
        self._table: ScratchTable | None = None
        self._noted: LoggedTable | None = None
        self._log: TriggerLog | None = None  # as long as something of it may be there

    def __iter__(self) -> Iterator[tuple[str, Callable[[], int]]]:
        """Yields title and trial; nothing for a database in which the agent makes no triggers."""
        log = trigger_log_of(self._backend, f"{self._scratch.prefix}log", self._scratch.schema)
        if log is None:
            return
        title = translate(mark("trigger log: made, followed and read empty"))
        yield title, lambda: self._followed(log)
        title = translate(mark("trigger log: removed"))
        yield title, self._removed

    def _followed(self, log: TriggerLog) -> int:
        """Makes a log, and has the source find an insert, an update and a delete."""
        table = self._scratch.filled("l")
        noted = logged(self._scratch.described(table))
        if noted is None:
            raise Failed(translate(mark("a trigger cannot note the key")))
        self._table, self._noted, self._log = table, noted, log
        self._execute([*log.create_log(), *log.create_triggers(noted)])

        resource = ResourceSettings.model_validate(resource_of(table))
        place = Place(table.place, resource)
        source = TriggerSource(self._database, log, [place], "selftest", interval=0.1)
        found = 0
        try:
            opened(source)
            for statement, key, note in (
                (f"INSERT INTO {table} (id, note) VALUES (8, 'new')", "8", "new"),
                (f"UPDATE {table} SET note = 'found' WHERE id = 2", "2", "found"),
                (f"UPDATE {table} SET id = 7 WHERE id = 3", "7", "row 3"),
                (f"DELETE FROM {table} WHERE id = 1", "1", None),
            ):
                self._scratch.run(statement)
                found += await_state(source, key, note)
            await_condition(lambda: self._empty(source, log))
        finally:
            source.close()
        return ROWS + 4 + found

    def _empty(self, source: TriggerSource, log: TriggerLog) -> bool:
        """Whether every note that was stored is deleted."""
        settle(source)
        connection = self._database.connect()
        try:
            with self._database.guarded():
                return NotesTable(log).backlog(connection, 1).notes == 0
        finally:
            connection.close()

    def _removed(self) -> int:
        """Takes the log away; the application goes on."""
        self.remove()
        if self._table is None:
            raise Failed(translate(mark("it was not made")))
        self._scratch.run(f"UPDATE {self._table} SET note = 'after' WHERE id = 4")
        return 1

    # ---- removal

    def remove(self) -> None:
        """Takes the trigger log away, where it is there. Raises the errors of the connection."""
        log = self._log
        if log is None:
            return
        connection = self._database.connect()
        try:
            with self._database.guarded():
                statements = log.removal(connection, self._tables)
        finally:
            connection.close()
        self._execute(statements)
        self._log = None

    @property
    def _tables(self) -> list[LoggedTable]:
        return [] if self._noted is None else [self._noted]

    @property
    def left(self) -> list[str]:
        """What takes away a log that may still be there: the notes go last."""
        log = self._log
        if log is None:
            return []
        drops: list[str] = []
        for table in self._tables:
            drops += log.drop_triggers(table)
        return [*drops, *log.drop_log()]

    def _execute(self, statements: list[str]) -> None:
        execute(self._database, statements, lambda _told: None)
