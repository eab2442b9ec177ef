"""Leads a world through its life, and judges it on the way.

It is made, initialised, copied beside a workload, killed, suspended and resumed, verified and
reconciled.
"""

import json
import re
import shutil
import signal
import threading
import time
import traceback
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from os import kill
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from tests.agent_process import Stage, url, written
from tests.checker.comparison import Places, compare
from tests.checker.likeness import keys_of, versions
from tests.checker.replay import messages
from tests.faults.service import ArmedAgent
from tests.faults.worlds.built import JOURNAL, RESOURCE, Built, Servers, built, settle
from tests.faults.worlds.content import Content
from tests.faults.worlds.world import World
from tests.services.processes import HOST

PATIENCE = (
    60.0  # seconds in which everything must have arrived, also on a machine that has other work
)
JUDGED_AGAIN = 3.0  # seconds a difference must last
BREATH = 0.01  # seconds between transactions
# So many rows get another spelling of their keys while the table is suspended. They are fewer than
# the guard against deletes takes for many.
FEW = 40
CODE = re.compile(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b")
ENDLESS = (1 << 60, 1 << 60)
# The promises (README) that a world can break, in a few words
WORDS = {
    "P2": "front-end rows equal the source",
    "P3": "every event once, in order, with the right values",
    "P5": "never in silence: a named reason and the next command",
    "P7": "only what is listed leaves the unit",
}


@dataclass
class Told:
    """How a world ended."""

    world: World
    found: list[str] = field(
        default_factory=list
    )  # what speaks against the product: promise, and a line
    refused: str = ""  # the named code with which the product declined what it may decline
    rows: int = 0
    events: int = 0
    seconds: float = 0.0

    @property
    def green(self) -> bool:
        """Nothing speaks against the product."""
        return not self.found

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.found:
            return f"FOUND {self.found[0]}"
        if self.refused:
            return f"refused with {self.refused}, as it may be"
        return f"ok, {self.rows} rows, {self.events} events"


class Over(Exception):
    """The world ends here."""


def run(servers: Servers, world: World, evidence: Path, package: Path | None = None) -> Told:
    """Runs a world.

    The folder `evidence` is emptied; when the world was not green it keeps world, configuration,
    log and findings.
    """
    began = time.monotonic()
    shutil.rmtree(evidence, ignore_errors=True)
    evidence.mkdir(parents=True)
    told = Told(world)
    try:
        with (
            built(servers, world, evidence, package) as place,
            ExitStack() as stack,
            suppress(Over),
        ):
            Life(servers, place, told, stack).run()
    except Exception:  # noqa: BLE001 - a world that cannot be run is a finding, too; the others go on
        told.found.append(f"the harness itself: {_last(traceback.format_exc())}")
    told.seconds = time.monotonic() - began
    if told.green:
        shutil.rmtree(evidence)
    else:
        (evidence / "world.json").write_text(world.dumps(told.found[0]), encoding="utf-8")
        (evidence / "finding.txt").write_text(
            "\n".join([*told.found, "", *world.lines()]) + "\n", encoding="utf-8"
        )
    return told


class Life:
    """What is done with one world, in order."""

    def __init__(self, servers: Servers, place: Built, told: Told, stack: ExitStack) -> None:
        self.servers, self.place, self.told, self.stack = servers, place, told, stack
        self.world = place.world
        self.content = Content(place.world)
        self.spoken: list[str] = []  # codes that the product has named

    def run(self) -> None:
        """From the unit's first table to the last verdict."""
        self.begin()
        with ArmedAgent(self.place, "", self.place.package) as agent:
            self.agent = agent
            with Writer(self.place, self.content):
                self._die()
                self._live()
            self._judge("after the copy")
            self._suspend()
            self._judge("after resume")
            self._compare()
            agent.stop()

    def begin(self) -> None:
        """Everything that comes before the service runs."""
        place = self.place
        place.make_table(self.content)
        place.configure()
        settle(self.servers, place, self.stack, role=False)
        if self.world.grants == "page":
            place.documented_grants()
            settle(self.servers, place, self.stack, role=True)
            self._grants_that_check_names()
        if self.world.made:
            place.make_front_table()
        administrator = ["--as", url(place.source)] if self.world.grants != "page" else []
        done = place.command("init", "--apply", *administrator)
        self._expect(done.returncode, done.stdout + done.stderr, "init --apply")
        if self.world.grants != "page":
            settle(self.servers, place, self.stack, role=True)
        place.meddle()
        errors = [finding for finding in place.findings() if finding["level"] == "error"]
        if errors:
            told = "\n".join(f"{finding['code']}: {finding['message']}" for finding in errors)
            self._expect(78, told, "check")

    def _grants_that_check_names(self) -> None:
        """Grants what `check` names for types that are not PostgreSQL's own.

        The documentation's statements are for a table of PostgreSQL's own types.
        """
        for finding in self.place.findings():
            if finding["code"].startswith("RIGHT") and finding["fix"].startswith("GRANT"):
                self.place.run(*finding["fix"].splitlines())

    def _expect(self, code: int, said: str, command: str) -> None:
        """Ends the world where a command has failed.

        It is no finding when the code fits what is drawn.
        """
        if code == 0:
            return
        codes = CODE.findall(said)
        fitting = self.world.may_refuse.intersection(codes)
        if fitting and "INTERNAL" not in codes:
            self.told.refused = min(fitting)
        else:
            self._found(
                "P5", f"`{command}` ends with {code} and nothing calls for it: {_last(said)}"
            )
        raise Over

    def _found(self, promise: str, what: str) -> None:
        self.told.found.append(f"{promise} ({WORDS[promise]}) is broken: {what}")

    def _die(self) -> None:
        """A process is killed while rows are copied."""
        if self.world.killed == "none":
            return
        stage: Stage = "capture" if self.world.killed == "capture" else "publish"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.agent.exit_code is None:
            pid = self.agent.children().get(stage)
            if pid is not None:
                time.sleep(Random(self.world.seed).uniform(0.3, 1.5))
                with suppress(ProcessLookupError):
                    kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)

    def _live(self) -> None:
        """Waits until the table is live; ends the world where it cannot be."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self._running()
            state, _ = self._glance()
            if state == "live":
                return
            if state == "suspended":
                self._not_suspended(self._status()[0])
            if time.monotonic() > deadline:
                self._stuck(state)
            time.sleep(0.1)

    def _running(self) -> None:
        if self.agent.exit_code is None:
            return
        codes = re.findall(r" halted stage=\w+ code=(\w+)", self.agent.log)
        log = self.agent.log
        self._expect(78, " ".join(codes) if codes else log, "run")

    def _not_suspended(self, table: dict[str, Any]) -> None:
        if table.get("state") == "suspended":
            self._expect(78, f"{table['code']}: {table['reason']}", "run: the table is suspended")

    def _stuck(self, where: str) -> None:
        codes = re.findall(r"code=([A-Z_]+)", self.agent.log)
        last = codes[-1] if codes else "no code"
        reasons = [line for line in self.agent.log.splitlines() if "code=" in line]
        if last in self.world.may_refuse:
            self.told.refused = last
        else:
            told = reasons[-1][-300:] if reasons else _last(self.agent.log)
            self._found("P5", f"for {PATIENCE:.0f} s nothing arrives ({where}): {told}")
        raise Over

    def _glance(self) -> tuple[str, bool]:
        """Returns the table's state, and whether the outbox is empty, from the service's metrics.

        It is cheap, and perhaps a moment old.
        """
        try:
            with urllib.request.urlopen(
                f"http://{HOST}:{self.place.listen}/metrics", timeout=2
            ) as answer:
                text = answer.read().decode()
        except OSError:
            return "unknown", False
        states = re.findall(
            r'^agent_table_state\{.*state="(\w+)",table="drawn"\} 1', text, re.MULTILINE
        )
        empty = re.search(r"^agent_outbox_events\{.*\} 0\.0$", text, re.MULTILINE)
        return states[0] if states else "unknown", empty is not None

    def _status(self) -> tuple[dict[str, Any], bool]:
        """Returns the table, and whether nothing waits to be published."""
        done = self.place.command("status", "--json")
        try:
            told = json.loads(done.stdout)
        except ValueError:
            return {"state": f"status ends with {done.returncode}: {_last(done.stderr)}"}, False
        table: dict[str, Any] = next((one for one in told["tables"] if one["name"] == RESOURCE), {})
        published = told["published"]
        return table, published["number"] == published["of"] and not told["outbox"]["events"]

    def _rest(self) -> None:
        """Waits until the last commit is everywhere."""
        deadline = time.monotonic() + PATIENCE
        with self.place.admin as connection:
            end = written(connection)
            while not self.place.passed(connection, end):
                self._running()
                if time.monotonic() > deadline:
                    self._stuck("the last commit is not acknowledged")
                time.sleep(0.1)
        while True:
            self._running()
            state, published = self._glance()
            if state != "copying" and published:
                table, published = self._status()
                self._not_suspended(table)
                if table.get("state") == "live" and published:
                    return
            if time.monotonic() > deadline:
                self._stuck(f"{state}, {'all' if published else 'not all'} published")
            time.sleep(0.1)

    def _judge(self, when: str) -> None:
        """The verdict over source, front end and topic; ends the world at the first finding."""
        self._rest()
        place, shared = self.place, self.place.shared
        places = Places(place.source, place.places.front, place.bootstrap)
        deadline = time.monotonic() + JUDGED_AGAIN
        while True:
            verdict = compare(places, [shared], copied={shared.topic: ENDLESS})
            if verdict.equal or time.monotonic() > deadline:
                break
        self.told.rows, self.told.events = verdict.rows, verdict.events
        keys = keys_of(place.source, place.places.front, shared, place.columns(shared.key))
        refused = self._refused()
        lacking = keys.missing + keys.respelled
        if lacking and lacking <= refused and self.world.may_refuse and not verdict.oracles["O3"]:
            self.told.refused = f"{refused} rows of the front end"
            raise Over
        if verdict.oracles["O1"] or keys.missing or keys.extra or keys.doubled or keys.respelled:
            first = next((line for line in verdict.first if line.startswith("O1")), "")
            self._found(
                "P2",
                f"{when} the table is live, and {verdict.oracles['O1']} rows differ: {keys}. "
                f"{first}",
            )
        others = [line for line in verdict.first if not line.startswith("O1")]
        if others:
            self._found("P3", f"{when}: {others[0]} ({dict(verdict.oracles)})")
        self._nothing_kept_back_has_left(when, shared.topic)
        if self.told.found:
            raise Over

    def _nothing_kept_back_has_left(self, when: str, topic: str) -> None:
        """No event may carry a version of a row that the filter keeps back."""
        seen: dict[str, int] = {}
        for message in messages(self.place.bootstrap, [topic]):
            value = message.value()
            after = json.loads(value)["after"] if value else None
            if after is not None:
                seen[after["note"]] = seen.get(after["note"], 0) + 1
        leaked, unknown = versions(self.place.source, JOURNAL, seen)
        if leaked:
            self._found(
                "P7",
                f"{when}: {leaked} versions of rows that the filter keeps back are in the topic",
            )
        if unknown:
            self._found("P3", f"{when}: {unknown} events carry rows that never were")

    def _refused(self) -> int:
        """Returns how many rows the product says that the front end refuses."""
        if not self.world.made and not self.world.upon:
            return 0
        done = self.place.command("refused", RESOURCE, "--json")
        try:
            told = json.loads(done.stdout)
        except ValueError:
            return 0
        return len(told) if isinstance(told, list) else len(told.get("rows", []))

    def _suspend(self) -> None:
        """Suspends the table by taking the right to read its rows away, and lets it go on.

        Meanwhile keys are written in another spelling.
        """
        self.place.may_read(False)
        self.place.command("reconcile", RESOURCE)
        table, _ = self._status()
        with self.place.admin as connection:
            for _ in range(FEW):
                connection.execute(self.content.respell().as_string(connection).encode())
            for _ in range(FEW):
                connection.execute(self.content.change().as_string(connection).encode())
        self.place.may_read(True)
        if table.get("state") != "suspended":
            return
        done = self.place.command("resume", RESOURCE)
        self._expect(done.returncode, done.stdout + done.stderr, "resume")

    def _compare(self) -> None:
        """`verify` must say that all is equal, which it is; `reconcile` must find nothing to do."""
        before = self.told.events
        for command in ("verify", "reconcile"):
            done = self.place.command(command, RESOURCE)
            if done.returncode:
                said = _last(done.stdout + done.stderr)
                self._found(
                    "P5", f"all is equal, and `{command}` ends with {done.returncode}: {said}"
                )
                raise Over
        self._judge("after reconcile")
        if self.told.events > before:
            self._found(
                "P5",
                f"`reconcile` published {self.told.events - before} events of rows that are equal",
            )


class Writer:
    """The application: one transaction after the other, until it is ended."""

    def __init__(self, place: Built, content: Content) -> None:
        self._place, self._content = place, content
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="application", daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _write(self) -> None:
        random = Random(f"writer {self._place.world.seed}")
        try:
            with self._place.admin as connection:
                while not self._ended.is_set():
                    with connection.transaction():
                        for _ in range(random.randint(1, 4)):
                            statement = self._content.change().as_string(connection)
                            connection.execute(statement.encode())
                    self._ended.wait(BREATH)
        except Exception as error:  # noqa: BLE001 - told when the writer ends
            self._error = error


def _last(said: str) -> str:
    """Returns the last words of an output that say something."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " / ".join(lines[-2:])[-400:]
