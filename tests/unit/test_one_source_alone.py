"""PostgreSQL's own terms stay with its source, its front end and its settings.

The core has terms of its own: position, transaction, stream. Texts for users may name any.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TERMS = {"lsn", "xid", "slot", "publication", "psycopg"}

# Where PostgreSQL is at home, and the codes and errors that users know
HOME = (
    "agent/config/postgres.py",
    "agent/connectors/postgres/",
    "agent/errors/",
    "agent/front/postgres/",
    "agent/values/",
)

# Which still have some; to be emptied
REMAINING = (
    "agent/front/",
    "agent/preflight/initialise.py",
    "agent/preflight/stored_source.py",
)


def words(name: str) -> set[str]:
    """Returns the words of a name, in the singular and in lower case."""
    if name.startswith("__"):
        return set()
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return {part.lower().removesuffix("s") for part in parts}


def names(tree: ast.AST) -> Iterator[str]:
    """Yields every name in a module; texts that are one name, such as keys, among them."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.alias(name=name):
                yield name
            case ast.keyword(arg=str(name)) | ast.ImportFrom(module=str(name)):
                yield name
            case ast.Constant(value=str(name)) if name.isidentifier():
                yield name


def foreign(text: str) -> set[str]:
    """Returns the names in a module's text that are PostgreSQL's."""
    return {name for name in names(ast.parse(text)) if words(name) & TERMS}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("row['commit_xid']", {"commit_xid"}),
        ("from psycopg import sql", {"psycopg"}),
        ("def f(SlotBusy, lsns): ...", {"SlotBusy", "lsns"}),
        ("class A:\n    __slots__ = ()", set()),
        ("mark('replication slot {name} is gone')", set()),
    ],
)
def test_names_are_told_from_texts(text: str, found: set[str]) -> None:
    assert foreign(text) == found


def test_the_core_has_none_of_them() -> None:
    found = {}
    for path in sorted((ROOT / "agent").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        terms = foreign(path.read_text(encoding="utf-8"))
        if terms and not place.startswith(HOME + REMAINING):
            found[place] = sorted(terms)
    assert found == {}
