"""Drives a source as the service does: what it delivers counts as stored at once."""

import os
import time
from collections.abc import Callable
from typing import Any

from agent.config import Settings
from agent.connectors.base import Ask, Page, Source
from agent.connectors.changes import Commit, RowState
from agent.connectors.database.session import ADMINISTRATOR_PASSWORD
from agent.connectors.position import position_text
from agent.connectors.resume import CommitMark, Resume
from agent.messages import mark, translate
from agent.selftest.report import Failed
from agent.selftest.scratch import ScratchTable
from agent.values.lines import row_of

PATIENCE = 30.0  # seconds within which a change has to be found
COLUMNS = ("id", "note")  # that are read of a table which is followed
_WAIT = 0.1


def resource_of(table: ScratchTable) -> dict[str, Any]:
    """Returns how a table is shared."""
    return {
        "name": "selftest",
        "table": table.configured,
        "target": "selftest",
        "columns": list(COLUMNS),
    }


def polled(
    url: str,
    table: ScratchTable,
    poll: dict[str, Any],
    encoding: str = "",
) -> Settings:
    """Returns the configuration that has one table polled."""
    source: dict[str, Any] = {"type": "polling", "url": url, "every": "1s", "encoding": encoding}
    if ADMINISTRATOR_PASSWORD in os.environ:
        source["password"] = {"env": ADMINISTRATOR_PASSWORD}
    return settings_of(source, resource_of(table) | {"poll": poll})


def settings_of(source: dict[str, Any], resource: dict[str, Any]) -> Settings:
    """Returns a configuration with one table, without anything to publish to."""
    return Settings.model_validate(
        {
            "name": "selftest",
            "allow_env_secrets": True,
            "source": source,
            "kafka": {"bootstrap_servers": ["localhost:9092"], "prefix": "selftest"},
            "resource": [resource],
        }
    )


def opened(source: Source) -> None:
    """Opens a source as after `init`, and lets it look once: what is there is not delivered."""
    source.open(Resume(position_text(1), CommitMark("", 0, 0), {}), lambda: None)
    _read(source, 0.0)


def await_state(source: Source, key: str, note: str | None) -> int:
    """Reads until a row has this note; None: until it is gone. Returns the states that came."""
    count = 0

    def came() -> bool:
        nonlocal count
        found = _read(source, _WAIT)
        count += len(found)
        return any(_is(state, key, note) for state in found)

    await_condition(came)
    return count


def await_condition(met: Callable[[], bool]) -> None:
    """Waits until a condition is met. Raises Failed."""
    until = time.monotonic() + PATIENCE
    while not met():
        if time.monotonic() > until:
            text = mark("it was not found within {seconds:.0f} s")
            raise Failed(translate(text, seconds=PATIENCE))


def settle(source: Source) -> None:
    """Lets the source do what follows once its rows are stored."""
    _read(source, _WAIT)


def compared(source: Source, table: ScratchTable, limit: int) -> list[tuple[str | None, ...]]:
    """Reads all rows of a table page by page, as a comparison does."""
    described = source.tables()[table.place]
    chosen = tuple(column for column in described.columns if column.name in COLUMNS)
    rows: list[tuple[str | None, ...]] = []
    while True:
        after = tuple(map(str, rows[-1][:1])) if rows else None
        ask = Ask("selftest", "selftest", described, chosen, (), "", after=after, limit=limit)
        page = _page(source, ask)
        rows += [row_of(line) for line in page.lines]
        if not page.more:
            return rows


def _page(source: Source, ask: Ask) -> Page:
    source.ask(ask)
    found: list[Page] = []

    def read() -> bool:
        _read(source, _WAIT)
        page = source.page()
        if page is not None:
            found.append(page)
        return page is not None

    await_condition(read)
    return found[0]


def _read(source: Source, timeout: float) -> list[RowState]:
    found = []
    source.housekeeping()
    for message in list(source.read(timeout)):
        if isinstance(message, RowState):
            found.append(message)
        elif isinstance(message, Commit):
            source.acknowledge(message.position)
    return found


def _is(state: RowState, key: str, note: str | None) -> bool:
    if state.key != (key,):
        return False
    return state.row is None if note is None else bool(state.row and note in state.row)
