"""What `sync-agent setup` does around its questions: the terminal, the files, and what follows."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from sqlalchemy import make_url

from agent.cli import app, bundled
from agent.cli.configured import DEFAULT_CONFIG
from agent.config import Settings
from agent.connectors.opening import setup_of
from agent.messages import mark, translate
from agent.setup.answers import read_answers
from agent.setup.dialogue import Dialogue
from agent.setup.interview import EXAMPLE, Interview, Outcome
from agent.setup.secrets import Secrets, is_filled
from agent.setup.writing import refuse_target, write


class Prompts:
    """See Terminal: click's prompts, which need nothing of a terminal but lines."""

    def show(self, what: object) -> None:
        """See Terminal.show."""
        if isinstance(what, str):
            app.console().out(what, highlight=False)
        else:
            app.console().print(what)

    def ask(self, text: str, default: str | None, *, hidden: bool) -> str:
        """See Terminal.ask."""
        answer: str = click.prompt(
            text, default=default, hide_input=hidden, show_default=bool(default)
        )
        return answer


def set_up(
    config: Path,
    answers_file: Path | None,
    options: Sequence[str],
    admin_url: str | None,
    load_settings: Callable[[], Settings],
    *,
    defaults: bool,
    overwrite: bool,
) -> int:
    """Asks, shows, writes, and checks; `load_settings` reads what was written.

    Returns 0 once the configuration is written, whatever is still to be done at the peers.
    """
    example = bundled.text(EXAMPLE)
    refuse_target(config, example, overwrite=overwrite)
    answers = read_answers(answers_file, options)
    dialogue = Dialogue(answers, Prompts(), interactive=sys.stdin.isatty(), defaults=defaults)

    with Secrets(config.absolute().parent, config.stem, overwrite=overwrite) as secrets:
        interview = Interview(dialogue, secrets, config, bundled.text, admin_url)
        outcome = interview.hold()
        text = translate(mark("Write {config}?"), config=config)
        if not dialogue.confirm("write", text, default=True):
            dialogue.show(translate(mark("Nothing was written.")))
            return 1
        _write(outcome, config, overwrite=overwrite)
    dialogue.show(translate(mark("Written: {paths}"), paths=", ".join(_paths(outcome))))

    settings = load_settings()
    app.init(settings, False, admin_url)
    dialogue.show("")
    app.check(settings, as_json=False, show_all=False)
    dialogue.show(_next(settings, config, admin_url))
    return 0


def _write(outcome: Outcome, config: Path, *, overwrite: bool) -> None:
    """Writes the files; one that came meanwhile is not replaced."""
    files = []
    for file in outcome.files:
        # What is there by now is still the example, as was seen before a question was asked
        example = file.path == config and config.exists()
        empty = file.secret and file.path.exists() and not is_filled(file.path)
        files.append(file._replace(replace=overwrite or example or empty))
    settings = outcome.settings
    write(files, [Path(settings.state_directory), settings.directory])


def _paths(outcome: Outcome) -> list[str]:
    return [str(file.path) for file in outcome.files]


def _next(settings: Settings, config: Path, admin_url: str | None) -> str:
    """Returns the sentence that says what to do next, with the command."""
    command = "sync-agent"
    if str(config) != DEFAULT_CONFIG:
        command += f" -c {shlex.quote(str(config))}"
    command += " init --apply"
    text = mark("Next: `{command}`, then `sync-agent check`, and start the service.")
    if admin_url is not None:
        # A password that was asked for is in it
        shown = make_url(admin_url).set(password=None).render_as_string()
        command += f" --as {shlex.quote(shown)}"
    elif setup_of(settings).administered:
        text = mark(
            "Next: let the owner of the business database run the statements of 1, then give "
            "`{command}`; or give it with `--as URL` of an administrator, and it runs them. Then "
            "`sync-agent check`, and start the service."
        )
    return "\n" + translate(text, command=command)
