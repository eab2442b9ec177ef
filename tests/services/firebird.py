"""Firebird 5 for the tests: databases in files, opened by the engine within each process.

No server runs: the engine comes as a Python package, and several processes have one file open at
once. One that is killed takes its own transactions with it, and nothing else.
"""

import functools
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from firebird.driver import connect, core, create_database
from firebird.driver import driver_config as driver
from sqlalchemy import URL

from tests.services.processes import Workspace

# Else the first process to open a file has it alone
CONFIGURATION = "ServerMode = Classic\n"
LIBRARY = "libfbclient.so.2"
ADMINISTRATOR = "SYSDBA"


def _forgotten(connection: Any, statement: Any) -> None:
    """Takes a statement that is gone out of its connection's list, where it is there.

    The driver's own method now and then meets one that is not, after conflicts of several writers.
    Nobody can catch what it raises then, and pytest fails whatever test runs at that moment.
    """
    with suppress(ValueError):
        connection._statements.remove(statement)


core.Connection._Connection__stmt_deleted = _forgotten


@functools.cache
def engine() -> Path:
    """Returns the library of an engine that lets several processes open one file.

    The environment names its folder and that of its locks: they are the same for each process that
    this one starts, or they would not see each other's changes.
    """
    inherited = os.environ.get("FIREBIRD")
    if inherited:
        return Path(inherited) / LIBRARY
    spec = find_spec("firebird.embedded")
    if spec is None or spec.origin is None:
        raise RuntimeError("the firebird-embedded package is not installed: run make venv")
    workspace = Workspace("firebird").path
    folder = workspace / "engine"
    shutil.copytree(Path(spec.origin).parent / "runtime", folder)
    (folder / "firebird.conf").write_text(CONFIGURATION)
    (workspace / "locks").mkdir()
    os.environ["FIREBIRD"] = str(folder)
    os.environ["FIREBIRD_LOCK"] = str(workspace / "locks")
    return folder / LIBRARY


@contextmanager
def firebird(folder: Path) -> Iterator[URL]:
    """Creates a database in a folder and yields the URL of its administrator."""
    url = firebird_url(folder / f"test_{uuid.uuid4().hex[:12]}.fdb")
    driver.fb_client_library.value = str(engine())
    create_database(url.database, user=ADMINISTRATOR, charset="UTF8").close()
    yield url
    with connected(url) as connection:
        connection.drop_database()


def firebird_url(file: Path, user: str = ADMINISTRATOR) -> URL:
    """Returns the URL of a database for a user.

    The engine asks for no password: the name alone decides what somebody may do.
    """
    query = {"charset": "UTF8", "fb_client_library": str(engine())}
    return URL.create("firebird+firebird", user, database=str(file), query=query)


@contextmanager
def connected(url: URL) -> Iterator[Any]:
    """Yields a connection of the tests' own; what it has not committed is rolled back."""
    driver.fb_client_library.value = str(engine())
    connection = connect(str(url.database), user=url.username, charset="UTF8")
    try:
        yield connection
    finally:
        if not connection.is_closed():
            connection.close()


def execute(url: URL, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements, each committed by itself, and returns the rows of the last one."""
    rows: list[tuple[Any, ...]] = []
    with connected(url) as connection:
        for statement in statements:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
            connection.commit()
    return rows
