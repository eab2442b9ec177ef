"""The command line: options, the user's language, exit codes. What the commands do is in `agent.app`."""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import click

from agent import __version__, app
from agent.config import load
from agent.config.display import effective, schema_text
from agent.errors import EX_CONFIG, AgentError
from agent.messages import translate

DEFAULT_CONFIG = "/etc/unit-sync-agent/agent.toml"


@click.group(help=translate("Keeps front-end tables and Kafka topics equal to a unit's business database."))
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    envvar="SYNC_AGENT_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    show_envvar=True,
    help=translate("Configuration file."),
)
@click.pass_context
def commands(context: click.Context, config: Path) -> None:
    """Keeps the path of the configuration for the command."""
    context.obj = config


@commands.command(help=translate("Run the service until SIGTERM."))
@click.pass_obj
def run(config: Path) -> int:
    """The service; its exit code goes to systemd."""
    return app.run(load(config), config)


@commands.command(help=translate("Show what the agent needs on all sides; with --apply make it."))
@click.option("--apply", is_flag=True, help=translate("Make what is missing."))
@click.option(
    "--as",
    "admin_url",
    metavar="URL",
    help=translate("Administrator's connection to the business database, postgresql://user@host/database; its password comes from PGPASSWORD or ~/.pgpass."),
)
@click.pass_obj
def init(config: Path, apply: bool, admin_url: str | None) -> None:
    """Shows or makes what is needed."""
    if admin_url is not None and urlsplit(admin_url).password is not None:
        raise click.UsageError(translate("--as: no password on the command line, where every user of this host can read it: use PGPASSWORD or ~/.pgpass."))
    app.init(load(config), apply, admin_url)


@commands.command(help=translate("Check connections, rights and settings on all sides; each finding says what fixes it."))
@click.option("--json", "as_json", is_flag=True, help=translate("Machine-readable."))
@click.pass_obj
def check(config: Path, as_json: bool) -> int:
    """Exit 0 without error findings, else 78."""
    return app.check(load(config), as_json)


@commands.command(help=translate("Show state, lag and last event of each table, position and outbox."))
@click.option("--json", "as_json", is_flag=True, help=translate("Machine-readable."))
@click.pass_obj
def status(config: Path, as_json: bool) -> None:
    """Reads the front end; the service need not run."""
    app.status(load(config), as_json)


@commands.command("show-config", help=translate("Show the settings in effect, secrets hidden."))
@click.option("--schema", is_flag=True, help=translate("Print the JSON Schema of the configuration file instead."))
@click.pass_obj
def show_config(config: Path, schema: bool) -> None:
    """TOML, or JSON Schema."""
    click.echo(schema_text() if schema else effective(load(config)), nl=False)


@commands.command(help=translate("Show the version."))
def version() -> None:
    """The version alone, for scripts."""
    click.echo(__version__)


@commands.command(hidden=True)
@click.pass_obj
def capture(config: Path) -> None:
    """Child of the supervisor."""
    _only_as_child()
    app.capture(load(config))


@commands.command(hidden=True)
@click.pass_obj
def publish(config: Path) -> None:
    """Child of the supervisor."""
    _only_as_child()
    app.publish(load(config))


def _only_as_child() -> None:
    if not app.is_child():
        raise click.UsageError(translate("This command is started by `sync-agent run`."))


def execute(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; errors go to stderr in the user's language."""
    try:
        result = commands.main(list(arguments), prog_name="sync-agent", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except AgentError as error:
        click.echo(f"{error.code}: {error.text()}\n  → {error.advice()}", err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - unknown means halt, with a code systemd understands
        click.echo(_unexpected(error), err=True)
        return EX_CONFIG
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> str:
    """Type and place of an error nobody foresaw; its text could hold values of rows and stays out."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})" for frame in reversed(frames[-6:]))
    return f"{AgentError.code}: {AgentError(detail=f'{type(error).__name__} in {places}').text()}\n  → {translate(AgentError.hint)}"


def main() -> None:
    """Entry point of `sync-agent`."""
    sys.exit(execute(sys.argv[1:]))
