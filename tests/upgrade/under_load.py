"""Upgrades a running agent of 0.1.0 while the unit's applications write, and judges the end.

Call `python -m tests.upgrade.under_load` in a clone with its history: the released version is
taken from there, for a release itself has none.
For each kind of front end the released version runs first, is killed or stopped in the middle of
the writing, and this version goes on in its place. It is killed, too, while it brings the stored
data up to date. No event may be lost, doubled or out of order.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from unittest import mock

from tests.agent_process import Agent, Installation, front_url, url
from tests.checker.front import at_front, own
from tests.checker.unit import create_tables
from tests.checker.writer import Writer
from tests.services.kafka import kafka
from tests.services.mariadb import mariadb
from tests.services.postgres import postgres
from tests.upgrade.make import KINDS, take_released
from tests.waiting import eventually

SEED = 20261201
BATCHES = 40  # of transactions that each session writes
EACH = 25  # transactions of a batch
KILLS = 4  # of this version while it comes up


class Released(Installation):
    """An installation whose configuration the released version understands."""

    def _section(self, name: str) -> dict[str, object]:
        if name == "front" and self.front:
            return {"url": front_url(self.front)}
        return super()._section(name)


@contextmanager
def program_of(tree: Path) -> Iterator[None]:
    """Lets the agents that are started meanwhile run the program in a folder."""
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}):
        yield


def upgrade(place: Installation, tree: Path, random: Random) -> Agent:
    """Replaces the program while two sessions write, goes back once, and replaces it again.

    Returns the service of this version.
    """
    create_tables(place.source, place.tables)
    place.write_config()
    with program_of(tree):
        place.command("init", "--apply", "--as", url(place.source))
        agent = place.start().wait_ready()
    assert of_released(place)

    with (
        Writer(place.source, 1) as one,
        Writer(place.source, 2) as other,
        ThreadPoolExecutor(2) as sessions,
    ):
        written = [sessions.submit(writer.run, BATCHES * EACH) for writer in (one, other)]
        _wait_for(one, EACH, written)
        with program_of(tree):
            agent.kill9_child("publish")
        _wait_for(one, 2 * EACH, written)
        if random.random() < 0.5:
            agent.stop()
        else:
            agent.kill9()

        for _ in range(KILLS):
            agent = place.start()
            _wait_for(one, one.transactions + random.randint(0, EACH), written)
            agent.kill9()
        go_back(place, tree, one, written)
        agent = place.start()
        for session in written:
            session.result()
    return agent.wait_ready()


def go_back(place: Installation, tree: Path, one: Writer, written: list[Future[None]]) -> None:
    """Takes the stored data back, and lets the released version go on with it for a while."""
    agent = place.start().wait_ready()
    eventually(lambda: place.completed("status").returncode == 0, what="every table is live")
    agent.stop()
    assert not of_released(place)
    place.command("downgrade", "--to", "0.1.0", "--apply")
    assert of_released(place)

    with program_of(tree):
        agent = place.start().wait_ready()
        before = one.transactions
        _wait_for(one, before + EACH, written)
        agent.kill9()
    assert of_released(place)


def of_released(place: Installation) -> bool:
    """Whether the agent's own tables are those of the released version.

    In MariaDB the agent may not drop those of this version, which are empty then.
    """
    front = place.places.front
    if own(front, "sync_agent_state") == "sync_agent_state":
        return True
    return at_front(front, "SELECT count(*) FROM sync_agent_state") == [(0,)]


def _wait_for(writer: Writer, transactions: int, written: list[Future[None]]) -> None:
    """Waits until a session has written so much, or is ready."""
    eventually(
        lambda: writer.transactions >= transactions or all(session.done() for session in written),
        what="the sessions write",
    )


def judged(kind: str, tree: Path, random: Random, broker: str) -> str:
    """Upgrades an agent with one kind of front end; returns what the comparison says of the end."""
    with ExitStack() as stack:
        source = stack.enter_context(postgres(18)).dsn()
        front = None
        if kind == "postgres":
            front = stack.enter_context(postgres(15)).dsn()
        if kind == "mariadb":
            front = stack.enter_context(stack.enter_context(mariadb()).fresh_database())
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        stack.callback(shutil.rmtree, folder)

        place = Released(folder, source, broker, f"up{kind}", front=front)
        agent = upgrade(place, tree, random)
        verdict = place.verdict()
        agent.stop()
        if not verdict.equal:
            print(agent.log[-5000:], file=sys.stderr)
            raise SystemExit(f"{kind}: {verdict}")
        return str(verdict)


def main() -> None:
    """Reads the command line, upgrades one agent after the other, and says what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, action="append", help="repeatable; default: all")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, kafka() as broker:
        tree = Path(folder)
        take_released(tree)
        random = Random(arguments.seed)
        for kind in arguments.kind or KINDS:
            print(f"{kind}: upgrading under load (about a minute) ...", flush=True)
            print(f"{kind}: {judged(kind, tree, random, broker.bootstrap)}", flush=True)


if __name__ == "__main__":
    main()
