"""Tests the log's lines: one event each, readable or JSON, repeats kept back.

Every call in the code has the form that this rests on.
"""

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.service.logs import JsonLines, Repeats, TextLines

ROOT = Path(__file__).parents[2]
FORM = re.compile(r"[a-z][a-z_]*( [a-z_]+=%[sd])*")
LOGGERS = {"log", "_log"}
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


def record(
    message: str, *args: object, name: str = "agent.capture.loop", at: float = 0.0
) -> logging.LogRecord:
    """Returns a line as the code logs it, at a time."""
    made = logging.LogRecord(name, logging.INFO, "/code/pipeline.py", 7, message, args, None)
    made.created, made.msecs = at, at % 1 * 1000
    return made


def test_a_readable_line() -> None:
    line = TextLines().format(
        record(
            "streaming position=%s epoch=%d reason=%s",
            "0/16B3748",
            3,
            'it is "new"\nand long',
            at=1795486504.8635,
        )
    )
    assert (
        line == "2026-11-24T02:15:04.863Z INFO streaming position=0/16B3748 epoch=3 "
        'reason="it is \\"new\\"\\nand long"'
    )


def test_a_json_line() -> None:
    line = JsonLines().format(
        record("streaming position=%s epoch=%d", "0/1", 3, at=1795486504.8635)
    )
    assert json.loads(line) == {
        "time": "2026-11-24T02:15:04.863Z",
        "level": "info",
        "event": "streaming",
        "position": "0/1",
        "epoch": 3,
    }


@pytest.mark.parametrize("form", [TextLines(), JsonLines()], ids=["text", "json"])
def test_a_library_s_text_stays_out(form: logging.Formatter) -> None:
    """Nobody knows what it holds."""
    line = form.format(record("Failing row contains (%s)", "a-name", name="psycopg.pool"))
    assert "a-name" not in line
    assert "psycopg.pool" in line


def test_repeats_are_kept_back_and_counted() -> None:
    """Ten lines a minute of an event and its table; another table's and another event's pass."""
    repeats, seconds = Repeats(), iter(range(1000))
    passed = [
        repeats.filter(record("page_dropped resource=%s rows=%d", "orders", n, at=next(seconds)))
        for n in range(30)
    ]
    assert passed == [True] * 10 + [False] * 20
    assert repeats.filter(record("page_dropped resource=%s rows=%d", "people", 1, at=30))
    assert repeats.filter(record("page_delayed resource=%s", "orders", at=30))
    later = record("page_dropped resource=%s rows=%d", "orders", 7, at=61)
    assert repeats.filter(later)
    assert TextLines().format(later).endswith(" page_dropped resource=orders rows=7 kept_back=20")


def calls() -> Iterator[tuple[str, str, int]]:
    """Yields where the code logs, in which form, with how many values."""
    for path in (ROOT / "agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
            ):
                continue
            if node.func.value.id in LOGGERS and node.func.attr in METHODS | {"log"}:
                message, *values = node.args[node.func.attr == "log" :]
                assert isinstance(message, ast.Constant), f"{path}:{node.lineno}"
                yield f"{path.name}:{node.lineno}", str(message.value), len(values)


def test_every_line_names_its_event_and_its_fields() -> None:
    found = list(calls())
    assert len(found) > 15
    for place, message, values in found:
        assert FORM.fullmatch(message), place
        assert message.count("%") == values, place


@pytest.mark.parametrize("runbook", ["OPERATIONS.md", "OPERATIONS.zh-CN.md"])
def test_every_event_is_explained(runbook: str) -> None:
    text = (ROOT / "docs" / runbook).read_text(encoding="utf-8")
    assert {
        event
        for event in ("library", *(message.split()[0] for _, message, _ in calls()))
        if f"`{event}`" not in text
    } == set()
