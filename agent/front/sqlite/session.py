"""Sessions at a front end in SQLite: WAL mode, commits on disk, writers in turn."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from agent.errors import FrontUnfit
from agent.front.sqlite import file as sqlite_file
from agent.messages import mark, phrase

# What a session must have. In UTF-16 keys have another order, without WAL readers stop the writer,
# without FULL a power cut loses commits.
_SETTINGS = {"encoding": "UTF-8", "journal_mode": "wal", "synchronous": 2}

_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {sqlite_file.LOG_LIMIT}",
    # Foreign keys are the affair of those who set this themselves: here none refuses or deletes a
    # row
    "PRAGMA foreign_keys = OFF",
    "PRAGMA recursive_triggers = OFF",
    "PRAGMA ignore_check_constraints = OFF",
)

# Seconds between looks whether it is our turn to write
_LOOK = 0.002


def sqlite_engine(url: str, lock_wait: float) -> Engine:
    """Makes an engine whose transactions take the write lock at once.

    Its sessions are in WAL mode, with every commit on disk. They are refused with FrontUnfit where
    the file does not take their settings, and with FrontDamaged where its log is not its own.
    """
    engine = create_engine(url, connect_args={"timeout": lock_wait, "check_same_thread": False})
    path = Path(make_url(url).database or "")
    turn = Path(f"{engine.url.database}.turn")

    @event.listens_for(engine, "do_connect")
    def connect(*_: object) -> None:
        sqlite_file.look_at_files(path)  # before SQLite joins them

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        _settle(connection, path)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        if connection.get_execution_options().get("reader"):
            connection.exec_driver_sql("BEGIN")
            return
        with _in_turn(turn, lock_wait / 2):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _settle(connection: Any, path: Path) -> None:
    """Gives a session its settings, and looks whether it has them. Raises FrontUnfit."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        text = mark("{path} cannot be brought into WAL mode, it stays in {mode}")
        raise FrontUnfit(reason=phrase(text, path=path, mode=mode))

    for pragma in _PRAGMAS:
        connection.execute(pragma)
    for name, wanted in _SETTINGS.items():
        (found,) = connection.execute(f"PRAGMA {name}").fetchone()
        if found != wanted:
            raise FrontUnfit(
                reason=phrase(
                    "PRAGMA {name} of its file is {found}, and must be {wanted}",
                    name=name,
                    found=found,
                    wanted=wanted,
                )
            )


@contextmanager
def _in_turn(path: Path, patience: float) -> Iterator[None]:
    """Lets one writer at a time wait for SQLite's write lock, for SQLite serves nobody in turn.

    Whoever commits and begins again at once would else find the lock free far more often than one
    that looks for it ten times a second. Without the turn a writer only waits as it would without
    this file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError:
        yield
        return

    try:
        deadline = time.monotonic() + patience
        while not _taken(descriptor) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
