"""The composition root: one function per command, each building what it needs from the settings.

Each imports what it needs when it is called: every process of the service then holds only its own libraries in memory.
"""

import json
import logging
import os
import sys
import time
import uuid
from pathlib import Path

from rich.console import Console

from agent.config import Settings
from agent.control import CONTROL_FD, Control
from agent.errors import EX_CONFIG
from agent.messages import mark, translate

_SILENCE = 60.0  # seconds without a sign of life after which a child counts as hanging
_LEVELS = {"ok": mark("ok"), "warning": mark("warning"), "error": mark("error")}
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def run(settings: Settings, config_path: Path) -> int:
    """The service: supervises capture and publisher until a signal ends it; returns the exit code."""
    from agent.health import HealthServer
    from agent.metrics import STAGES, Metrics
    from agent.restarts import Restarts
    from agent.supervisor import Supervisor

    _log_to_stderr(settings)
    metrics = Metrics(resource.name for resource in settings.resource)
    command = [sys.executable, "-P", "-m", "agent", "-c", str(config_path.absolute())]  # -P: no module from the current folder
    restarts = Restarts(STAGES, silence=max(_SILENCE, settings.front.lock_wait_seconds + 30))
    with HealthServer(settings.service.listen, settings.agent, metrics):
        return Supervisor({stage: [*command, stage] for stage in STAGES}, str(uuid.uuid4()), metrics, restarts).run()


def is_child() -> bool:
    """True when the supervisor has started this process."""
    return CONTROL_FD in os.environ


def capture(settings: Settings) -> None:
    """The child that moves changes from the source to the front end, until told to stop."""
    from agent import pipeline

    _log_to_stderr(settings)
    control = Control.inherited("capture")
    try:
        pipeline.capture(settings, control)
    finally:
        control.close()


def publish(settings: Settings) -> None:
    """The child that moves events from the outbox to Kafka, until told to stop."""
    from agent.publish import relay

    _log_to_stderr(settings)
    control = Control.inherited("publish")
    try:
        relay.relay(settings, control, control.nonce)
    finally:
        control.close()


def init(settings: Settings, apply: bool, admin_url: str | None) -> None:
    """Tells what the agent needs on the source, the front end and Kafka; with `apply` makes it."""
    from agent.preflight.initialise import initialise

    initialise(settings, apply, admin_url, _console().out)


def check(settings: Settings, as_json: bool) -> int:
    """Prints the findings of the preflight checks; returns 0, or 78 when one is an error."""
    from agent.preflight.checks import check as findings_of

    findings = findings_of(settings)
    if as_json:
        sys.stdout.write(json.dumps([finding._asdict() for finding in findings], ensure_ascii=False, indent=2) + "\n")
    else:
        console = _console()
        for finding in findings:
            console.print(f"[{_STYLES[finding.level]}]{translate(_LEVELS[finding.level])}[/] ", end="")
            console.out(f"{finding.code}: {finding.message}", highlight=False)
            if finding.fix:
                console.out("\n".join(f"    {line}" for line in finding.fix.splitlines()), highlight=False)
    return EX_CONFIG if any(finding.level == "error" for finding in findings) else 0


def status(settings: Settings, as_json: bool) -> None:
    """Prints where the agent stands."""
    from agent import status as reports

    collected = reports.collect(settings)
    if as_json:
        sys.stdout.write(json.dumps(collected, ensure_ascii=False, indent=2) + "\n")
    else:
        _console().print(reports.render(collected))


def _console() -> Console:
    """A console for standard output; output into a file or pipe is not wrapped to a terminal's width."""
    return Console() if sys.stdout.isatty() else Console(width=240)


def _log_to_stderr(settings: Settings) -> None:
    """One line per event: time, level, event, key=value ...; the time in UTC as journald and Kafka have it."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("agent").setLevel(settings.service.log_level.upper())
