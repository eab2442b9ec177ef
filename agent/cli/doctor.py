"""The command `sync-agent doctor`, which writes a support bundle."""

import time
from pathlib import Path

import click

from agent.config import load
from agent.errors import AgentError
from agent.messages import mark, system_reason, translate


@click.command(
    help=translate(
        "Write what somebody far away needs to see what is wrong into one archive: status, check, "
        "settings, metrics, log, host. It holds no row's value, no key and no secret. "
        "As root it has the whole log. Exit 1 if something could not be collected."
    )
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help=translate("File of the archive, ending in .tar.gz; a new one in this folder by default."),
)
@click.pass_obj
def doctor(config: Path, output: Path | None) -> int:
    """Changes nothing but that file."""
    from agent.support.bundle import pack  # noqa: PLC0415 - of this command alone
    from agent.support.parts import parts  # noqa: PLC0415

    settings = None
    try:
        settings = load(config)
    except AgentError as error:
        click.echo(error.full_text(), err=True)

    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = output or Path(f"sync-agent-{config.stem}-{moment}.tar.gz")
    try:
        missing = pack(target, parts(config, settings), _say)
    except OSError as error:
        text = mark("{file} cannot be written: {reason}; name another one with --output")
        said = translate(text, file=target, reason=system_reason(error))
        raise click.ClickException(said) from None

    text = mark("{file} is written. See what is in it before you send it: tar -tzf {file}")
    click.echo(translate(text, file=target))
    if missing:
        text = mark("Not collected: {parts} (CONTENTS.txt in it says why)")
        click.echo(translate(text, parts=", ".join(missing)), err=True)
    return 1 if missing else 0


def _say(part: str) -> None:
    """Shows progress: `check` may take half a minute when a peer is away."""
    click.echo(translate(mark("Collecting {part} ..."), part=part), err=True)
