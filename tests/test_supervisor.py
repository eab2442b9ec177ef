"""Tests the supervisor with real processes, real signals and kill -9.

Its rules and the children's end of the control line are tested by themselves.
"""

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import KafkaUnreachable, LoginRefused, SlotMissing
from agent.messages import phrase
from agent.service.control import CONTROL_FD, NONCE, WAKE_FD, Control
from agent.service.last_end import LastEnd
from agent.service.restarts import End, Kill, Restarts, Start
from tests.services.systemd import Systemd
from tests.waiting import PATIENCE, eventually

ROOT = Path(__file__).parent.parent
GRACE = 60.0  # seconds, so many that a child that ends in time has ended by itself


# ---- real processes ----


class Service:
    """A running supervisor with stand-in children, and the folder where they leave their traces."""

    def __init__(
        self, folder: Path, capture: str, publish: str, silence: float, grace: float
    ) -> None:
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "tests.stand_in",
            "supervisor",
            str(folder),
            capture,
            publish,
            str(silence),
            str(grace),
        ]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def pids(self, stage: str) -> list[int]:
        """Process ids of a stage, the newest last."""
        path = self.folder / f"{stage}.pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def log_has(self, *texts: str) -> None:
        eventually(lambda: all(text in self.log() for text in texts), 20, f"{texts} in the log")

    def both_run(self) -> None:
        self.log_has("child_ready stage=capture", "child_ready stage=publish")

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Sends the signal; returns exit code and seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE), time.monotonic() - began

    def metric(self, line: str) -> bool:
        return line in (self.folder / "metrics").read_text().splitlines()


Run = Callable[..., Service]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a service; whatever is left of it is killed afterwards."""
    services: list[Service] = []

    def start(
        capture: str = "steady", publish: str = "steady", silence: float = 60, grace: float = GRACE
    ) -> Service:
        services.append(Service(tmp_path, capture, publish, silence, grace))
        return services[-1]

    yield start
    for service in services:
        for pid in (service.process.pid, *service.pids("capture"), *service.pids("publish")):
            if service.process.returncode is None or pid != service.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        service.process.wait()


def alive(pid: int) -> bool:
    """Tells whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_service_cleanly(run: Run, number: signal.Signals) -> None:
    """Exit 0, both children ended by themselves."""
    service = run()
    service.both_run()
    code, seconds = service.end(number)
    assert (code, seconds < GRACE) == (0, True)
    assert (
        (service.folder / "capture.ended").read_text()
        == (service.folder / "publish.ended").read_text()
        == "nonce-1"
    )
    assert f"service_stopping signal={number.name}" in service.log()
    labels = 'agent="tax",op="c",stage="applied",table="person"'
    assert service.metric(f"agent_events_total{{{labels}}} 2.0")
    assert service.metric('agent_connected{agent="tax",peer="kafka"} 0.0')


def test_publisher_waits_for_the_first_capture_that_is_ready(run: Run) -> None:
    service = run()
    service.both_run()
    log = service.log()
    assert log.index("child_ready stage=capture") < log.index("child_started stage=publish")


@pytest.mark.parametrize("stage", ["capture", "publish"])
def test_killed_child_comes_back_and_the_other_stays(run: Run, stage: str) -> None:
    service = run()
    service.both_run()
    os.kill(service.pids(stage)[0], signal.SIGKILL)
    eventually(lambda: len(service.pids(stage)) == 2, 20, "the child is started again")
    service.log_has(f"child_ended stage={stage}", "attempt=2")
    other = "publish" if stage == "capture" else "capture"
    assert len(service.pids(other)) == 1
    assert alive(service.pids(other)[0])
    assert service.end()[0] == 0
    assert service.metric(f'agent_process_restarts_total{{agent="tax",stage="{stage}"}} 1.0')
    assert service.metric(f'agent_errors_total{{agent="tax",kind="INTERNAL",stage="{stage}"}} 1.0')


def test_wake_pipe_survives_restarts(run: Run) -> None:
    """The publisher is woken by the first capture process and by the one after it."""
    service = run(publish="waking")
    woken = service.folder / "woken"
    eventually(
        lambda: woken.exists() and woken.stat().st_size > 3, 20, "capture wakes the publisher"
    )
    os.kill(service.pids("capture")[0], signal.SIGKILL)
    os.kill(service.pids("publish")[0], signal.SIGKILL)
    eventually(
        lambda: len(service.pids("capture")) == len(service.pids("publish")) == 2,
        20,
        "both come back",
    )
    before = woken.stat().st_size
    eventually(lambda: woken.stat().st_size > before + 3, 20, "capture wakes the publisher again")
    assert service.end()[0] == 0


