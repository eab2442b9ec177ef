"""Stands for a source whose commits become visible late and in any order.

Its pages are read from what is visible: this is the hand-over's worst case.

The real capture loop, applier and reconciler run on it, on the front end in memory. Each `read` of
the loop is one step of a seeded schedule: commits, late visibility, pieces of the stream, pages,
crashes. There may be several tables: transactions change any of them, and their pages are read
together.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import orjson

from agent.capture import applier
from agent.capture import loop as pipeline
from agent.capture import reconciler as reconcile
from agent.capture.loop import Capture
from agent.connectors.base import Ask, Page
from agent.connectors.changes import Begin, Change, Commit, HighPosition, Message, Truncate
from agent.connectors.memory import MemorySource
from agent.connectors.position import position_number
from agent.connectors.postgres.snapshot import Snapshot
from agent.connectors.resume import Resume
from agent.connectors.table import SourceTable, passing
from agent.errors import SourceUnreachable
from agent.front.base import Copy, Request, Stored
from agent.front.durable import Durable, empty_store
from agent.front.memory import MemoryFront
from agent.outbox.frames import OutboxEvent, frames
from agent.service.control import Control
from agent.values.lines import line_of
from agent.values.rows import UNCHANGED, Row
from tests.pipeline.model import IDENTITY, RELATIONS, catalogued, settings

KEYS, PAGE, STEPS, ENDLESS = 8, 3, 60, 4000
Rows = dict[int, tuple[str, str]]  # id -> state, big
FrontRows = dict[tuple[str, ...], tuple[str | None, ...]]
# Old key, new key, new state and big
Effect = tuple[int | None, int | None, tuple[str, Any] | None]
Statement = list[Effect]  # each of another row, all at once
Done = tuple[str, Statement | None]  # what happened to a table; None: it was emptied
TABLE = "plain"
LOOK = 0.0001  # seconds between two looks at the clock


class NeverEnds(AssertionError):
    """The table does not become live."""


class Clock:
    """Stands for the module `time`.

    Each call moves it on by as much, so that a seed does the same on every machine.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        """Seconds since the run began."""
        self._now += LOOK
        return self._now

    def time_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self._now * 1_000_000_000)


