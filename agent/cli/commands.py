"""Reads the command line: options, the user's language, exit codes.

What the commands do is in `agent.cli.app`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from resource import RLIMIT_CORE, setrlimit
from typing import TYPE_CHECKING

import click

from agent import BUILD, __version__
from agent.cli import app, bundled, setup_commands, terminal
from agent.cli.administrator import administrator_option
from agent.cli.configured import DEFAULT_CONFIG, settings_of
from agent.cli.doctor import doctor
from agent.cli.downgrade import downgrade
from agent.cli.options import allow_deletes_option, json_option, show_keys_option
from agent.cli.selftest import selftest
from agent.config import load
from agent.config.display import effective, schema_text
from agent.errors import AgentError
from agent.messages import mark, teach_libraries, translate

if TYPE_CHECKING:
    from agent.connectors.setup import After

_EXIT_UNKNOWN = 3  # of `status`, as Nagios plugins have it


class _Commands(click.Group):
    """A group whose commands show what they take in the user's language."""

    def format_usage(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Command: `sync-agent [OPTIONS] COMMAND [ARGS]...`."""
        self.options_metavar = translate(mark("[OPTIONS]"))
        self.subcommand_metavar = translate(mark("COMMAND [ARGS]..."))
        super().format_usage(context, formatter)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """See click.Group."""
        command = super().get_command(context, name)
        if command is not None:
            command.options_metavar = translate(mark("[OPTIONS]"))
        return command


_BUILD = " (compiled)" if BUILD == "compiled" else ""


@click.group(
    cls=_Commands,
    help=translate("Keeps front-end tables and Kafka topics equal to a unit's business database."),
)
@click.version_option(
    __version__, message=f"%(prog)s %(version)s{_BUILD}", help=translate("Show the version.")
)
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
    return app.run(settings_of(config), config)


@commands.command(help=translate("Show what the agent needs on all sides; with --apply make it."))
@click.option("--apply", is_flag=True, help=translate("Make what is missing."))
@administrator_option
@click.option(
    "--take-over",
    "take_over",
    metavar="TOPIC",
    multiple=True,
    help=translate(
        "Make a topic this agent's that holds records of another, which has ended; repeatable. "
        "Every row is published in a new generation."
    ),
)
@click.pass_obj
def init(config: Path, apply: bool, admin_url: str | None, take_over: tuple[str, ...]) -> None:
    """Shows or makes what is needed."""
    app.init(settings_of(config), apply, admin_url, take_over)


@commands.command(
    help=translate(
        "Check connections, rights and settings on all sides; each finding says what fixes it."
    )
)
@click.option("--all", "show_all", is_flag=True, help=translate("Show also what is ok."))
@json_option
@click.pass_obj
def check(config: Path, show_all: bool, as_json: bool) -> int:
    """Exit 0 without error findings, else 78."""
    return app.check(settings_of(config), as_json, show_all)


@commands.command(
    help=translate(
        "Show state, lag and last event of each table, position and outbox. Exit 0: well, 1: "
        "warning, 2: a table or the service stands, 3: unknown."
    )
)
@json_option
@click.option("--summary", is_flag=True, help=translate("Show the last line only, for monitoring."))
@click.pass_obj
def status(config: Path, as_json: bool, summary: bool) -> int:
    """Reads the front end; the service need not run."""
    return app.status(lambda: settings_of(config), as_json, summary)


@commands.command(
    help=translate(
        "Compare tables with the business database, on the running service; changes nothing. "
        "Exit 1 if they differ, 2 if one is not live."
    )
)
@click.argument("resources", nargs=-1)
@json_option
@show_keys_option
@click.pass_obj
def verify(config: Path, resources: tuple[str, ...], as_json: bool, show_keys: bool) -> int:
    """Without a name: every table."""
    return app.verify(settings_of(config), "verify", resources, False, as_json, show_keys)


@commands.command(
    help=translate(
        "Compare tables with the business database and repair the front end; "
        "every repair is an event. The service must run. Exit 1 if some rows still differ."
    )
)
@click.argument("resources", nargs=-1)
@allow_deletes_option
@json_option
@show_keys_option
@click.pass_obj
def reconcile(
    config: Path, resources: tuple[str, ...], allow_deletes: bool, as_json: bool, show_keys: bool
) -> int:
    """Without a name: every table."""
    return app.verify(
        settings_of(config), "reconcile", resources, allow_deletes, as_json, show_keys
    )


@commands.command(
    help=translate(
        "Let a suspended table go on: it is compared with the business database, then live. "
        "The service must run."
    )
)
@click.argument("resource")
@allow_deletes_option
@click.pass_obj
def resume(config: Path, resource: str, allow_deletes: bool) -> None:
    """Back through `copying`."""
    app.resume(settings_of(config), resource, allow_deletes)


@commands.command(
    help=translate(
        "Try rows of a table again that were too large for Kafka or refused by the front-end "
        "table, after the cause was taken away. The service must run."
    )
)
@click.argument("resource")
@click.pass_obj
def retry(config: Path, resource: str) -> int:
    """Exit 1 if some still are."""
    return app.retry(settings_of(config), resource)


@commands.command(
    help=translate(
        "List the rows that a front-end table refuses: since when, and what refuses them. "
        "The service need not run."
    )
)
@click.argument("resource")
@json_option
@click.option(
    "--show-keys",
    is_flag=True,
    help=translate("Show the keys of the rows instead of hashes of them."),
)
@click.pass_obj
def refused(config: Path, resource: str, as_json: bool, show_keys: bool) -> None:
    """Reads the front end."""
    app.refused(settings_of(config), resource, as_json, show_keys)


@commands.command(
    help=translate(
        "Publish every row of a table in a new generation of its topic, "
        "and deletes of keys that have no row. The service must run."
    )
)
@click.argument("resource")
@allow_deletes_option
@click.pass_obj
def republish(config: Path, resource: str, allow_deletes: bool) -> int:
    """For a topic that was lost or made anew, or a new subscriber."""
    return app.republish(settings_of(config), resource, allow_deletes)


@commands.command(
    help=translate(
        "Show what the front end still holds of a table or columns that are no longer shared; "
        "with --apply take it away. The service must be stopped."
    )
)
@click.argument("resource")
@click.option("--apply", is_flag=True, help=translate("Take it away."))
@click.pass_obj
def forget(config: Path, resource: str, apply: bool) -> int:
    """Exit 1 if its owner has to take something away."""
    return app.forget(settings_of(config), resource, apply)


@commands.command(
    help=translate(
        "Go on after pg_upgrade or a fail-over of the business database, "
        "or after the front end was restored from a backup; "
        "tables are compared. The service must be stopped."
    )
)
@click.option(
    "--after-upgrade",
    is_flag=True,
    help=translate("The replication slot was taken along by pg_upgrade."),
)
@click.option(
    "--after-failover",
    is_flag=True,
    help=translate("A standby was promoted for good, and the replication slot came along."),
)
@click.option(
    "--after-restore",
    is_flag=True,
    help=translate("The front end was restored: every topic begins a new generation."),
)
@click.pass_obj
def rebind(config: Path, after_upgrade: bool, after_failover: bool, after_restore: bool) -> None:
    """The option says what the person who gives the command knows."""
    if after_upgrade + after_failover + after_restore != 1:
        raise click.UsageError(
            translate(
                "Say what has happened: --after-upgrade, --after-failover or --after-restore."
            )
        )
    after: After = "restore"
    if after_upgrade:
        after = "upgrade"
    elif after_failover:
        after = "failover"
    app.rebind(settings_of(config), after)


@commands.command(
    "remove-source",
    help=translate(
        "Show what of the agent is in the business database: triggers and their notes, or slot and "
        "publication; with --apply take it away. The service must be stopped."
    ),
)
@click.option("--apply", is_flag=True, help=translate("Take it away."))
@administrator_option
@click.pass_obj
def remove_source(config: Path, apply: bool, admin_url: str | None) -> None:
    """Leaves front end and topics as they are."""
    app.remove_source(settings_of(config), apply, admin_url)


commands.add_command(downgrade)
commands.add_command(selftest)
commands.add_command(doctor)
commands.add_command(setup_commands.setup)
commands.add_command(setup_commands.tables)


@commands.command("show-config", help=translate("Show the settings in effect, secrets hidden."))
@click.option(
    "--schema",
    is_flag=True,
    help=translate("Print the JSON Schema of the configuration file instead."),
)
@click.pass_obj
def show_config(config: Path, schema: bool) -> None:
    """TOML, or JSON Schema."""
    click.echo(schema_text() if schema else effective(load(config)), nl=False)


@commands.command(
    "example-config", help=translate("Print a configuration file with every setting.")
)
def example_config() -> None:
    """The file to begin with: `sync-agent example-config > /etc/unit-sync-agent/agent.toml`."""
    click.echo(bundled.text(bundled.EXAMPLE), nl=False)


@commands.command(
    help=translate(
        "Print a document that came with the program: a path or name of the list, "
        "or an error code or alert for its runbook. An existing folder: write them all there."
    )
)
@click.argument("path", required=False)
@click.option("--list", "as_list", is_flag=True, help=translate("List the documents."))
def docs(path: str | None, as_list: bool) -> None:
    """Documents, example configuration, systemd unit."""
    if as_list or path is None:
        click.echo("\n".join(bundled.names()))
        return
    found = bundled.find(path)
    if found is not None:
        click.echo(found, nl=False)
    elif Path(path).is_dir():
        click.echo("\n".join(str(written) for written in bundled.write_to(Path(path))))
    else:
        text = mark("{path}: no such document; `sync-agent docs --list` lists them")
        raise click.UsageError(translate(text, path=path))


@commands.command(help=translate("Show the version."))
def version() -> None:
    """The version alone, for scripts."""
    click.echo(__version__)


@commands.command(hidden=True)
@click.pass_obj
def capture(config: Path) -> int:
    """Child of the supervisor."""
    _only_as_child()
    return app.capture(settings_of(config))


@commands.command(hidden=True)
@click.pass_obj
def publish(config: Path) -> int:
    """Child of the supervisor."""
    _only_as_child()
    return app.publish(settings_of(config))


def _only_as_child() -> None:
    if not app.is_child():
        raise click.UsageError(translate("This command is started by `sync-agent run`."))


def _of_status(error: click.ClickException) -> bool:
    """Whether `status` was called wrongly: a monitor must not take that for the agent's trouble."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return context is not None and context.command is status


def execute(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; errors go to stderr in the user's language."""
    teach_libraries()
    try:
        result = commands.main(list(arguments), prog_name="sync-agent", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return _EXIT_UNKNOWN if _of_status(error) else error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    # Unknown means halt, with a code systemd understands
    except Exception as problem:  # noqa: BLE001
        if isinstance(problem, OSError) and terminal.is_of_output(problem):
            return terminal.unwritten(problem)
        ours = problem if isinstance(problem, AgentError) else app.unexpected(problem)
        click.echo(ours.full_text(), err=True)
        return ours.exit_code
    return result if isinstance(result, int) else 0


def main() -> None:
    """Runs `sync-agent`.

    None of its processes ever leaves a core dump, which would hold rows and passwords.
    """
    setrlimit(RLIMIT_CORE, (0, 0))
    terminal.prepare()
    try:
        code = execute(sys.argv[1:])
    except BrokenPipeError:
        code = 1
    except SystemExit as ended:  # of click and rich, when nobody reads any more
        code = ended.code if isinstance(ended.code, int) else 1
    sys.exit(terminal.finish(code))
