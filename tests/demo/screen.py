"""What the demonstration shows: numbered steps, the progress of the workload, and the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

STEPS = 8


class Counts(NamedTuple):
    """How far everything is."""

    transactions: int
    stored: int  # events in the front end's outbox so far
    published: int


class Step:
    """A step under way; `note` is said when it is done."""

    note = ""


class Screen:
    """The terminal; on anything else the same lines without movement."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._number = 0

    def title(self, text: str, below: str) -> None:
        """The head."""
        self._console.print(f"\n[bold]{text}[/]\n[dim]{below}[/]\n")

    @contextmanager
    def step(self, name: str, gloss: str) -> Iterator[Step]:
        """A step, with a sign of life until it is done."""
        self._number += 1
        began, step = time.monotonic(), Step()
        label = f"{self._number}/{STEPS} [bold]{name}[/] {gloss}"
        with self._console.status(label):
            yield step
        self._done(label, step.note, began)

    @contextmanager
    def workload(self, name: str, gloss: str, transactions: int) -> Iterator["Workload"]:
        """The step with the moving bars."""
        self._number += 1
        began = time.monotonic()
        label = f"{self._number}/{STEPS} [bold]{name}[/] {gloss}"
        with Workload(self._console, label, transactions) as workload:
            yield workload
        self._done(label, workload.note, began)

    def _done(self, label: str, note: str, began: float) -> None:
        self._console.print(f"[green]✓[/] {label}  {escape(note)} [dim]{time.monotonic() - began:.1f} s[/]", soft_wrap=True)

    def say(self, text: str, style: str = "") -> None:
        """Lines between the steps."""
        self._console.print(escape(text), style=style, soft_wrap=True)

    def last(self, text: str) -> None:
        """The last line, exactly as it is."""
        self._console.print()
        self._console.out(text, style="bold green", highlight=False)


class Workload:
    """Bars for what was written, what is published, and a line for what happens."""

    note = ""

    def __init__(self, console: Console, label: str, transactions: int) -> None:
        counts = TextColumn("{task.fields[counts]}")
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), counts, console=console, transient=True, disable=not console.is_terminal
        )
        self._progress.add_task(label, total=None, counts="")
        self._written = self._progress.add_task("  business transactions 业务事务", total=transactions, counts="")
        self._published = self._progress.add_task("  events in Kafka 已发布事件", total=1, counts="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, counts: Counts) -> None:
        """The bars as they are now."""
        self._progress.update(self._written, completed=counts.transactions, counts=f"{counts.transactions:,}")
        of = f"{counts.published:,} of {counts.stored:,} stored 已入前置库"
        self._progress.update(self._published, completed=counts.published, total=max(1, counts.stored), counts=of)

    def happened(self, text: str) -> None:
        """A line above the bars that stays."""
        self._progress.console.print(f"    [yellow]{escape(text)}[/]", soft_wrap=True)