class LateSource(MemorySource):
    """See Source. `rows` is what the source holds; `visible` what a new snapshot sees.

    `tables`: somebody asks for something about the first one.
    """

    def __init__(
        self, rnd: random.Random, control: Control, tables: Sequence[str], durable: Durable
    ) -> None:
        known = {}
        for table in tables:
            known["app", table] = catalogued(table, RELATIONS[table].identity)
        super().__init__(known)
        self.rnd, self.control, self.names, self.durable = rnd, control, tables, durable
        self.rows: dict[str, Rows] = {table: {} for table in tables}
        self.seen: list[bool] = []  # whether the transaction of that number is visible
        # Table and key, of transactions that are not visible yet: nobody else can change them
        self.locked: set[tuple[str, int]] = set()
        self.effects: list[list[Done]] = []  # by transaction
        self.rank = list(range(KEYS))
        rnd.shuffle(self.rank)
        self.ordered = False  # pages come in the order of numbers
        self.together = 0  # pages that were read in the snapshot of another one
        self.steps = 0
        self.number = 0
        self.kind = ""  # what somebody asks for at a step
        self.large = ""  # makes a row too large for an event
        self.lost: int | None = None  # a key whose row no page shows, though it is there
        self.ask_at = 0
        self._page: Page | None = None
        self._delivered: set[str] = set()
        self._rest: list[Message] = []  # of a transaction that was delivered in part

    # ---- the source's own life

    def commit(self) -> None:
        """One transaction of a few changes, or a TRUNCATE."""
        rnd = self.rnd
        table = self._any_table()
        free = self._free(table)
        if rnd.random() < 0.04 and len(free) == KEYS:
            self.rows[table] = {}
            self._log([Truncate((RELATIONS[table],), self._lsn())], [(table, None)])
        elif free:
            done: list[Done] = []
            messages: list[Message] = []
            for _ in range(rnd.choice((1, 1, 2, 3, 4))):
                statement = self._statement(table, free)
                for effect in statement:
                    messages += self._messages(table, effect)
                _apply(self.rows[table], statement)
                done.append((table, statement))
                table = self._any_table()
                free = self._free(table)
                if not free:
                    break
            self._log(messages, done)

    def _any_table(self) -> str:
        return self.names[0] if len(self.names) == 1 else self.rnd.choice(self.names)

    def _free(self, table: str) -> list[int]:
        return [key for key in range(KEYS) if (table, key) not in self.locked]

    def _statement(self, table: str, free: list[int]) -> Statement:
        if RELATIONS[table].identity == "f" and self.rnd.random() < 0.5:
            return self._shuffle(self.rows[table], free)
        return [self._effect(self.rows[table], free)]

    def _shuffle(self, rows: Rows, free: list[int]) -> Statement:
        """Lets rows exchange their keys, or pass them on; some are made, some deleted.

        Rows may share a key until the end of it.
        """
        rnd = self.rnd
        olds = [key if key in rows else None for key in rnd.sample(free, rnd.randint(1, len(free)))]
        moving = {key for key in olds if key is not None}
        news = [key for key in free if key in moving or key not in rows]
        rnd.shuffle(news)
        statement: Statement = []
        for old in olds:
            self.number += 1
            whole = (
                rnd.choice(("open", "open", "draft")),
                UNCHANGED
                if old is not None and rnd.random() < 0.3
                else f"v{rnd.choice((0, self.number))}",
            )
            new = news.pop() if news and rnd.random() < 0.85 else None
            if old is not None or new is not None:
                statement.append((old, new, None if new is None else whole))
        return statement

    def _effect(self, rows: Rows, free: list[int]) -> Effect:
        rnd = self.rnd
        old, new = rnd.choice(free), rnd.choice(free)
        self.number += 1
        state = rnd.choice(("open", "open", "draft"))
        whole = (state, f"v{self.number}{rnd.choice(('', '', self.large)) if self.large else ''}")
        part: tuple[str, Any] = (state, UNCHANGED) if rnd.random() < 0.6 else whole
        if old not in rows:
            return None, old, whole
        if new not in rows and rnd.random() < 0.4:
            return old, new, part
        return (old, None, None) if rnd.random() < 0.25 else (old, old, part)

    def _messages(self, table: str, effect: Effect) -> Iterator[Change]:
        """Yields what the log has of it.

        With whole rows a row may go to its new key by way of any other.
        """
        old, new, value = effect
        relation = RELATIONS[table]
        full = relation.identity == "f"
        before: Row | None = (
            None
            if old is None or (new is not None and old == new and not full)
            else (str(old), None, None, None)
        )
        if full and old is not None:
            before = (str(old), *self.rows[table][old], "x")
        after: Row | None = None if new is None or value is None else (str(new), *value, "x")
        if full and after is not None and self.rnd.random() < 0.2:
            detour = (str(self.rnd.randrange(KEYS)), *(after[1:] if before is None else before[1:]))
            yield Change(
                relation, "I" if before is None else "U", before, detour, True, self._lsn(), 100
            )
            before = detour
        op = "I" if before is None and old is None else "D" if new is None else "U"
        yield Change(relation, op, before, after, full and before is not None, self._lsn(), 100)

    def _lsn(self) -> int:
        return (len(self.log) + 1) * 1000

    def _log(self, messages: Sequence[Message], effects: list[Done]) -> None:
        number = len(self.log) + 1
        self.log.append(
            [
                Begin(number, number * 1000 + 900, number),
                *messages,
                Commit(number, number * 1000 + 999, number),
            ]
        )
        self.effects.append(effects)
        self.seen.append(False)
        self.locked |= touched(effects)

    def become_visible(self) -> None:
        """One more transaction, in any order."""
        hidden = [i for i, seen in enumerate(self.seen) if not seen]
        if hidden:
            self.seen[self.rnd.choice(hidden)] = True
            self.locked = set().union(
                *(
                    touched(effects)
                    for effects, seen in zip(self.effects, self.seen, strict=True)
                    if not seen
                )
            )

    def visible(self) -> dict[str, Rows]:
        """What a new snapshot sees."""
        rows: dict[str, Rows] = {table: {} for table in self.names}
        for effects, seen in zip(self.effects, self.seen, strict=True):
            for table, statement in effects if seen else ():
                if statement is None:
                    rows[table].clear()
                else:
                    _apply(rows[table], statement)
        return rows

    def _snapshot(self) -> Snapshot:
        hidden = frozenset(i + 1 for i, seen in enumerate(self.seen) if not seen)
        return Snapshot(len(self.seen) + 1, hidden, min(hidden, default=len(self.seen) + 1))

    # ---- what the agent asks

    def read(self, timeout: float) -> Iterator[Message]:
        """One step of the schedule."""
        self.steps += 1
        if self.steps == self.ask_at and self.kind:
            self.durable.requests["asked"] = (
                Request("asked", self.kind, self.names[0], False),
                "asked",
                {},
            )
        if self.steps > ENDLESS:
            raise NeverEnds
        x = self.rnd.random()
        if self.steps > STEPS:
            self.become_visible()
            self._attempt()
            yield from self._some(10)
            self._stop_when_done()
        elif x < 0.25:
            if not self._done:
                self.commit()
        elif x < 0.45:
            self.become_visible()
        elif x < 0.47:
            self._rest = []
            raise SourceUnreachable(address="memory", reason="crash")
        elif x < 0.8:
            yield from self._some(self.rnd.choice((1, 1, 2, 3)))
        else:
            self._attempt()

    def _some(self, count: int) -> Iterator[Message]:
        """The next messages of the stream; a transaction may be cut anywhere."""
        for _ in range(count):
            if not self._rest:
                if self._next >= len(self.log):
                    return
                self._rest = list(self.log[self._next])
                self._next += 1
            message = self._rest.pop(0)
            if isinstance(message, HighPosition):
                self._delivered.add(message.token)
            yield message

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        self._rest, self.asked, self._page = [], None, None
        super().open(resume, front_silent_since)

    def _attempt(self) -> None:
        """The page reader takes a snapshot; the pages are read if it serves."""
        ask = self.asked
        if ask is None or self._page is not None:
            return
        if not all(map(self._snapshot().serves, (ask, *ask.further))):
            return
        self._page = self._read_pages(ask)
        self.together += len(self._page.further)
        self._log([HighPosition(ask.token)], [])

    def _read(self, ask: Ask) -> Page:
        """Reads one page, or counts the rows; see MemorySource."""
        rows = self.visible()[ask.table.table]
        if ask.counted is not None:
            total = sum(
                all(passing(one)(row[("state", "big").index(one.column)]) for one in ask.counted)
                for row in rows.values()
            )
            return Page(ask.token, [], ask.limit, False, total, self._snapshot())
        rows.pop(-1 if self.lost is None else self.lost, None)
        order: Callable[[int], int] = (lambda key: key) if self.ordered else self.rank.__getitem__
        if ask.keys is not None:
            keys, more = [int(key[0]) for key in ask.keys if int(key[0]) in rows], False
        else:
            after = -1 if ask.after is None else order(int(ask.after[0]))
            keys = sorted((key for key in rows if order(key) > after), key=order)[
                : min(ask.limit, PAGE)
            ]
            more = len(keys) == min(ask.limit, PAGE)
        names = [column.name for column in ask.columns]
        lines = [
            line_of(
                [
                    {"id": str(key), "state": rows[key][0], "big": rows[key][1]}[name]
                    for name in names
                ]
            )
            for key in keys
        ]
        return Page(ask.token, lines, ask.limit, more)

    def ask(self, ask: Ask) -> None:
        """See Source.ask."""
        self.asked, self._page = ask, None

    def page(self) -> Page | None:
        """See Source.page."""
        return self._page

    def withdraw(self) -> None:
        """See Source.withdraw."""
        self.asked, self._page = None, None

    def barrier(self) -> str:
        """See Source.barrier: whatever is hidden now may be unknown to the stream."""
        return "1"

    def housekeeping(self) -> Snapshot | None:
        """See Source.housekeeping."""
        return self._snapshot() if self.rnd.random() < 0.2 else None

    def estimate(self, table: SourceTable) -> int:
        """See Source.estimate."""
        return len(self.rows[table.table])

    def _stop_when_done(self) -> None:
        if (
            self._done
            and self._next >= len(self.log)
            and not self._rest
            and position_number(self.durable.stored.position) >= len(self.log) * 1000
        ):
            self.control.stop()

    @property
    def _done(self) -> bool:
        """Tells whether the tables are live and what was asked is answered.

        A verify that met the table copying has failed.
        """
        asked = self.durable.requests.get("asked")
        states = {self.durable.stored.resources[table].state for table in self.names}
        return "suspended" in states or (
            states == {"live"}
            and (not self.kind or (asked is not None and asked[1] in ("done", "failed")))
        )


