"""PostgreSQL's own terms stay with its source, its front end and its settings.

The core has terms of its own: position, transaction, stream. Texts for users may name any.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agent.values import column_types

ROOT = Path(__file__).parent.parent.parent
TERMS = {"lsn", "xid", "slot", "publication", "psycopg"}

# Where PostgreSQL is at home, the codes and errors that users know, and MySQL, whose log has an XID
# and numbers of its own
HOME = (
    "agent/config/postgres.py",
    "agent/connectors/dialects/",
    "agent/connectors/mysql/",
    "agent/connectors/postgres/",
    "agent/errors/",
    "agent/front/first_version.py",
    "agent/front/postgres/",
    "agent/values/",
)

# Columns of stored tables, which keep their names; the code calls them otherwise
STORED = {"agent/front/schema.py": {"commit_xid", "xids"}}

# The numbers by which PostgreSQL knows its types; agent/values has a name for each
OIDS = {value for value in vars(column_types).values() if isinstance(value, int)}


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


def is_oid(node: ast.AST | None) -> bool:
    """Whether this is the number of a type, written as a number."""
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value in OIDS


def is_of_oids(node: ast.AST) -> bool:
    """Whether this has the word oid in its name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return "oid" in words(name)
    return False


def type_numbers(text: str) -> set[str]:
    """The types in a module's text that are named as PostgreSQL's catalogue or its headers do."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        listed: Sequence[ast.AST | None] = ()
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                if re.fullmatch(r"[A-Z0-9_]+OID", name):
                    found.add(name)
            case ast.Compare(left=left, comparators=others):
                sides = (left, *others)
                if any(map(is_of_oids, sides)) and any(map(is_oid, sides)):
                    found.add(ast.unparse(node))
            case ast.keyword(arg=str(name), value=value):
                if "oid" in words(name) and is_oid(value):
                    found.add(ast.unparse(node))
            case ast.Dict(keys=keys):
                listed = keys
            case ast.Set(elts=keys) | ast.Tuple(elts=keys) | ast.List(elts=keys):
                listed = keys
        if len(listed) > 1 and all(map(is_oid, listed)):
            found.add(ast.unparse(node))
    return found


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from x import INT4OID", {"INT4OID"}),
        ("column.type_oid == 23", {"column.type_oid == 23"}),
        ("Column(type_oid=1700)", {"type_oid=1700"}),
        ("{16: bool, 23: int}", {"{16: bool, 23: int}"}),
        ("kinds = (700, 701)", {"(700, 701)"}),
        ("column.type_oid == types.INT4", set()),
        ("{types.OID: int, types.BOOL: bool}", set()),
        ("sizes = (16, 1000)", set()),
    ],
)
def test_types_are_told_from_other_numbers(text: str, found: set[str]) -> None:
    assert type_numbers(text) == found


def test_the_core_has_none_of_them() -> None:
    found = {}
    for path in sorted((ROOT / "agent").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        terms = (foreign(text) | type_numbers(text)) - STORED.get(place, set())
        if terms and not place.startswith(HOME):
            found[place] = sorted(terms)
    assert found == {}
