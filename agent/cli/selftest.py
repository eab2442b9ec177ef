"""What `sync-agent selftest` shows and writes."""

from pathlib import Path

import click

from agent.messages import mark, system_reason, translate
from agent.selftest.running import selftest


def try_database(url: str, path: Path) -> int:
    """Tries the agent on a database and writes a report; returns the exit code."""
    report = selftest(url, click.echo)
    try:
        path.write_text(report.text, encoding="utf-8")
    except OSError as error:
        text = mark("{path} cannot be written: {reason}")
        reason = system_reason(error)
        raise click.ClickException(translate(text, path=path, reason=reason)) from None
    text = mark("Report: {path}. It may be sent on: it names no server, no user and no database.")
    click.echo(translate(text, path=path))
    return 0 if report.passed else 1
