"""The composition root: one function per command, each building what it needs from the settings.

Each imports what it needs when it is called: every process of the service then holds only its own
libraries in memory.
"""

import gc
import logging
import os
import sys
import traceback
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent import BUILD, __version__
from agent.cli.terminal import as_json
from agent.config import ResourceSettings, ServiceSettings, Settings
from agent.errors import (
    EX_CONFIG,
    AgentError,
    CertificateRefused,
    ListenRefused,
    RequestRefused,
    SecretMissing,
)
from agent.files import denied
from agent.messages import mark, translate
from agent.service import verdict
from agent.service.control import CONTROL_FD, Control
from agent.service.last_end import LastEnd
from agent.service.logs import log_to_stderr

if TYPE_CHECKING:
    from rich.console import Console

    from agent.cli import requests
    from agent.connectors.setup import After
    from agent.findings import Finding

_log = logging.getLogger(__name__)
_SILENCE = 60.0  # seconds without a sign of life after which a child counts as hanging
_OBJECTS = 20_000  # made between two looks for cyclic garbage
_LEVELS = {"ok": mark("ok"), "warning": mark("warning"), "error": mark("error")}
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def run(settings: Settings, config_path: Path) -> int:
    """Supervises capture and publisher until a signal ends it; returns the exit code."""
    from agent.cli import bundled
    from agent.cli.reload import reload
    from agent.page.site import Site
    from agent.service.health import served
    from agent.service.history import History
    from agent.service.kept_gauges import KeptGauges
    from agent.service.metrics import STAGES, Metrics
    from agent.service.notify import Notifier
    from agent.service.program import program
    from agent.service.recorder import Recorder
    from agent.service.restarts import Restarts
    from agent.service.supervisor import Supervisor

    log_to_stderr(settings.service.log_level, settings.service.log_format)
    metrics = Metrics(
        settings.agent,
        [resource.name for resource in settings.resource],
        settings.front.folder,
        settings.service.source_disk,
        KeptGauges(settings.directory),
        History(settings.directory),
    )
    restarts = Restarts(STAGES, silence=max(_SILENCE, settings.front.lock_wait_seconds + 30))
    last_end = LastEnd(settings.directory)
    commands = {stage: [*program(config_path), stage] for stage in STAGES}
    notifier = Notifier.from_environment()
    try:
        site = Site(settings.agent, metrics, bundled.runbook)
        with served(settings.service, settings.agent, metrics, site.answer), Recorder(metrics):
            _log_build()
            supervisor = Supervisor(
                commands,
                str(uuid.uuid4()),
                metrics,
                restarts,
                last_end,
                notifier,
                # In a terminal SIGHUP says that the terminal was closed
                None if sys.stdin.isatty() else lambda: reload(settings, config_path, metrics),
            )
            return supervisor.run()
    except (ListenRefused, SecretMissing, CertificateRefused) as error:
        last_end.note("", error)
        raise


def _log_build() -> None:
    """Logs what runs: version, and whether the modules of the hot path are compiled."""
    modules = "compiled" if BUILD == "compiled" else "pure"
    _log.info("service_started version=%s modules=%s", __version__, modules)
    if BUILD not in ("pure", "compiled"):
        _log.warning("compiled_modules_unused built_for=%s", BUILD)


def is_child() -> bool:
    """True when the supervisor has started this process."""
    return CONTROL_FD in os.environ


def capture(settings: Settings) -> int:
    """The child that moves changes from the source to the front end, until told to stop."""
    from agent.capture import loop as pipeline

    return _stage("capture", settings.service, lambda control: pipeline.capture(settings, control))


def publish(settings: Settings) -> int:
    """The child that moves events from the outbox to Kafka, until told to stop."""
    from agent.publish import relay

    return _stage(
        "publish", settings.service, lambda control: relay.relay(settings, control, control.nonce)
    )


