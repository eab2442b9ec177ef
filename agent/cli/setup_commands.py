"""The commands with which a configuration begins; what they do is loaded when they are called."""

from pathlib import Path

import click

from agent.cli.options import administrator_option, check_administrator, json_option
from agent.messages import translate


@click.command(
    help=translate(
        "List the tables of the business database that fit patterns such as 'public.*', with "
        "sizes, keys and comments; with --toml as [[resource]] blocks. Of the configuration only "
        "[source] is needed. Exit 1 if no table fits."
    )
)
@click.argument("patterns", nargs=-1, required=True)
@click.option(
    "--toml",
    "as_toml",
    is_flag=True,
    help=translate("Print [[resource]] blocks, without columns that seem to hold personal data."),
)
@json_option
@administrator_option
@click.pass_obj
def tables(
    config: Path,
    patterns: tuple[str, ...],
    as_toml: bool,
    as_json: bool,
    admin_url: str | None,
) -> int:
    """Changes nothing."""
    check_administrator(admin_url)
    from agent.cli.tables import show_tables  # noqa: PLC0415 - loads drivers

    return show_tables(config, patterns, admin_url, as_toml=as_toml, as_json=as_json)