def touched(effects: list[Done]) -> set[tuple[str, int]]:
    """The tables and keys a transaction has changed."""
    found: set[tuple[str, int]] = set()
    for table, statement in effects:
        if statement is None:
            found.update((table, key) for key in range(KEYS))
        for old, new, _ in statement or ():
            found.update((table, key) for key in (old, new) if key is not None)
    return found


def _apply(rows: Rows, statement: Statement) -> None:
    bases = [rows.pop(old, None) if old is not None else None for old, _, _ in statement]
    for (_, new, value), base in zip(statement, bases, strict=True):
        if new is not None and value is not None:
            state, big = value
            rows[new] = (state, base[1] if big is UNCHANGED and base is not None else big)


class HandOver:
    """Runs one schedule to its end.

    It is the copy of a table, or (`asked`: verify, reconcile) the comparison of one that was always
    live and equal. `further` tables are copied beside it.
    """

    def __init__(
        self,
        seed: int,
        table: str = TABLE,
        ordered: bool = False,
        asked: str = "",
        large: bool = False,
        lost: int | None = None,
        further: Sequence[str] = (),
    ) -> None:
        tables = [table, *further]
        rnd = random.Random(seed)
        self.table = table
        self.asked = asked
        # Messages after which a set is worked off, also inside a transaction
        self.flush = rnd.choice((1, 2, applier.FLUSH_MESSAGES))
        base = settings(max_event_bytes=2_000 if large else 1_000_000)
        only = [resource for resource in base.resource if resource.name in tables]
        bounds = {"max_rows": rnd.choice((1, 3, 100))}
        window = {"window_bytes": rnd.choice((150, 400, 100_000))}
        self.settings = base.model_copy(
            update={
                "resource": only,
                "front": base.front.model_copy(update=bounds),
                "reconcile": base.reconcile.model_copy(update=window),
            }
        )
        topics = {name: f"p.{name}" for name in tables}
        self.durable = empty_store(topics, tables, identity=IDENTITY)
        self.stale: dict[str, FrontRows] = {}
        for name in tables:
            self.stale[name] = {
                (str(key),): (str(key), "open", f"stale{key}")
                for key in range(KEYS)
                if rnd.random() < 0.3 and not asked
            }
            self.durable.tables[name].update(self.stale[name])
        if not asked:
            states = {
                name: stored._replace(state="copying")
                for name, stored in self.durable.stored.resources.items()
            }
            self.durable.stored = self.durable.stored._replace(resources=states)
            self.durable.copies.update({name: Copy() for name in tables})
        self.control = Control.alone()
        self.control.retry = lambda error: None  # type: ignore[method-assign]
        self.source = LateSource(rnd, self.control, tables, self.durable)
        self.source.kind, self.source.ask_at = asked, rnd.randint(10, 40)
        self.source.large = "x" * 3_000 if large else ""
        self.source.lost = lost
        self.unknown: FrontRows = (
            {}
            if asked != "republish"
            else {(str(key),): ("of", "old") for key in range(KEYS + 2) if rnd.random() < 0.4}
        )
        self.durable.topic_keys[table] = [f'{{"id":{key[0]}}}' for key in self.unknown]
        self.front = Ending(self.durable)
        self.front.lost = lost
        self.front.ordered = self.source.ordered = ordered

    def run(self) -> "HandOver":
        """Until the table is live and everything is applied."""
        clock = Clock()
        with (
            patch.object(applier, "FLUSH_MESSAGES", self.flush),
            patch.object(pipeline, "_ASK", 0.0),
            patch.object(pipeline, "time", clock),
            patch.object(reconcile, "time", clock),
        ):
            Capture(self.settings, self.source, self.front, self.control).run()
        self.control.close()
        return self

    def expected(self, table: str = "") -> FrontRows:
        """What front end and subscriber must hold of a table; without one, of the first."""
        table = table or self.table
        return {
            (str(key),): (str(key), *row)
            for key, row in self.source.rows[table].items()
            if not table.endswith("filtered") or row[0] == "open"
        }

    def report(self) -> dict[str, Any]:
        """The answer to what was asked."""
        return dict(self.durable.requests["asked"][2])

    def seqs(self, generation: int) -> list[int]:
        """The numbers of a generation's events, in outbox order."""
        events = [
            f for batch in self.durable.outbox for f in frames(batch) if isinstance(f, OutboxEvent)
        ]
        return [event.seq for event in events if event.generation == generation]

    def withheld(self) -> dict[tuple[str, ...], bool]:
        """Keys the subscriber goes without; whether it may have an older row."""
        return self.durable.withheld.get(self.table, {})

    def subscriber(self, table: str = "") -> FrontRows:
        """Returns the table of a subscriber who had what the front end had at the beginning.

        After a republish it is one whose topic held other keys than that.
        """
        table = table or self.table
        rows: FrontRows = {**self.stale[table], **self.unknown}
        anew = 2 if self.asked == "republish" else 1
        for event in [
            f
            for batch in self.durable.outbox
            for f in frames(batch)
            if isinstance(f, OutboxEvent) and f.generation == anew and f.topic == f"p.{table}"
        ]:
            key, after = (str(orjson.loads(event.key)["id"]),), orjson.loads(event.value)["after"]
            if after is None:
                rows.pop(key, None)
            else:
                rows[key] = (str(after["id"]), after["state"], after["big"])
        return rows


class Ending(MemoryFront):
    """A front end that forgets its holder with every opening: the one before may have crashed."""

    lost: int | None = None

    def open(self, nonce: str) -> Stored:
        """See Front.open."""
        self.durable.holder = None
        return super().open(nonce)

    def requests(self) -> list[Request]:
        """See Front.requests.

        A row `lost` is deleted once, when somebody asks for a verify.
        """
        found = super().requests()
        if self.lost is not None and any(request.kind == "verify" for request in found):
            (self._open or self.durable).tables[found[0].resource].pop((str(self.lost),), None)
            self.lost = None
        return found
