"""Tests that every name in a document or comment exists.

That is files, modules, and attributes of the agent's classes.
"""

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CODE = sorted((ROOT / "agent").rglob("*.py"))
PAGES = [
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "tests")
    for path in (folder.rglob("*.md") if folder.name == "docs" else folder.glob("*.md"))
]
PLACES = [*CODE, *sorted(PAGES)]
_FILE = re.compile(r"(?<![\w./<>*-])([\w][\w./-]*\.(?:py|md))\b")
_MODULE = re.compile(r"(?<![\w./-])(agent(?:\.[a-zA-Z_]\w*)+)(?![\w/])")
_MEMBER = re.compile(r"`([A-Z]\w+)\.([a-z_]\w*)(?:\(\))?`")
# Names of files that a reader makes, or that belong to a tool or to somebody else's documents.
_OTHERS = {"conftest.py"}
# What follows "agent." in the names of files.
_ENDINGS = {"toml", "log", "example", "schema", "fish", "service", "timer"}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The line number and text of each comment and docstring, or of each line of a document."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(text.splitlines(), 1)
        return

    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            documented = ast.get_docstring(node)
            if documented:
                yield getattr(node, "lineno", 1), documented


def classes() -> dict[str, set[str]]:
    """Returns the members that each class of the agent names, by the name of the class."""
    found: dict[str, set[str]] = {}
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                members = found.setdefault(node.name, set())
                members.update(re.findall(r"\b\w+\b", ast.unparse(node)))
    return found


FILES = {path.name for path in ROOT.rglob("*") if ".venv" not in path.parts}
CLASSES = classes()


def missing(path: Path) -> Iterator[str]:
    """Yields the names in a file that lead nowhere."""
    for line, text in texts(path):
        place = f"{path.relative_to(ROOT)}:{line}"

        for name in _FILE.findall(text):
            near = (ROOT / name, path.parent / name, ROOT / "agent" / name, ROOT / "docs" / name)
            known = any(candidate.exists() for candidate in near)
            alone = "/" not in name and name in FILES | _OTHERS
            if not known and not alone and "://" not in text:
                yield f"{place}: the file {name}"

        for name in _MODULE.findall(text):
            if not resolves(name):
                yield f"{place}: {name}"

        for name, member in _MEMBER.findall(text):
            if name in CLASSES and member not in CLASSES[name]:
                yield f"{place}: {name}.{member}"


def resolves(name: str) -> bool:
    """Tells whether a dotted name is a module of the agent, or something in one."""
    parts = name.split(".")
    if parts[1] in _ENDINGS:
        return True

    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_every_name_exists() -> None:
    """In comments, docstrings and documents."""
    assert [name for path in PLACES for name in missing(path)] == []
