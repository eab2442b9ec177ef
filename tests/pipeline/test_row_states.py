"""A source without a log: states of rows become events by comparison with the front end."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture import applier
from agent.capture import loop as pipeline
from agent.capture.loop import Capture
from agent.connectors.changes import Message, RowState
from agent.connectors.memory_states import MemoryStates
from agent.front.base import Copy
from agent.front.durable import empty_store
from agent.outbox.frames import OutboxEvent, frames
from agent.service.control import Control
from tests.pipeline import model
from tests.pipeline.crashing import CrashingFront
from tests.pipeline.model import catalogued

TABLES = ("plain", "filtered")
Rows = dict[tuple[str, ...], tuple[str | None, ...]]


class Edit(NamedTuple):
    """One step of the source's life: the row `key` of `table` gets a value, or is deleted."""

    table: str
    key: int
    state: str
    value: int
    delete: bool


class Scheduled(MemoryStates):
    """Edits some rows before each look; the capture ends when every change is in the front end."""

    def __init__(self, desk: "Desk", steps: Sequence[Sequence[Edit]], seed: int) -> None:
        super().__init__({("app", name): catalogued(name) for name in TABLES})
        self.desk = desk
        self.steps = list(steps)
        self.rnd = random.Random(seed)
        self.reads = 0

    def edit(self, edits: Sequence[Edit]) -> None:
        """The source's own life."""
        for edit in edits:
            name = ("app", edit.table)
            if edit.delete:
                self.delete(name, (str(edit.key),))
            else:
                value = f"v{edit.value}"
                columns = ("id", "state", "big", "hidden")
                values = (str(edit.key), edit.state, value, "x")
                self.put(name, dict(zip(columns, values, strict=True)))

    def arranged(self, states: Sequence[RowState]) -> Sequence[RowState]:
        """Any order; some come twice."""
        found = [*states, *self.rnd.sample(states, self.rnd.randint(0, len(states)))]
        self.rnd.shuffle(found)
        return found

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        self.reads += 1
        assert self.reads < 2_000, "it comes to an end"
        if self.steps:
            self.edit(self.steps.pop(0))
        yield from super().read(timeout)
        states = self.desk.durable.stored.resources.values()
        if not self.steps and self.idle and all(state.state == "live" for state in states):
            self.desk.control.stop()


class Crashing(CrashingFront):
    """Is a front end that crashes, with keys in the order that the test asks for."""

    def __init__(self, desk: "Desk", crashes: dict[int, bool]) -> None:
        super().__init__(desk.durable)
        self.ordered = desk.ordered
        self.crashes = crashes


class Desk:
    """A source of states, a front end, and the capture between them."""

    def __init__(
        self, steps: Sequence[Sequence[Edit]] = (), seed: int = 0, **kafka: object
    ) -> None:
        base = model.settings(**kafka)
        only = [resource for resource in base.resource if resource.name in TABLES]
        self.settings = base.model_copy(update={"resource": only})
        topics = {name: f"p.{name}" for name in TABLES}
        self.durable = empty_store(topics, list(TABLES), identity=model.IDENTITY)
        self.ordered = False
        self.source = Scheduled(self, steps, seed)
        self.control: Control

    def copying(self) -> None:
        """The tables are copied first."""
        states = self.durable.stored.resources
        changed = {name: state._replace(state="copying") for name, state in states.items()}
        self.durable.stored = self.durable.stored._replace(resources=changed)
        self.durable.copies.update({name: Copy() for name in TABLES})

    def run(self, crashes: dict[int, bool] | None = None) -> "Desk":
        """Until every change is in the front end."""
        self.control = Control.alone()
        self.control.retry = lambda error: None  # type: ignore[method-assign]
        with patch.object(pipeline, "_IDLE", 0.0):
            Capture(self.settings, self.source, Crashing(self, crashes or {}), self.control).run()
        self.control.close()
        assert self.durable.suspended == {}
        return self

    def events(self, name: str) -> list[OutboxEvent]:
        """The events of a topic."""
        found = []
        for batch in self.durable.outbox:
            for frame in frames(batch):
                if isinstance(frame, OutboxEvent) and frame.topic == f"p.{name}":
                    found.append(frame)
        return found

    def told(self, name: str) -> list[tuple[str, int]]:
        """Operation and key of each event."""
        return [
            (orjson.loads(event.value)["op"], orjson.loads(event.key)["id"])
            for event in self.events(name)
        ]

    def shared(self, name: str) -> Rows:
        """What the front end must hold."""
        rows: Rows = {}
        for key, row in self.source.held["app", name].items():
            if name != "filtered" or row["state"] == "open":
                rows[key] = (row["id"], row["state"], row["big"])
        return rows

    def check(self) -> None:
        """Asserts that front end and subscriber hold what the source holds.

        No event tells what was known.
        """
        for name in TABLES:
            assert self.durable.tables[name] == self.shared(name)
            rows: Rows = {}
            for event in self.events(name):
                value = orjson.loads(event.value)
                key, after = (str(orjson.loads(event.key)["id"]),), value["after"]
                assert (value["op"] in ("c", "r")) == (key not in rows)
                if after is None:
                    del rows[key]
                else:
                    row = (str(after["id"]), after["state"], after["big"])
                    assert rows.get(key) != row
                    rows[key] = row
            assert rows == self.shared(name)
            numbers = [event.seq for event in self.events(name)]
            assert numbers == list(range(1, len(numbers) + 1))


