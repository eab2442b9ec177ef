"""Asks for a whole first configuration, and shows what it would do before anything is written."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agent.config import Settings
from agent.config.drafts import ALONE, draft
from agent.config.loading import parsed
from agent.connectors.discovery import Discovery
from agent.errors import AgentError, AnswerWrong
from agent.messages import mark, translate
from agent.preflight.resources import compiled
from agent.setup.dialogue import Dialogue, Question, filled
from agent.setup.document import document
from agent.setup.mapping import type_mapping
from agent.setup.proposals import Proposal, fitted
from agent.setup.samples import sample_events
from agent.setup.secrets import Secrets
from agent.setup.sections import Sections
from agent.setup.tables import Tables, shareable
from agent.setup.writing import NewFile

_ASKED = ("source", "front", "kafka")
_KEPT = ("reconcile", "service")  # nobody is asked; what was given stays

# By kind of source: the example that has its settings
_EXAMPLES = {
    "mysql": "config/mysql.example.toml",
    "polling": "config/polling.example.toml",
    "trigger": "config/trigger.example.toml",
}
EXAMPLE = "config/agent.example.toml"


class Outcome(NamedTuple):
    """What the answers make: files, of which the configuration comes last."""

    files: Sequence[NewFile]
    settings: Settings


class Interview:
    """Asks for everything that a configuration needs, in the order of the way of the data."""

    def __init__(
        self,
        dialogue: Dialogue,
        secrets: Secrets,
        config: Path,
        example: Callable[[str], str],
        admin_url: str | None,
    ) -> None:
        """`example` returns the text of an example configuration by its name."""
        self._dialogue = dialogue
        self._secrets = secrets
        self._config = config
        self._example = example
        self._admin_url = admin_url
        self._data: dict[str, Any] = {}

    def hold(self) -> Outcome:
        """Returns what is to be written. Raises AnswerMissing, AnswerWrong, ConfigInvalid."""
        self._name()
        sections = Sections(self._dialogue, self._secrets, self._data, self._admin_url)
        discovery = sections.source()
        tables = self._tables(discovery)
        front_url = sections.front()
        sections.kafka()

        proposals = fitted(tables, front_url)
        settings = self._complete(proposals)
        self._show(discovery, settings, proposals)
        return Outcome(self._files(proposals), settings)

    def _name(self) -> None:
        """Takes what stands above the sections, and a name where the file's is none."""
        for name in (*ALONE, *_KEPT):
            given = self._dialogue.given(name)
            if given is not None:
                self._data[name] = given
        if "name" not in self._data and "name" not in parsed(self._config, ""):
            text = translate(mark("Name of the agent: lower-case letters, digits and _"))
            self._data["name"] = self._dialogue.ask(Question("name", text), filled)

    def _tables(self, discovery: Discovery) -> list[Proposal]:
        settings, problems = draft(self._secrets.live(self._data), ["source"])
        assert settings is not None, problems
        return Tables(self._dialogue, discovery, settings).choose()

    def _complete(self, proposals: Sequence[Proposal]) -> Settings:
        """Returns the settings of this run. Raises AnswerWrong for what was given and is wrong."""
        named = parsed(self._config, "") | self._secrets.live(self._data)
        resources = [dict(proposal.settings) for proposal in proposals]
        complete = {**named, "resource": resources}
        settings, problems = draft(complete, [*_ASKED, *_KEPT, "resource"])
        if settings is None:
            lines = dict.fromkeys([problem.line({}) for problem in problems])
            raise AnswerWrong(question="resource", reason="\n".join(["", *lines]))
        return settings

    # ---- what it would do

    def _show(
        self, discovery: Discovery, settings: Settings, proposals: Sequence[Proposal]
    ) -> None:
        """Shows how columns travel, and some events with their values masked."""
        tables = shareable(settings, proposals)
        try:
            resources = compiled(settings.resource, settings.kafka, tables)
            shown = type_mapping(settings, proposals, resources)
        except AgentError as cause:
            # `check` names it, too, and what to do; the file may be written all the same
            self._dialogue.show(cause.full_text())
            return
        for table in shown:
            self._dialogue.show(table)

        text = mark("Sample events of your own rows; values are masked here:")
        self._dialogue.show(translate(text))
        for sample in sample_events(discovery, proposals, resources):
            if sample.reason:
                self._dialogue.show(f"{sample.topic}: {sample.reason}")
            else:
                self._dialogue.show(f"{sample.topic} {sample.key}\n  {sample.value}")

    # ---- what is written

    def _files(self, proposals: Sequence[Proposal]) -> list[NewFile]:
        source = self._data["source"].get("type", "")
        text = document(
            self._example(EXAMPLE),
            self._example(_EXAMPLES.get(source, EXAMPLE)),
            self._data,
            proposals,
        )
        needed = _secret_files(self._data)
        files = []
        for path, password in self._secrets.typed.items():
            if str(path) in needed:
                files.append(NewFile(path, f"{password}\n", secret=True))
        return [*files, NewFile(self._config, text, secret=False)]


def _secret_files(data: Mapping[str, Any]) -> set[str]:
    """Returns the files of passwords that a configuration names."""
    found = set()
    for name, value in data.items():
        if not isinstance(value, Mapping):
            continue
        if name == "password" and isinstance(value.get("file"), str):
            found.add(value["file"])
        found |= _secret_files(value)
    return found