def _stage(name: str, service: ServiceSettings, work: Callable[[Control], None]) -> int:
    """One stage's work; what ends it is a line of the log and an exit code for the supervisor."""
    log_to_stderr(service.log_level, service.log_format)
    control = Control.inherited(name)
    _collect_rarely()
    try:
        work(control)
    # Unknown means halt, with a code systemd understands
    except Exception as problem:  # noqa: BLE001
        error = problem if isinstance(problem, AgentError) else unexpected(problem)
        _log.error(
            "halted stage=%s code=%s error=%s next=%s",
            name,
            error.code,
            error.text("en"),
            error.advice("en"),
        )
        control.failed(error)
        return error.exit_code
    finally:
        control.close()
    return 0


def _collect_rarely() -> None:
    """Has Python look for cyclic garbage less often, and not among what is imported.

    Rows and events are no cycles: they go as soon as nobody holds them. Thousands of them at once
    would only have it look again and again.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS)


def unexpected(error: Exception) -> AgentError:
    """Type and place of an error nobody foresaw; its text could hold values of rows and stays out.

    A file that may not be used is no riddle, wherever that is found out.
    """
    if isinstance(error, PermissionError) and error.filename is not None:
        return denied(error)
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(
        f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})"
        for frame in reversed(frames[-6:])
    )
    return AgentError(detail=f"{type(error).__name__} in {places}")


def init(
    settings: Settings, apply: bool, admin_url: str | None, take_over: Sequence[str] = ()
) -> None:
    """Tells what the agent needs on the source, the front end and Kafka; with `apply` makes it."""
    from agent.preflight.initialise import initialise

    initialise(settings, apply, admin_url, console().out, take_over)


def rebind(settings: Settings, after: "After") -> None:
    """Takes up the stream after what a person says has happened.

    An upgrade or a fail-over of the business database, a restored front end or Kafka.
    """
    from agent.preflight import rebinding

    rebinding.rebind(settings, console().out, after)


def verify(
    settings: Settings,
    kind: str,
    names: Sequence[str],
    allow_deletes: bool,
    as_json: bool,
    show_keys: bool,
) -> int:
    """Has the running service compare tables (`kind` verify) or repair them too (reconcile).

    Returns 1 if a verify finds differences or some stay after a repair, 2 if a table could not be
    compared because it is not live.
    """
    from agent.cli import comparison, requests
    from agent.outbox.opening import reading

    listen = settings.service.listen
    names = _resources(settings.resource, names)
    with (
        reading(settings.front, settings.agent) as reader,
        comparison.shown(names, hidden=as_json) as progress,
    ):
        answers = requests.ask(reader, listen, kind, names, allow_deletes, progress)
    reports = [comparison.report(answer, show_keys, kind == "reconcile") for answer in answers]
    if as_json:
        _print_json(reports)
    else:
        console().print(comparison.render(reports))
    if any(report["state"] != "compared" for report in reports):
        return 2
    right = comparison.equal if kind == "verify" else comparison.repaired
    return int(not all(right(report) for report in reports))


def resume(settings: Settings, name: str, allow_deletes: bool) -> None:
    """Has the running service take up a suspended table again."""
    _one_done(settings, "resume", name, allow_deletes)
    console().out(
        translate(
            mark(
                "{resource} goes on: it is compared with the business database and then live; "
                "`sync-agent status` shows how far it is"
            ),
            resource=name,
        )
    )


def retry(settings: Settings, name: str) -> int:
    """Has the running service try rows again that were withheld or refused.

    Withheld is what was too large for Kafka. Returns 1 if some still are.
    """
    report = _one_done(settings, "retry", name, allow_deletes=False)
    if report["withheld"]:
        console().out(
            translate(
                mark("{resource}: {count} rows are still too large for Kafka"),
                resource=name,
                count=report["withheld"],
            )
        )
    else:
        console().out(translate(mark("{resource}: no row is withheld any more"), resource=name))
    refused = report.get("refused", 0)
    if refused:
        text = mark("{resource}: the front-end table still refuses {count} rows")
        console().out(translate(text, resource=name, count=refused))
    return int(report["withheld"] > 0 or refused > 0)


def _one_done(settings: Settings, kind: str, name: str, allow_deletes: bool) -> dict[str, Any]:
    """Has the running service do something with one table; returns its report.

    Raises RequestRefused where it could not be done.
    """
    from agent.cli import requests
    from agent.outbox.opening import reading

    listen, names = settings.service.listen, _resources(settings.resource, [name])
    with reading(settings.front, settings.agent) as reader:
        (answer,) = requests.ask(reader, listen, kind, names, allow_deletes, lambda _: None)
    return _done(answer)


def refused(settings: Settings, name: str, as_json: bool, show_keys: bool) -> None:
    """Lists the rows that a front-end table refuses, by hashes of their keys or by the keys."""
    from agent.cli import comparison
    from agent.outbox.opening import reading

    (name,) = _resources(settings.resource, [name])
    with reading(settings.front, settings.agent) as reader:
        reader.identity()
        rows = comparison.refusals(reader.refusals(name), show_keys)
    if as_json:
        _print_json(rows)
    elif rows:
        console().print(comparison.render_refusals(rows))
    else:
        console().out(
            translate(mark("{resource}: the front-end table refuses no row"), resource=name)
        )


def republish(settings: Settings, name: str, allow_deletes: bool) -> int:
    """Has the running service begin a new generation of a table's topic.

    First it must be known that the topic will take it, and which keys it holds.

    Returns 1, and tells why, where the table is suspended meanwhile.
    """
    from agent.cli import comparison, requests
    from agent.outbox.opening import reading
    from agent.preflight import republishing
    from agent.publish.topic_keys import collect

    (name,) = _resources(settings.resource, [name])
    kafka, topics = settings.kafka, settings.topics
    try:
        with reading(settings.front, settings.agent) as reader:
            topic = republishing.topic(kafka, topics, settings.resource, name, reader)
            records = collect(kafka, topics.state, name, topic, reader).records
            text = mark("Topic {topic}: {count} records read for the keys it holds")
            console().out(translate(text, topic=topic, count=records))

            listen = settings.service.listen
            with comparison.shown([name], hidden=False) as progress:
                (answer,) = requests.ask(
                    reader, listen, "republish", [name], allow_deletes, progress
                )
            if answer.state == "failed":
                republishing.refuse_suspended(name, reader)
            rows = _done(answer)["rows"]

            text = mark(
                "{resource}: {rows} rows wait in the outbox for a new generation of the topic; "
                "Kafka has not taken them yet, see `sync-agent status`"
            )
            if republishing.taken_by_kafka(name, reader):
                text = mark("{resource}: {rows} rows published in a new generation of the topic")
            console().out(translate(text, resource=name, rows=rows))
    except republishing.Suspended as stopped:
        click.echo(stopped.error.full_text(), err=True)
        return 1
    return 0


def forget(settings: Settings, name: str, apply: bool) -> int:
    """Tells what the front end still holds of what is no longer shared; with `apply` takes it away.

    Returns 1 if something stays that its owner has to take away.
    """
    from agent.preflight import forgetting

    _among([name], forgetting.known(settings.front, settings.topics))
    return forgetting.forget(settings, name, apply, console().out)


def remove_source(settings: Settings, apply: bool, admin_url: str | None) -> None:
    """Tells what of the agent is in the business database; with `apply` takes it away."""
    from agent.preflight import removing

    removing.remove_source(settings, apply, admin_url, console().out)


def _done(answer: "requests.Answer") -> dict[str, Any]:
    """The report of what was asked. Raises RequestRefused where it could not be done."""
    from agent.cli import comparison

    if answer.state == "failed":
        raise RequestRefused(
            resource=answer.resource, state=translate(comparison.STATES[answer.report["state"]])
        )
    return answer.report


def _resources(configured: Sequence[ResourceSettings], names: Sequence[str]) -> list[str]:
    """Returns the resources named, all if none is.

    Raises click's usage error for a name the configuration has not.
    """
    known = [resource.name for resource in configured]
    _among(names, known)
    return list(names) or known


def _among(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        text = mark("{names}: no such resource; the configuration has {known}")
        raise click.UsageError(translate(text, names=", ".join(unknown), known=", ".join(known)))


def check(settings: Settings, as_json: bool, show_all: bool) -> int:
    """Prints what `check` finds, errors first and what is ok with `show_all`.

    Returns 0, or 78 when a finding is an error.
    """
    from agent.preflight.checks import check as findings_of

    findings = findings_of(settings)
    if as_json:
        _print_json([finding._asdict() for finding in findings])
    else:
        for level in ("error", "warning", "ok"):
            if level != "ok" or show_all:
                show_findings([finding for finding in findings if finding.level == level])
        click.echo(_summary([finding.level for finding in findings], show_all))
    return EX_CONFIG if any(finding.level == "error" for finding in findings) else 0


def show_findings(findings: "Sequence[Finding]") -> None:
    """Each finding on a line, and below it what fixes it."""
    out = console()
    for finding in findings:
        word = translate(_LEVELS[finding.level])
        out.print(f"[{_STYLES[finding.level]}]{word}[/] ", end="")
        out.out(f"{finding.code}: {finding.message}", highlight=False)
        if finding.fix:
            lines = (f"    {line}" for line in finding.fix.splitlines())
            out.out("\n".join(lines), highlight=False)


def _summary(levels: Sequence[str], show_all: bool) -> str:
    """The last line of `check`."""
    text = mark("errors: {errors}, warnings: {warnings}, ok: {fine}")
    if not show_all and "ok" in levels:
        text = mark("errors: {errors}, warnings: {warnings}, ok: {fine} (`--all` shows them)")
    counts = {"errors": "error", "warnings": "warning", "fine": "ok"}
    values = {name: levels.count(level) for name, level in counts.items()}
    return translate(text, None, **values)


def status(load_settings: Callable[[], Settings], as_json: bool, summary: bool) -> int:
    """Prints where the agent stands; returns the exit code of its level (`verdict`)."""
    from agent.cli import status as reports
    from agent.cli import status_text

    settings = None
    try:
        settings = load_settings()
        collected = reports.collect(settings)
    except Exception as problem:  # noqa: BLE001 - whatever it is, the answer is: unknown
        known = {}
        if settings is not None:
            known = reports.without_front(settings.service, settings.agent, settings.directory)
        return _unknown(problem, known, as_json, summary)
    found = verdict.problems(collected)
    if as_json:
        _print_json(reports.plain(collected) | verdict.plain(found))
    else:
        if not summary:
            console().print(status_text.render(collected))
        standby = verdict.standby(collected)
        click.echo(verdict.line(found, len(collected["tables"]), standby))
    return verdict.EXIT_CODES[verdict.level(found)]


def _unknown(problem: Exception, known: dict[str, Any], as_json: bool, summary: bool) -> int:
    """Tells why the agent's state cannot be read; and how the service is, or how it ended.

    `known` is what is known all the same (`agent.cli.status.without_front`).
    """
    from agent.cli import status_text

    error = problem if isinstance(problem, AgentError) else unexpected(problem)
    found = verdict.unknown(error, known)
    if as_json:
        _print_json(known | verdict.plain(found))
    elif summary:
        click.echo(verdict.line(found, 0))
    else:
        for lines in status_text.trouble(known) if known else ():
            console().print(lines)
    click.echo(error.full_text(), err=True)
    return verdict.EXIT_CODES["unknown"]


def _print_json(value: object) -> None:
    """Prints plain data for programs."""
    click.echo(as_json(value))


def console() -> "Console":
    """Returns a console for standard output; into a file or pipe it does not wrap lines."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=240)
