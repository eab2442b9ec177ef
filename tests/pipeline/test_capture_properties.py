"""Tests random transactions with crashes at random commits.

Front end, replayed topic and source are equal, and each event comes once.
"""

from unittest.mock import patch

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture import applier
from agent.connectors.changes import Message, Relation
from agent.values.rows import UNCHANGED, Row
from tests.pipeline.crashing import CrashingFront
from tests.pipeline.model import RELATIONS, Bench, StopWhenIdle, transaction

STEPS = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(RELATIONS)),
            st.integers(1, 4),
            st.integers(1, 4),
            st.sampled_from(["open", "draft"]),
            st.booleans(),
        ),
        min_size=1,
    ),
    max_size=12,
)


def history(
    steps: list[list[tuple[str, int, int, str, bool]]],
) -> tuple[list[list[Message]], dict[str, dict[str, tuple[str | None, ...]]]]:
    """A log of valid transactions from random steps, and the source's tables after it."""
    tables: dict[str, dict[str, tuple[str | None, ...]]] = {name: {} for name in RELATIONS}
    log: list[list[Message]] = []
    for number, step in enumerate(steps, 1):
        changes: list[tuple[Relation, str, Row | None, Row | None]] = []
        for name, old, new, state, partial in step:
            rows, table = tables[name], RELATIONS[name]
            if name.startswith("deferred") and partial and old != new:
                changes += rotated(table, rows, old, new)
                continue
            before: Row | None = None
            after: tuple[str, str, str | None, str] | None
            if str(old) not in rows:
                op, after = "I", (str(old), state, f"v{number}", "x")
            elif old == new and partial:
                op, after, before = (
                    "D",
                    None,
                    (str(old), *rows[str(old)], "x")
                    if table.identity == "f"
                    else (str(old), None, None, None),
                )
            else:
                target = new if str(new) not in rows else old
                op, after = "U", (str(target), state, rows[str(old)][1], "x")
                if table.identity == "f":
                    before = (str(old), *rows[str(old)], "x")
                elif target != old:
                    before = (str(old), None, None, None)
            rows.pop(str(old), None)
            sent: Row | None = after
            if after is not None:
                rows[after[0]] = after[1:3]
                if op == "U" and partial and not name.endswith("filtered"):
                    sent = (*after[:2], UNCHANGED, after[3])
            changes.append((table, op, before, sent))
        log.append(transaction(number, *changes))
    return log, tables


def rotated(
    table: Relation, rows: dict[str, tuple[str | None, ...]], first: int, by: int
) -> list[tuple[Relation, str, Row | None, Row | None]]:
    """Returns one statement that moves every row on by so many keys, in any order.

    Two rows share a key until its end.
    """
    keys = sorted(rows)
    keys = keys[first % len(keys) :] + keys[: first % len(keys)] if keys else []
    moved = {key: str((int(key) + by - 1) % 4 + 1) for key in keys}
    changes: list[tuple[Relation, str, Row | None, Row | None]] = [
        (table, "U", (key, *rows[key], "x"), (moved[key], *rows[key], "x")) for key in keys
    ]
    after = {moved[key]: rows[key] for key in keys}
    rows.clear()
    rows.update(after)
    return changes


def shared(name: str, rows: dict[str, tuple[str | None, ...]]) -> dict[str, tuple[str | None, ...]]:
    """What of a source table the resource shares."""
    return {
        key: row for key, row in rows.items() if not name.endswith("filtered") or row[0] == "open"
    }


def replay(bench: Bench, name: str) -> dict[str, tuple[str | None, ...]]:
    """A subscriber's table."""
    rows: dict[str, tuple[str | None, ...]] = {}
    for event in bench.events(name):
        after = orjson.loads(event.value)["after"]
        key = str(orjson.loads(event.key)["id"])
        if after is None:
            del rows[key]
        else:
            rows[key] = (after["state"], after["big"])
    return rows


class Crashing(CrashingFront, StopWhenIdle):
    """Is a front end that crashes, and ends the capture once the log is worked off."""

    def __init__(self, bench: Bench, crashes: dict[int, bool]) -> None:
        super().__init__(bench)
        self.crashes = crashes


@settings(max_examples=200)
@given(
    steps=STEPS,
    crashes=st.dictionaries(st.integers(1, 6), st.booleans()),
    rows=st.integers(1, 3),
    flush=st.sampled_from([1, 2, applier.FLUSH_MESSAGES]),
)
def test_equal_after_any_history(
    steps: list[list[tuple[str, int, int, str, bool]]],
    crashes: dict[int, bool],
    rows: int,
    flush: int,
) -> None:
    """After any history and any crashes front end and subscriber hold what the source holds.

    Every event comes once, with numbers without a gap.
    """
    log, tables = history(steps)
    bench = Bench()
    bench.settings = bench.settings.model_copy(
        update={"front": bench.settings.front.model_copy(update={"max_rows": rows})}
    )
    bench.source.log.extend(log)
    front = Crashing(bench, crashes)
    bench.control.retry = lambda error: None  # type: ignore[method-assign]
    with patch.object(applier, "FLUSH_MESSAGES", flush):
        bench.capture(front)
    assert not any(bench.durable.shared_keys.values())
    for name in RELATIONS:
        assert bench.table(name) == shared(name, tables[name])
        assert replay(bench, name) == shared(name, tables[name])
        assert [e.seq for e in bench.events(name)] == list(range(1, len(bench.events(name)) + 1))
    events = sorted((e for name in RELATIONS for e in bench.events(name)), key=lambda e: e.number)
    assert [e.number for e in events] == list(range(1, len(events) + 1))
    assert len({(e.commit_position, e.ordinal) for e in events}) == len(events)
    assert bench.durable.suspended == {}
