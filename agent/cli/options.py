"""Options that several commands have."""

import click

from agent.messages import translate

json_option = click.option("--json", "as_json", is_flag=True, help=translate("Machine-readable."))
allow_deletes_option = click.option(
    "--allow-deletes",
    is_flag=True,
    help=translate("Delete however many rows the business database does not have."),
)
show_keys_option = click.option(
    "--show-keys",
    is_flag=True,
    help=translate("Show the keys of rows that differ instead of hashes of them."),
)