@pytest.mark.parametrize("behaviour", ["steady", "stubborn"])
def test_children_die_with_a_killed_supervisor(run: Run, behaviour: str) -> None:
    service = run(behaviour, behaviour)
    service.both_run()
    children = service.pids("capture") + service.pids("publish")
    service.process.kill()
    eventually(lambda: not any(alive(pid) for pid in children), 10, "the children are gone")


@pytest.mark.parametrize(("behaviour", "code"), [("exits-78", 78), ("exits-75", 75)])
@pytest.mark.parametrize("stage", ["capture", "publish"])
def test_halt_of_one_child_ends_the_service(
    run: Run, stage: str, behaviour: str, code: int
) -> None:
    service = run(**{stage: behaviour})
    assert service.process.wait(PATIENCE) == code
    assert not any(alive(pid) for pid in service.pids("capture") + service.pids("publish"))


@pytest.mark.parametrize("behaviour", ["exits-0", "exits-1"])
def test_child_that_ends_by_itself_is_started_again_and_again(run: Run, behaviour: str) -> None:
    service = run(behaviour)
    eventually(lambda: len(service.pids("capture")) >= 3, 20, "the third attempt")
    assert service.end()[0] == 0


def test_a_child_that_crashes_is_a_failure_until_there_is_progress(
    run: Run, tmp_path: Path
) -> None:
    """It holds of the process that follows it, too.

    How it ended is reported, and the halt at the end is kept for `status`.
    """
    LastEnd(tmp_path).note("publish", SlotMissing(slot="s", position="0/1"))
    service = run("crashes-then-works")
    service.log_has("stage_well stage=capture code=INTERNAL attempts=2")
    eventually(lambda: LastEnd(tmp_path).read() is None, what="the former end is past")
    (tmp_path / "halt").touch()
    assert service.process.wait(PATIENCE) == 78
    end = LastEnd(tmp_path).read()
    assert end is not None
    assert (end.stage, end.error.code) == ("capture", "SLOT_MISSING")
    labels = 'agent="tax",code="SLOT_MISSING",stage="capture"'
    assert service.metric(f"agent_stage_error_info{{{labels}}} 1.0")


def test_deaf_children_are_killed_when_their_grace_is_over(run: Run) -> None:
    service = run("stubborn", "stubborn", grace=0.5)
    eventually((service.folder / "publish.deaf").exists, 20, "both are deaf")
    code, seconds = service.end()
    assert (code, seconds < GRACE) == (0, True)
    assert "signal=SIGKILL reason=still_alive" in service.log()


def test_second_signal_kills_at_once(run: Run) -> None:
    service = run("stubborn", "stubborn")
    eventually((service.folder / "publish.deaf").exists, 20, "both are deaf")
    service.process.send_signal(signal.SIGTERM)
    service.log_has("service_stopping")
    code, seconds = service.end()
    assert (code, seconds < GRACE) == (0, True)


def test_reload_starts_both_anew_and_is_no_restart(run: Run) -> None:
    """They end by themselves; the supervisor stays, and no attempt has failed."""
    service = run()
    service.both_run()
    before = {stage: service.pids(stage)[0] for stage in ("capture", "publish")}
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(service.pids("publish")) == 2, what="the publisher is a new one")
    for stage, pid in before.items():
        assert len(service.pids(stage)) == 2
        assert (service.folder / f"{stage}.ended").exists()
        assert not alive(pid)
    second = service.log().rindex("child_started stage=publish")
    assert service.log().rindex("child_ready stage=capture") < second
    assert service.end()[0] == 0
    assert service.metric('agent_process_restarts_total{agent="tax",stage="capture"} 0.0')


def test_reload_of_a_wrong_configuration_leaves_all_as_it_was(run: Run, systemd: Systemd) -> None:
    service = run()
    service.both_run()
    (service.folder / "wrong-configuration").touch()
    service.process.send_signal(signal.SIGHUP)
    systemd.hear("RELOADING=1", "READY=1")
    assert [len(service.pids(stage)) for stage in ("capture", "publish")] == [1, 1]
    assert service.end()[0] == 0


