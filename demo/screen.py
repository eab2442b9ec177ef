"""What the demonstration shows: numbered steps, the progress of the workload, and the end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.status import Status

STEPS = 11
EVERY = 2.0  # seconds between lines of progress where nothing moves


class Counts(NamedTuple):
    """How far everything is."""

    transactions: int
    stored: int = 0  # events in the front end's outbox so far
    published: int = 0
    copied: int = 0  # rows read of tables that held some
    copying: str = ""  # tables being copied

    def __str__(self) -> str:
        copying = f", copying 复制中: {self.copying}, {self.copied:,} rows" if self.copying else ""
        return (
            f"{self.stored:,} events in the front end 已入前置库, "
            f"{self.published:,} in Kafka 已发布{copying}"
        )


class Step:
    """A step under way; `note` is said when it is done."""

    note = ""

    def __init__(self, console: Console, label: str, moving: Status) -> None:
        self._console, self._label, self._moving = console, label, moving
        self._began = self._shown = time.monotonic()
        self._done = threading.Event()
        self._ticking = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._ticking.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._ticking.join()

    def _tick(self) -> None:
        """Shows a sign of life where nothing is shown otherwise."""
        while not self._done.wait(EVERY / 10):
            now = time.monotonic()
            if now - self._shown >= EVERY * 1.2:
                self.show(f"{now - self._began:.0f} s")

    def show(self, text: str) -> bool:
        """Shows how far it is; always true, so that a condition that is waited for can say it."""
        self._moving.update(f"{self._label}  {escape(text)}")
        self._shown = plain(self._console, text, self._shown)
        return True

    def happened(self, text: str) -> None:
        """Shows a line that stays."""
        self._console.print(f"    [yellow]{escape(text)}[/]", soft_wrap=True)


def plain(console: Console, text: str, last: float) -> float:
    """Prints a line every two seconds where nothing moves.

    Returns when the last one was printed.
    """
    now = time.monotonic()
    if now - last < EVERY:
        return last
    if console.is_terminal:
        return now
    console.print(f"    {escape(text)}", soft_wrap=True)
    return now


class Screen:
    """The terminal; on anything else the same lines without movement."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._number = 0

    def title(self, text: str, below: str) -> None:
        """Shows the head."""
        self._console.print(f"\n[bold]{text}[/]\n[dim]{below}[/]\n")

    @contextmanager
    def step(self, name: str, gloss: str) -> Iterator[Step]:
        """Shows a step, with a sign of life until it is done."""
        self._number += 1
        began = time.monotonic()
        label = f"{self._number}/{STEPS} [bold]{name}[/] {gloss}"
        self._begin(label)
        with self._console.status(label) as moving, Step(self._console, label, moving) as step:
            yield step
        self._done(label, step.note, began)

    @contextmanager
    def workload(self, name: str, gloss: str, transactions: int, rows: int) -> Iterator["Workload"]:
        """Shows the step with the moving bars; `rows` are there to be copied."""
        self._number += 1
        began = time.monotonic()
        label = f"{self._number}/{STEPS} [bold]{name}[/] {gloss}"
        self._begin(label)
        with Workload(self._console, label, transactions, rows) as workload:
            yield workload
        self._done(label, workload.note, began)

    def _begin(self, label: str) -> None:
        if not self._console.is_terminal:
            self._console.print(f"… {label}", soft_wrap=True)

    def _done(self, label: str, note: str, began: float) -> None:
        self._console.print(
            f"[green]✓[/] {label}  {escape(note)} [dim]{time.monotonic() - began:.1f} s[/]",
            soft_wrap=True,
        )

    def say(self, text: str, style: str = "") -> None:
        """Lines between the steps."""
        self._console.print(escape(text), style=style, soft_wrap=True)

    def last(self, text: str) -> None:
        """Shows the last line, exactly as it is."""
        self._console.print()
        self._console.out(text, style="bold green", highlight=False)


class Workload:
    """Bars for what was written, copied and published, and a line for what happens."""

    note = ""

    def __init__(self, console: Console, label: str, transactions: int, rows: int) -> None:
        self._console, self._shown = console, time.monotonic()
        counts = TextColumn("{task.fields[counts]}")
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(30),
            counts,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._progress.add_task(label, total=None, counts="")
        self._written = self._progress.add_task(
            "  business transactions 业务事务", total=transactions, counts=""
        )
        self._copied = self._progress.add_task(
            "  rows copied 已复制存量数据", total=rows, counts=""
        )
        self._published = self._progress.add_task(
            "  events in Kafka 已发布事件", total=1, counts=""
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, counts: Counts) -> None:
        """Shows the bars as they are now."""
        self._progress.update(
            self._written, completed=counts.transactions, counts=f"{counts.transactions:,}"
        )
        self._progress.update(
            self._copied, completed=counts.copied, counts=f"{counts.copied:,} {counts.copying}"
        )
        of = f"{counts.published:,} of {counts.stored:,} stored 已入前置库"
        self._progress.update(
            self._published, completed=counts.published, total=max(1, counts.stored), counts=of
        )
        self._shown = plain(
            self._console, f"{counts.transactions:,} transactions 业务事务, {counts}", self._shown
        )

    def happened(self, text: str) -> None:
        """Shows a line above the bars that stays."""
        self._console.print(f"    [yellow]{escape(text)}[/]", soft_wrap=True)
