"""The option `--as URL`: an administrator's connection to the business database."""

import os
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import click

from agent.messages import translate


def _with_password(
    _context: click.Context, _parameter: click.Parameter, url: str | None
) -> str | None:
    """Asks for the administrator's password where a person can answer and none is at hand.

    Raises click's usage error for a URL that has one.
    """
    if url is None:
        return None

    parts = urlsplit(url)
    if parts.password is not None:
        raise click.UsageError(
            translate(
                "--as: no password on the command line, where every user of this host can read it: "
                "use PGPASSWORD or ~/.pgpass."
            )
        )
    if parts.username is None or _is_at_hand() or not sys.stdin.isatty():
        return url

    text = translate("Password of {user} (empty: none is needed)", user=parts.username)
    password = click.prompt(text, default="", hide_input=True, show_default=False, err=True)
    if not password:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _is_at_hand() -> bool:
    """Whether libpq finds a password by itself, see its documentation of these variables."""
    named = "PGPASSWORD" in os.environ or "PGPASSFILE" in os.environ
    return named or Path("~/.pgpass").expanduser().exists()


administrator_option = click.option(
    "--as",
    "admin_url",
    metavar="URL",
    callback=_with_password,
    help=translate(
        "Administrator's connection to the business database, postgresql://user@host/database; "
        "its password is asked for at a terminal, or comes from PGPASSWORD or ~/.pgpass."
    ),
)
