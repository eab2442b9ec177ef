"""Tests an exception nobody foresaw.

In the work of one table it suspends that table; in what all share it ends the service.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from agent import BUILD
from agent.capture.reconciler import Reconciler
from agent.capture.requests import Requests
from agent.connectors.changes import Truncate
from agent.errors import AgentError
from agent.front.base import Request, Written
from agent.front.memory import MemoryFront
from agent.outbox.writer import Framing
from agent.resource import Resource, Target
from agent.values.rows import Key
from tests.pipeline.model import FULL, PLAIN, Bench, StopWhenIdle, transaction

SECRET = "a value of a row"
ONE = (
    PLAIN,
    "I",
    None,
    ("1", "new", "B", "x"),
)
OTHER = (
    FULL,
    "I",
    None,
    ("7", "new", "B", "x"),
)
LOG = [
    transaction(1, ONE, OTHER),
    transaction(
        2, (PLAIN, "U", None, ("1", "paid", "B", "x")), (FULL, "D", ("7", "new", "B", "x"), None)
    ),
]  # fmt: skip


# Compiled code does not look up the methods of its own classes
replaceable = pytest.mark.skipif(BUILD == "compiled", reason="a compiled method is not replaced")


def fails(of: Callable[..., object], table: str) -> Callable[..., Any]:
    """The function, which for one table meets what nobody foresaw."""

    def failing(self: Any, *arguments: Any, **named: Any) -> Any:
        about = [self, *arguments]
        names = {one.name for one in about if isinstance(one, Resource)}
        names |= {one.resource for one in about if isinstance(one, Target)}
        if table in names:
            raise KeyError(SECRET)
        return of(self, *arguments, **named)

    return failing


@pytest.mark.parametrize(
    ("where", "name"),
    [
        pytest.param(Resource, "row_json", marks=replaceable),  # an event
        pytest.param(Resource, "bind", marks=replaceable),
        (MemoryFront, "write"),
        (MemoryFront, "check"),
        (MemoryFront, "catalogue"),
    ],
)
def test_it_suspends_the_table_at_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: type, name: str
) -> None:
    """It happens in the middle of a source transaction, and the other table has all of it.

    Type and place are reported, but nothing of a row.
    """
    monkeypatch.setattr(where, name, fails(getattr(where, name), "plain"))
    bench = Bench().run(LOG)
    assert bench.durable.suspended == {"plain": "INTERNAL"}
    assert bench.told("full") == [("c", 7), ("d", 7)]
    assert (bench.told("plain"), bench.table("plain")) == ([], {})
    assert "KeyError at " in caplog.text
    assert ".py:" in caplog.text
    assert SECRET not in caplog.text


def test_a_truncate_is_work_of_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that it empties are read table by table."""
    monkeypatch.setattr(MemoryFront, "keys_after", fails(MemoryFront.keys_after, "plain"))
    emptied = transaction(3)
    emptied.insert(1, Truncate((PLAIN, FULL), 3))
    bench = Bench().run([*LOG, emptied])
    assert bench.durable.suspended == {"plain": "INTERNAL"}
    assert bench.told("full") == [("c", 7), ("d", 7)]


@pytest.mark.parametrize(
    ("owner", "step"), [(Reconciler, "_merge"), (Reconciler, "_begin"), (Requests, "_take")]
)
def test_a_copy_and_a_verify_are_work_of_their_table(
    monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    """Asking, reading and comparing."""
    bench = Bench().run(LOG)

    def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(owner, step, failing)
    bench.durable.requests["1"] = (
        Request("1", "verify", "plain", allow_deletes=False),
        "asked",
        {},
    )

    ends = time.monotonic() + 30

    class Once(StopWhenIdle):
        def suspend(self, error: Any) -> None:
            """See Front.suspend."""
            super().suspend(error)
            self.bench.control.stop()

        def _stop_at_end(self) -> None:
            if time.monotonic() > ends:
                self.bench.control.stop()

    bench.source.log.append(transaction(4, OTHER))
    bench.capture(Once(bench))
    assert bench.durable.suspended == {"plain": "INTERNAL"}


@contextmanager
def ended() -> Iterator[Bench]:
    """A capture that ends with an error."""
    bench = Bench()
    try:
        yield bench
    finally:
        bench.control.close()


@replaceable
def test_what_all_tables_share_halts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters and outbox, the position: nobody may go on from there."""

    def failing(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    for where, name in ((Framing, "commit"), (MemoryFront, "store"), (MemoryFront, "commit")):
        with monkeypatch.context() as patched:
            patched.setattr(where, name, failing)
            with pytest.raises(KeyError), ended() as bench:
                bench.run(LOG)


def test_errors_of_the_tree_and_signals_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt is no fault of a table, and an error with a code is what it says."""
    for met in (KeyboardInterrupt, OSError, AgentError(detail="known")):

        def write(
            front: MemoryFront,
            target: Target,
            rows: Mapping[Key, Written],
            batch: int,
            most: int = 0,
            met: Any = met,
        ) -> dict[Key, str]:
            raise met

        monkeypatch.setattr(MemoryFront, "write", write)
        with pytest.raises((KeyboardInterrupt, OSError, AgentError)), ended() as bench:
            bench.run(LOG)