EDITS = st.lists(
    st.lists(
        st.builds(
            Edit,
            st.sampled_from(TABLES),
            st.integers(1, 4),
            st.sampled_from(["open", "draft"]),
            st.integers(1, 2),
            st.booleans(),
        ),
        max_size=5,
    ),
    max_size=8,
)
CRASHES = st.dictionaries(st.integers(1, 8), st.booleans(), max_size=4)
FLUSH = st.sampled_from([1, 2, applier.FLUSH_MESSAGES])


def one(key: int, value: int, *, delete: bool = False) -> Edit:
    """An edit of the plain table."""
    return Edit("plain", key, "open", value, delete)


def test_a_state_is_a_create_an_update_a_delete_or_nothing() -> None:
    """By comparison with the row in the front end."""
    steps = [[one(1, 1)], [one(1, 2)], [one(1, 2)], [one(1, 0, delete=True)]]
    desk = Desk(steps).run()
    assert desk.told("plain") == [("c", 1), ("u", 1), ("d", 1)]
    desk.check()


def test_a_row_that_comes_and_goes_between_two_looks_is_none() -> None:
    """The look sees that there is no row, and the front end has none."""
    desk = Desk([[one(1, 1), one(1, 0, delete=True)]]).run()
    assert desk.told("plain") == []


def test_a_row_that_leaves_the_filter_is_deleted() -> None:
    """And created when it meets it again."""
    states = ["open", "draft", "draft", "open"]
    desk = Desk([[Edit("filtered", 1, state, 1, delete=False)] for state in states]).run()
    assert desk.told("filtered") == [("c", 1), ("d", 1), ("c", 1)]
    desk.check()


@pytest.mark.parametrize("before", ["log", "complete"])
def test_the_row_before_is_the_front_ends(before: str) -> None:
    """Where the configuration asks for it."""
    steps = [[one(1, 1)], [one(1, 2)], [one(1, 0, delete=True)]]
    desk = Desk(steps, before=before).run()
    found = [orjson.loads(event.value)["before"] for event in desk.events("plain")]
    row = {"id": 1, "state": "open", "big": "v1"}
    if before == "complete":
        assert found == [None, row, row | {"big": "v2"}]
    else:
        assert found == [None, None, {"id": 1}]


@settings(max_examples=150)
@given(steps=EDITS, crashes=CRASHES, flush=FLUSH, seed=st.integers(0, 999))
def test_equal_after_any_looks(
    steps: list[list[Edit]], crashes: dict[int, bool], flush: int, seed: int
) -> None:
    """In any order, states delivered twice, crashes before and after the commit."""
    with patch.object(applier, "FLUSH_MESSAGES", flush):
        Desk(steps, seed).run(crashes).check()


@settings(max_examples=75)
@given(steps=EDITS, seed=st.integers(0, 999))
def test_a_repeated_look_has_no_event(steps: list[list[Edit]], seed: int) -> None:
    """Every row is looked at again, with those that are no more."""
    desk = Desk(steps, seed).run()
    before = [desk.told(name) for name in TABLES]
    for name in TABLES:
        for key in range(1, 5):
            desk.source.note(("app", name), (str(key),))
    desk.run()
    assert [desk.told(name) for name in TABLES] == before


@settings(max_examples=150)
@given(
    rows=st.lists(st.builds(one, st.integers(1, 4), st.integers(1, 2))),
    steps=EDITS,
    crashes=CRASHES,
    flush=FLUSH,
    ordered=st.booleans(),
    seed=st.integers(0, 999),
)
def test_equal_after_looks_beside_a_copy(
    rows: list[Edit],
    steps: list[list[Edit]],
    crashes: dict[int, bool],
    flush: int,
    ordered: bool,
    seed: int,
) -> None:
    """Rows that were there before, read page by page while looks go on."""
    desk = Desk(steps, seed)
    desk.source.edit(rows)
    desk.copying()
    desk.ordered = ordered
    with patch.object(applier, "FLUSH_MESSAGES", flush):
        desk.run(crashes).check()
