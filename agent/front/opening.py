"""Opens the configured front end for its writer, or connections for a reader.

Only the module of its database is loaded.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from agent.config import FrontSettings
from agent.errors import FrontDamaged, FrontUnreachable, NotInitialised
from agent.files import is_there, refused
from agent.front.store import SqlFront
from agent.messages import phrase, system_reason


def _password(settings: FrontSettings) -> Callable[[], str] | None:
    """Returns what reads the password at each connection.

    Who changes it at the server and in its file need not restart the agent.
    """
    secret = settings.password
    return None if secret is None else lambda: secret.read("front.password")


def open_front(settings: FrontSettings, agent: str) -> SqlFront:
    """Returns the front end of an agent for writing; nothing is connected yet.

    A SQLite file has its folder by then.

    Raises FileRefused, FrontUnreachable (the folder cannot be made), FrontUnfit.
    """
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        if found := refused(file):
            raise found
        try:
            file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            reason = phrase("{path}: {reason}", path=file.parent, reason=system_reason(error))
            raise FrontUnreachable(reason=reason) from None
    return front_of(settings, agent)


def front_of(settings: FrontSettings, agent: str) -> SqlFront:
    """Returns the same with nothing made yet either: enough for the words of its database.

    Raises FrontUnfit.
    """
    wait = settings.lock_wait_seconds
    match make_url(settings.url).get_backend_name():
        case "sqlite":
            from agent.front.sqlite.front import SqliteFront

            return SqliteFront(settings.url, wait, agent)
        case "postgresql":
            from agent.front.postgres.front import PostgresFront

            return PostgresFront(settings.url, _password(settings), wait, agent)
        case _:
            from agent.front.mariadb.front import MariaDbFront

            return MariaDbFront(settings.url, _password(settings), wait, agent, settings.types)


def reading_engine(settings: FrontSettings) -> Engine:
    """Returns connections for a reader beside the writer.

    Raises FileRefused, NotInitialised (there is no such SQLite file), FrontDamaged, FrontUnfit.
    """
    url, wait = make_url(settings.url), settings.lock_wait_seconds
    match url.get_backend_name():
        case "sqlite":
            from agent.front.sqlite.file import noted_damage
            from agent.front.sqlite.session import sqlite_engine

            path = Path(url.database or "")
            if not is_there(path):
                missing = phrase(
                    "the state in the front end ({database} does not exist)", database=path
                )
                raise refused(path) or NotInitialised(what=missing)
            if noted := noted_damage(path):
                raise FrontDamaged(reason=noted)
            return sqlite_engine(settings.url, wait).execution_options(reader=True)
        case "postgresql":
            from agent.front.postgres.session import postgres_engine

            return postgres_engine(url, _password(settings), wait, pooled=True)
        case _:
            from agent.front.mariadb.session import mariadb_engine

            return mariadb_engine(url, _password(settings), wait, pooled=True)
