"""Runs a supervisor with stand-in children as a process, to which tests can send real signals."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from prometheus_client import generate_latest

from agent.errors import SlotMissing
from agent.service.control import Control
from agent.service.last_end import LastEnd
from agent.service.metrics import Metrics
from agent.service.notify import Notifier
from agent.service.restarts import Restarts
from agent.service.supervisor import Supervisor


def supervisor(folder: Path, capture: str, publish: str, silence: str, grace: str) -> int:
    """Supervises two children with the behaviours named; leaves its metrics in the folder."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    metrics = Metrics("tax", ["person"])
    behaviours = {"capture": capture, "publish": publish}
    command = [sys.executable, "-m", "tests.stand_in", "child", str(folder)]
    commands = {stage: [*command, stage, behaviour] for stage, behaviour in behaviours.items()}
    restarts = Restarts(list(commands), silence=float(silence), grace=float(grace))
    code = Supervisor(
        commands,
        "nonce-1",
        metrics,
        restarts,
        LastEnd(folder),
        Notifier.from_environment(),
        lambda: not (folder / "wrong-configuration").exists(),
    ).run()
    (folder / "metrics").write_bytes(generate_latest(metrics.registry))
    return code


def child(folder: Path, stage: str, behaviour: str) -> int:
    """Notes its process id, then behaves."""
    with (folder / f"{stage}.pids").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    control = Control.inherited(stage)
    code = BEHAVIOURS[behaviour](folder, control)
    control.close()
    return code


def _steady(folder: Path, control: Control) -> int:
    control.ready()
    peer = "kafka" if control.stage == "publish" else "source"
    control.beat(
        {f"agent_connected/{peer}": 1}, {("agent_events_total", "applied", "person", "c"): 1}
    )
    control.went_well()
    while not control.stopping():
        control.wake()
        control.wait(0.1)
    (folder / f"{control.stage}.ended").write_text(control.nonce)
    return 0


def _waking(folder: Path, control: Control) -> int:
    """Notes each wake-up; the wait itself never times out within a test."""
    control.ready()
    while not control.stopping():
        control.wait(60)
        with (folder / "woken").open("a") as woken:
            woken.write("w")
    return 0


def _stubborn(folder: Path, control: Control) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control.ready()
    (folder / f"{control.stage}.deaf").touch()
    while True:
        control.beat()
        threading.Event().wait(0.1)


def _silent(folder: Path, control: Control) -> int:
    control.ready()
    threading.Event().wait()
    return 1


def _unknown_metric(folder: Path, control: Control) -> int:
    control.beat({"agent_of_change": 1})
    return _steady(folder, control)


def _stands_by(folder: Path, control: Control) -> int:
    """Stands by until it may take over, and once more when it has begun again."""
    control.beat({"agent_connected/frontend": 1})
    control.standing_by("db1", 1_795_486_504.0)
    while not control.stopping() and not (folder / "free").exists():
        control.wait(0.05)
    if control.stopping():
        return 0
    control.active()
    (folder / "free").unlink()
    return _steady(folder, control)


def _crashes_then_works(folder: Path, control: Control) -> int:
    """Dies once by a signal and once otherwise, makes progress, and meets what needs a person."""
    control.ready()
    lives = len((folder / f"{control.stage}.pids").read_text().split())
    if lives == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if lives == 2:
        return 1
    control.went_well()
    while not (folder / "halt").exists():
        control.wait(0.05)
    control.failed(SlotMissing(slot="s", position="0/1"))
    return 78


def _exits(code: int) -> Callable[[Path, Control], int]:
    def behave(folder: Path, control: Control) -> int:
        control.ready()
        return code

    return behave


BEHAVIOURS: dict[str, Callable[[Path, Control], int]] = {
    "steady": _steady,
    "waking": _waking,
    "stubborn": _stubborn,
    "silent": _silent,
    "stands-by": _stands_by,
    "crashes-then-works": _crashes_then_works,
    "unknown-metric": _unknown_metric,
    "exits-0": _exits(0),
    "exits-1": _exits(1),
    "exits-75": _exits(75),
    "exits-78": _exits(78),
}

if __name__ == "__main__":
    role, folder, *arguments = sys.argv[1:]
    sys.exit(
        supervisor(Path(folder), *arguments)
        if role == "supervisor"
        else child(Path(folder), *arguments)
    )
