"""Compares names as front-end databases do.

Two that one database takes for the same are the same table or column.
"""

from collections.abc import Callable

OWN = "sync_agent_"  # how the names of the agent's own tables begin

_ASCII = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_CUT = 63  # bytes of a name in PostgreSQL


def kind_of(url: str) -> str:
    """The database that a SQLAlchemy URL names: sqlite, postgresql, mariadb, mysql."""
    return url.partition(":")[0].partition("+")[0]


def default_schema(url: str) -> str:
    """The schema of a table without one; as far as the URL tells."""
    match kind_of(url):
        case "sqlite":
            return "main"
        case "postgresql":
            return "public"
    return url.partition("://")[2].partition("/")[2].partition("?")[0]


def column_fold(kind: str) -> Callable[[str], str]:
    """What names of columns have in common that are one for the database."""
    return {"sqlite": _without_ascii_case, "postgresql": _cut}.get(kind, _without_case)


def table_fold(kind: str) -> Callable[[str], str]:
    """Returns the same for names of tables.

    Whether MariaDB and MySQL look at their case is a setting of the server, which `check` asks.
    """
    return {"sqlite": _without_ascii_case, "postgresql": _cut}.get(kind, _without_blanks)


def _without_ascii_case(name: str) -> str:
    return name.translate(_ASCII)


def _cut(name: str) -> str:
    return name.encode()[:_CUT].decode(errors="ignore")


def _without_blanks(name: str) -> str:
    return name.rstrip(" \t\n\v\f\r")


def _without_case(name: str) -> str:
    """Letter by letter, as utf8_general_ci folds case: the capital I with a dot is an i."""
    return _without_blanks("".join(letter.lower()[:1] for letter in name))
