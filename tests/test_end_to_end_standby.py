"""Tests two hosts that run one agent: one is active, the other takes over without loss or doubles.

The active one is stopped, killed, stands still, and is cut off from the network.
"""

import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from psycopg.conninfo import make_conninfo

from agent.errors import EX_TEMPFAIL
from tests.agent_process import Agent, Installation, in_this_process, url
from tests.checker.front import at_front
from tests.checker.unit import LEDGER, RESIDENTS
from tests.checker.writer import Writer
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.services.processes import HOST, free_port
from tests.services.proxy import TcpProxy
from tests.source.databases import place_of
from tests.source.unit_without_log import Unit, check_events
from tests.waiting import BUSY, eventually

DRIVER = "postgresql+psycopg"
PROMISE = 15.0  # seconds for a take-over


class Host:
    """One of the two hosts, and its service as it was started last."""

    def __init__(self, start: Callable[[], Agent], listen: int, front: str) -> None:
        """`start` starts the service, `front` is the conninfo of the front end."""
        self._start = start
        self._listen = listen
        self._front = front
        self.start()

    def start(self) -> None:
        """Starts the service, again as systemd does."""
        self.agent = self._start()

    def page(self, path: str) -> str:
        """Returns a page of the service."""
        address = f"http://{HOST}:{self._listen}{path}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bytes(answer.read()).decode()

    def has_role(self, role: str) -> bool:
        """Whether the service is ready, and has this role alone."""
        self.agent.check()
        ready = json.loads(self.page("/-/ready"))
        found = re.findall(r'^agent_role\{.*role="(\w+)"\} 1', self.page("/metrics"), re.MULTILINE)
        return bool(ready["ok"]) and found == [role]

    def wait(self, role: str) -> None:
        """Waits until the service has a role."""
        eventually(lambda: self.has_role(role), 60, f"the service at {self._listen} is {role}")

    def stands_by(self) -> None:
        """Waits until the service stands by, and has seen the other one at work for a while."""
        self.wait("standby")
        (first,) = self.seen("active")
        eventually(
            lambda: self.seen("active") > [first], what="the active host gives signs of life"
        )
        (later,) = self.seen("active")
        eventually(lambda: self.seen("standby") > [later], what="the other host has looked at them")

    def seen(self, role: str) -> list[int]:
        """Returns when hosts of this role have given their last sign of life."""
        question = "SELECT seen_us FROM sync_agent_host WHERE role = %s"
        return [int(seen) for (seen,) in at_front(self._front, question, role)]

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to every process of the service."""
        for pid in (self.agent.pid, *self.agent.children().values()):
            os.kill(pid, number)

    def kill9(self) -> None:
        """Kills the service that was started last."""
        self.agent.kill9()

    def comes_back(self) -> None:
        """The service finds that its place is taken, and begins again as the standby."""
        assert self.agent.wait() == EX_TEMPFAIL, self.agent.log[-3000:]
        self.start()
        self.stands_by()


class Pair(NamedTuple):
    """Two hosts with one configuration, but for their addresses; `far` reaches all by `line`."""

    near: Host
    far: Host
    line: TcpProxy
    place: Installation  # of the near one
    other: Installation


@pytest.fixture
def pair(
    postgres18: PostgresAddress, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> Iterator[Pair]:
    """Source and front end lie on one server, in two databases; `near` is active."""
    with (
        fresh_database(postgres18) as source,
        fresh_database(postgres18) as front,
        TcpProxy(HOST, postgres18.port) as line,
    ):
        here = Installation(
            tmp_path / "near",
            source,
            kafka.bootstrap,
            topic_prefix,
            tables=[RESIDENTS, LEDGER],
            front=front,
            sections={"service": {"standby": True}},
        ).install()
        there = replace(
            here,
            directory=tmp_path / "far",
            source=make_conninfo(source, port=line.port),
            front=make_conninfo(front, port=line.port),
            listen=free_port(),
        )
        there.write_config()
        starts = [partial(Host, one.start, one.listen, front) for one in (here, there)]
        with running(*starts) as (near, far):
            yield Pair(near, far, line, here, there)


@contextmanager
def running(near: Callable[[], Host], far: Callable[[], Host]) -> Iterator[tuple[Host, Host]]:
    """Starts both hosts; the near one is active. Both are killed in the end."""
    with ExitStack() as stack:
        active = near()
        stack.callback(active.kill9)
        active.wait("active")
        standby = far()
        stack.callback(standby.kill9)
        standby.stands_by()
        yield active, standby


@contextmanager
def in_time(host: Host) -> Iterator[None]:
    """A host takes over within the promised time."""
    began = time.monotonic()
    yield
    host.wait("active")
    seconds = time.monotonic() - began
    print(f"taken over within {seconds:.1f} s")
    assert seconds < PROMISE + BUSY


def check_status(pair: Pair) -> None:
    """The one that stands by says who is active, and has connected to the front end alone."""
    far = pair.other
    done = in_this_process(far.config, "status", "--json")
    told = json.loads(done.stdout)
    assert sorted(host["role"] for host in told["hosts"]) == ["active", "standby"]
    assert (told["standbys"], told["service"]["ready"]) == (1, True)
    assert told["service"]["standby"]["active"] == socket.gethostname()
    assert told["exit_code"] == 0, told["problems"]
    shown = in_this_process(far.config, "status").stdout
    assert f"standby; active is {socket.gethostname()} since" in shown
    metrics = pair.far.page("/metrics")
    for peer in ("source", "kafka"):
        assert re.search(rf'^agent_connected\{{.*peer="{peer}"\}} 0', metrics, re.MULTILINE)


@pytest.mark.slow
def test_the_other_host_takes_over(pair: Pair) -> None:
    """Whatever happens to the active one; each event is in Kafka once.

    The one that stood still or was cut off comes back to find that its place is taken: it ends
    with 75, for systemd to start it again.
    """
    near, far, line, place, _ = pair
    with Writer(place.source, 18, place.tables) as writer:
        writer.run(20)
        check_status(pair)
        with in_time(far):
            near.agent.stop()
        assert near.agent.exit_code == 0, near.agent.log[-3000:]
        near.start()
        near.stands_by()

        writer.run(20)
        with in_time(near):
            far.signal(signal.SIGSTOP)
            writer.run(20)
        far.signal(signal.SIGCONT)
        far.comes_back()

        writer.run(20)
        with in_time(far):
            near.kill9()
        near.start()
        near.stands_by()

        writer.run(20)
        with in_time(near):
            line.black_hole()
            writer.run(20)
        writer.run(20)
        line.heal()
        far.comes_back()

    far.agent.stop()
    assert far.agent.exit_code == 0, far.agent.log[-3000:]
    assert far.seen("standby") == []
    verdict = place.verdict()
    assert verdict.equal, verdict
    assert verdict.events > 100


@pytest.mark.slow
def test_over_a_trigger_log(
    postgres18: PostgresAddress,
    kafka: KafkaAddress,
    topic_prefix: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """A host that stood still may go on reading notes: it has no session by which to commit."""
    with place_of("postgresql", request, tmp_path) as place, fresh_database(postgres18) as front:
        source = f'type = "trigger"\nlook_seconds = 0.2\n[front]\nurl = "{url(front, DRIVER)}"'
        unit = Unit(place, kafka, topic_prefix, tmp_path, source)
        starts = []
        for name in ("near", "far"):
            config, port = unit.config_of_host(name)
            start = partial(Agent, config, tmp_path / f"{name}.log", port)
            starts.append(partial(Host, start, port, front))
        unit.write(30)
        unit.command("init", "--apply")

        with running(*starts) as (near, far):
            unit.write(20)
            with in_time(far):
                near.signal(signal.SIGSTOP)
                unit.write(20)
            near.signal(signal.SIGCONT)
            near.comes_back()

            unit.write(20)
            with in_time(near):
                far.kill9()
            unit.write(20)

            def equal() -> bool:
                rows = at_front(front, "SELECT id, holder, amount FROM permit")
                return {key: (holder, amount) for key, holder, amount in rows} == unit.business

            eventually(equal, what="the front end equals the source")
            near.agent.stop()
        check_events(unit)