def test_who_stands_by_is_ready_and_takes_over_once(run: Run, systemd: Systemd) -> None:
    """Its publisher waits. One that finds its place taken afterwards ends, to begin as standby."""
    service = run(capture="stands-by")
    systemd.hear("READY=1", "STATUS=standby; active is db1 since 2026-11-24T02:15:04+00:00")
    systemd.hear("WATCHDOG=1")
    assert not service.pids("publish")
    (service.folder / "free").touch()
    service.both_run()
    os.kill(service.pids("capture")[-1], signal.SIGKILL)
    assert service.process.wait(PATIENCE) == 75
    assert service.metric('agent_role{agent="tax",role="active"} 1.0')


def test_systemd_hears_how_the_service_is(run: Run, systemd: Systemd) -> None:
    """Its watchdog is fed, and the children do not believe that the messages are theirs."""
    service = run()
    systemd.hear("EXTEND_TIMEOUT_USEC=60000000", "READY=1", "STATUS=not connected yet: ")
    systemd.hear("WATCHDOG=1")
    service.both_run()
    for stage in ("capture", "publish"):
        environment = Path(f"/proc/{service.pids(stage)[0]}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
    service.process.send_signal(signal.SIGHUP)
    systemd.hear("RELOADING=1", "MONOTONIC_USEC=", "READY=1")
    assert service.end()[0] == 0
    systemd.hear("STOPPING=1")


def test_silent_child_is_killed_and_comes_back(run: Run) -> None:
    service = run("silent", silence=2)
    service.log_has(
        "child_signalled stage=capture signal=SIGKILL reason=silent",
        "child_started stage=capture",
        "attempt=2",
    )
    assert service.end()[0] == 0


def test_metric_unknown_to_the_supervisor_does_not_disturb_it(run: Run) -> None:
    service = run("unknown-metric")
    service.both_run()
    service.log_has("metric_unknown stage=capture name='agent_of_change'")
    assert service.end()[0] == 0


# ---- the rules alone ----


def started(now: float = 0.0, silence: float = 60.0) -> Restarts:
    """Both stages run since `now`."""
    rules = Restarts(["capture", "publish"], silence)
    rules.begin(now)
    assert rules.due(now) == [Start("capture", 1)]
    rules.ready("capture", now)
    assert rules.due(now) == [Start("publish", 1)]
    return rules


def test_back_off_doubles_up_to_three_seconds_and_begins_anew_after_a_long_life() -> None:
    rules, now, waits = started(), 0.0, []
    for attempt in range(2, 9):
        rules.ended("capture", 1, now)
        waits.append(round(rules.next_time - now, 6))
        now = rules.next_time
        assert rules.due(now - 0.001) == []
        assert rules.due(now) == [Start("capture", attempt)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]
    rules.beat("publish", now)
    rules.ended("capture", -9, now + 30)
    assert rules.next_time == now + 30.2


def test_publisher_started_once_however_often_capture_is_ready() -> None:
    rules = started()
    rules.ready("capture", 1)
    rules.ready("publish", 1)
    assert rules.due(1) == []


def test_sign_of_life_puts_off_the_kill() -> None:
    rules = started(silence=60)
    rules.beat("capture", 50)
    rules.beat("publish", 40)
    assert rules.next_time == 100
    assert rules.due(100) == [Kill("publish", signal.SIGKILL, "silent")]
    rules.beat("publish", 101)  # read late from the socket: it is dead all the same
    assert rules.due(109) == []
    rules.ended("publish", -9, 109)
    assert rules.due(110) == [Kill("capture", signal.SIGKILL, "silent"), Start("publish", 2)]


def test_stop_asks_then_kills_then_ends() -> None:
    rules = started()
    rules.stop(10)
    assert rules.next_time == -math.inf
    assert rules.due(10) == [
        Kill(stage, signal.SIGTERM, "service_stops") for stage in ("capture", "publish")
    ]
    rules.ended("publish", 0, 11)
    assert rules.due(17.9) == []
    assert rules.due(18) == [Kill("capture", signal.SIGKILL, "still_alive")]
    rules.ended("capture", -9, 18)
    assert rules.due(18) == [End(0)]


def test_process_that_ended_just_before_the_stop_gets_no_signal() -> None:
    rules = started()
    rules.stop(10)
    rules.ended("capture", 1, 10)
    assert rules.due(10) == [Kill("publish", signal.SIGTERM, "service_stops")]


def test_stop_before_anything_runs() -> None:
    rules = Restarts(["capture", "publish"])
    rules.begin(0)
    rules.stop(0)
    assert rules.due(0) == [End(0)]


def test_second_stop_kills() -> None:
    rules = started()
    rules.stop(10)
    rules.due(10)
    rules.stop(10.5)
    assert rules.due(10.5) == [
        Kill(stage, signal.SIGKILL, "still_alive") for stage in ("capture", "publish")
    ]


def test_halt_ends_with_its_code_whatever_the_other_says() -> None:
    rules = started()
    rules.ended("publish", 78, 5)
    assert rules.due(5) == [Kill("capture", signal.SIGTERM, "publish_exited_78")]
    rules.ended("capture", 75, 6)
    assert rules.due(6) == [End(78)]


def test_reload_waits_for_the_first_stage_again() -> None:
    rules = started()
    rules.reload(10)
    asked = [Kill(stage, signal.SIGTERM, "reload") for stage in ("capture", "publish")]
    assert rules.due(10) == asked
    rules.ended("publish", 0, 11)
    assert rules.due(11) == []
    rules.ended("capture", 0, 12)
    assert rules.due(12) == [Start("capture", 1)]
    rules.ready("capture", 13)
    assert rules.due(13) == [Start("publish", 1)]


def test_reload_starts_a_stage_that_ends_later_than_the_first_is_ready() -> None:
    rules = started()
    rules.reload(10)
    rules.due(10)
    rules.ended("capture", 0, 11)
    rules.due(11)
    rules.ready("capture", 12)
    rules.ended("publish", 0, 13)
    assert rules.due(13) == [Start("publish", 1)]


def test_reload_kills_what_does_not_end_and_yields_to_a_stop() -> None:
    rules = started()
    rules.reload(10)
    rules.due(10)
    assert rules.due(17.9) == []
    assert [kill.number for kill in rules.due(18) if isinstance(kill, Kill)] == [signal.SIGKILL] * 2
    stuck = rules.is_stuck
    for stage in ("capture", "publish"):
        rules.ended(stage, -9, 19)
    assert (stuck, rules.is_stuck) == (True, False)

    rules = started()
    rules.reload(10)
    rules.stop(11)
    rules.reload(12)
    rules.due(12)
    for stage in ("capture", "publish"):
        rules.ended(stage, 0, 13)
    assert rules.due(13) == [End(0)]


def test_halt_while_the_other_waits_for_its_restart() -> None:
    rules = started()
    rules.ended("capture", -9, 5)
    rules.ended("publish", 78, 5)
    assert rules.due(6) == [End(78)]


# ---- the child's end ----


class Line:
    """A control as a child has it, and the supervisor's end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK)
        self.control = Control("capture", "n", theirs, wake_write=self.wake_write)

    def received(self) -> bytes:
        """Everything sent so far."""
        self.socket.setblocking(False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := self.socket.recv(1 << 16):
                data += chunk
        return data

    def messages(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.received().splitlines()]

    def close(self) -> None:
        os.close(self.wake_read)
        self.control.close()
        self.socket.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def test_beats_are_limited_and_lose_no_count(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = ("agent_events_total", "applied", "person", "c")
    for number in range(1000):
        line.control.beat({"agent_source_lag_bytes": number}, {counter: 1})
    line.control.observe("agent_publish_duration_seconds", 0.5)
    assert len(line.messages()) == 1
    monkeypatch.setattr("time.monotonic", lambda: math.inf)
    line.control.beat()
    (beat,) = line.messages()
    assert beat["counters"] == {"agent_events_total/applied/person/c": 999}
    assert beat["gauges"] == {"agent_source_lag_bytes": 999}
    assert beat["observations"] == {"agent_publish_duration_seconds": [0.5]}


def test_only_news_are_sent_at_once(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without news there is a sign of life now and then; whoever waits knows when to beat."""
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    line.control.beat({"agent_source_lag_bytes": 7, "agent_snapshot_running": 0})
    assert len(line.messages()) == 1

    line.control.beat({"agent_source_lag_bytes": 7})
    assert line.control.beat_at == now + 5
    line.control.beat({"agent_source_lag_bytes": 8})
    assert line.control.beat_at == now + 0.25
    assert line.messages() == []

    now = line.control.beat_at
    line.control.beat({"agent_source_lag_bytes": 8})
    (news,) = line.messages()
    assert news["gauges"] == {"agent_source_lag_bytes": 8}
    assert line.control.beat_at == now + 5

    now = line.control.beat_at
    line.control.beat()
    (sign_of_life,) = line.messages()
    assert sign_of_life["gauges"] == {}


def test_a_wait_ends_no_later_for_news_and_sends_them(line: Line) -> None:
    line.control.beat({"agent_source_lag_bytes": 7})
    line.control.beat({"agent_source_lag_bytes": 8})
    line.control.wait(0.5)
    first, second = line.messages()
    assert first["gauges"] == {"agent_source_lag_bytes": 7}
    assert second["gauges"] == {"agent_source_lag_bytes": 8}


def test_supervisor_that_does_not_read_blocks_nobody_and_misses_nothing(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket fills up.

    When it is read again every count arrives, also of the beat that was cut in two.
    """
    monkeypatch.setattr("agent.service.control._BEAT_SECONDS", 0.0)
    counter = ("agent_events_total", "applied", "person", "c")
    for _ in range(20):
        line.control.beat({f"agent_{number}": 0 for number in range(20_000)}, {counter: 1})
    received = line.received()
    assert not received.endswith(b"\n")
    while line.control._unsent or line.control.counters:
        line.control.beat()
        received += line.received()
    assert sum(_count(json.loads(message)) for message in received.splitlines()) == 20


def _count(message: dict[str, object]) -> int:
    counters = message["counters"]
    assert isinstance(counters, dict)
    return sum(counters.values())


def test_stop_wakes_a_wait_and_stays(line: Line) -> None:
    assert not line.control.stopping()
    line.control.stop()
    began = time.monotonic()
    line.control.wait(PATIENCE)
    line.control.retry(LoginRefused(peer="x", user="y", reason="z"))
    assert time.monotonic() - began < PATIENCE
    assert line.control.stopping()
    assert select.select([line.control.stop_fd], [], [], 0)[0]
    line.control.stop()


def test_end_of_the_supervisor_is_a_stop(line: Line) -> None:
    line.socket.close()
    assert line.control.stopping()
    line.control.beat()  # into the void: no error
    line.control.ready()


def test_wake_never_blocks(line: Line) -> None:
    for _ in range(100_000):
        line.control.wake()
    assert len(os.read(line.wake_read, 1 << 20)) > 1000


def test_alone_wakes_itself_and_keeps_its_counters() -> None:
    control = Control.alone()
    control.wake()
    control.wait(60)
    control.wait(0.01)
    control.ready()
    control.beat({}, {("agent_events_total", "x"): 2})
    assert control.said_ready
    assert control.counters["agent_events_total", "x"] == 2
    assert not control.stopping()
    control.stop()
    assert control.stopping()
    control.close()


def test_retry_counts_backs_off_and_begins_anew(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    control = Control.alone("publish")
    error = KafkaUnreachable(address="127.0.0.1:1", reason="refused")
    waits = []
    for _ in range(8):
        control.retry(error)
        waits.append(control._wait)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]
    assert control.counters["agent_errors_total", "publish", "KAFKA_UNREACHABLE"] == 8
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "retry stage=publish code=KAFKA_UNREACHABLE "
        "error=Kafka at 127.0.0.1:1 does not answer: refused next=Run"
    )
    refused = LoginRefused(peer="Kafka", user="u", reason="no")
    for another in (refused, error, refused, error):  # each is told once, as soon as it comes
        control.retry(another)
    codes = [record.getMessage().split()[2] for record in caplog.records]
    assert codes == ["code=KAFKA_UNREACHABLE", "code=LOGIN_REFUSED"]
    control.went_well()
    control.retry(refused)
    assert control._wait == 5.0
    assert len(caplog.records) == 3
    control.close()


def test_each_failed_attempt_and_the_progress_after_it_are_told_at_once(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress is reported once, however long the next beat takes.

    A process that was started again reports it again.
    """
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    error = KafkaUnreachable(address="127.0.0.1:1", reason=phrase("connection refused"))
    line.control.beat()
    line.received()
    line.control.went_well()
    line.control.went_well()
    line.control.retry(error)
    line.control.retry(error)
    line.control.went_well()
    told = [message for message in line.messages() if "beat" not in message]
    failed = {"failed": {"code": error.code, "values": error.plain_values()}}
    assert told == [{"well": True}, failed, failed, {"well": True}]


def test_control_is_inherited_only_from_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CONTROL_FD, WAKE_FD, NONCE):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KeyError):
        Control.inherited("capture")
