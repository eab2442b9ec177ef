"""Options that several commands have."""

from urllib.parse import urlsplit

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
administrator_option = click.option(
    "--as",
    "admin_url",
    metavar="URL",
    help=translate(
        "Administrator's connection to the business database, postgresql://user@host/database; "
        "its password comes from PGPASSWORD or ~/.pgpass."
    ),
)


def check_administrator(url: str | None) -> None:
    """Raises click's usage error for a URL with a password."""
    if url is not None and urlsplit(url).password is not None:
        raise click.UsageError(
            translate(
                "--as: no password on the command line, where every user of this host can read it: "
                "use PGPASSWORD or ~/.pgpass."
            )
        )
