"""The command `sync-agent downgrade`, for the way back to an older version of the program."""

from pathlib import Path

import click

from agent.cli.configured import settings_of
from agent.messages import mark, translate


@click.command(
    help=translate(
        "Show what an older version of the program needs to go on from the stored data; with "
        "--apply bring the data into its form. The service must be stopped."
    )
)
@click.option("--to", "version", required=True, help=translate("The older version, such as 0.1.0."))
@click.option("--apply", is_flag=True, help=translate("Bring the data into its form."))
@click.pass_obj
def downgrade(config: Path, version: str, apply: bool) -> None:
    """Is run by `install.sh rollback`, too."""
    from agent.preflight import downgrading  # noqa: PLC0415 - of this command alone

    if version not in downgrading.OLDER:
        text = mark("Version {version} stores its data as this one does: nothing is to change")
        click.echo(translate(text, version=version))
        return
    downgrading.downgrade(settings_of(config), version, apply, click.echo)
