"""The commands with which a configuration begins; what they do is loaded when they are called."""

from pathlib import Path

import click

from agent.cli.administrator import administrator_option
from agent.cli.configured import settings_of
from agent.cli.options import json_option
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
    from agent.cli.tables import show_tables  # noqa: PLC0415 - loads drivers

    return show_tables(config, patterns, admin_url, as_toml=as_toml, as_json=as_json)


@click.command(
    help=translate(
        "Write a first configuration: asks for the business database, its tables, front end and "
        "Kafka, shows what will be published, and writes nothing before all is answered. "
        "Exit 0: written, 2: an answer is missing or wrong."
    )
)
@click.option(
    "--answers",
    "answers_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help=translate(
        "File of answers, in the form of a configuration; `tables` in it are patterns such as "
        "'public.*'."
    ),
)
@click.option(
    "--set",
    "options",
    metavar="PLACE=VALUE",
    multiple=True,
    help=translate("One answer, such as source.host=db1 or tables='public.*'; repeatable."),
)
@click.option("--yes", "defaults", is_flag=True, help=translate("Take every default unasked."))
@click.option("--overwrite", is_flag=True, help=translate("Replace files that are there."))
@administrator_option
@click.pass_obj
def setup(
    config: Path,
    answers_file: Path | None,
    options: tuple[str, ...],
    defaults: bool,
    overwrite: bool,
    admin_url: str | None,
) -> int:
    """On a terminal, or without one where every question is answered beforehand."""
    from agent.cli.setup import set_up  # noqa: PLC0415 - loads drivers

    return set_up(
        config,
        answers_file,
        options,
        admin_url,
        lambda: settings_of(config),
        defaults=defaults,
        overwrite=overwrite,
    )
