"""`sync-agent selftest`: its options, what it shows and what it writes."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from agent.messages import mark, system_reason, translate

if TYPE_CHECKING:
    from agent.selftest.report import Report

_INTERRUPTED = 130


@click.command(
    help=translate(
        "Try the agent on a database for tests, with tables of its own that it removes in the end. "
        "Writes a report without names of servers or users. Needs no configuration. "
        "Exit 1 if something has failed."
    )
)
@click.option(
    "--url",
    required=True,
    help=translate(
        "SQLAlchemy URL of the database, without password; the user may make tables and triggers. "
        "Its password comes from SYNC_AGENT_ADMIN_PASSWORD."
    ),
)
@click.option(
    "--schema",
    default="",
    help=translate(
        "Schema in which the tables are made; default: the user's own. It may hold other tables, "
        "which are left alone, but none of an earlier test."
    ),
)
@click.option(
    "--encoding",
    default="",
    help=translate(
        "Also try texts in this encoding, such as gbk, in columns that are declared otherwise."
    ),
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sync-agent-selftest.txt"),
    show_default=True,
    help=translate("File of the report."),
)
def selftest(url: str, schema: str, encoding: str, report: Path) -> int:
    """Neither front end nor Kafka takes part."""
    if urlsplit(url).password is not None:
        raise click.UsageError(
            translate(
                "--url: no password on the command line, where every user of this host can read "
                "it: use SYNC_AGENT_ADMIN_PASSWORD."
            )
        )
    _check_encoding(encoding)

    # They load SQLAlchemy
    from agent.selftest import running  # noqa: PLC0415

    found = running.selftest(running.Tried(url, schema, encoding), click.echo)
    _tell_what_is_left(found)
    _write(report, found)
    if found.interrupted:
        return _INTERRUPTED
    return 0 if found.passed else 1


def _check_encoding(encoding: str) -> None:
    """Raises UsageError for what is no encoding of texts."""
    if not encoding:
        return
    try:
        b"a".decode(encoding)
    except (LookupError, ValueError):
        text = mark("--encoding: no encoding of texts has this name")
        raise click.UsageError(translate(text)) from None


def _tell_what_is_left(found: "Report") -> None:
    """Shows the statements that take away what could not be taken away: not in the report."""
    if not found.left:
        return
    click.echo(translate(mark("Left in the database. Take it away with:")))
    for statement in found.left:
        click.echo(f"  {statement};")


def _write(path: Path, found: "Report") -> None:
    """Writes the report. Raises ClickException where that cannot be done."""
    try:
        path.write_text(found.text, encoding="utf-8")
    except OSError as error:
        text = mark("{path} cannot be written: {reason}")
        reason = system_reason(error)
        raise click.ClickException(translate(text, path=path, reason=reason)) from None
    text = mark("Report: {path}. It may be sent on: it names no server, no user and no database.")
    click.echo(translate(text, path=path))
