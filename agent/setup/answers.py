"""Answers that were given beforehand: a file in the form of a configuration, and options.

The file may have any setting. Beside them stand `tables`, the patterns of the tables to share, and
`choose`, which of those.
"""

import copy
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.config.loading import read_file
from agent.errors import AnswerWrong
from agent.messages import phrase

KNOWN = (
    "name",
    "state_directory",
    "allow_env_secrets",
    "source",
    "front",
    "kafka",
    "reconcile",
    "service",
    "resource",
    "tables",
    "choose",
)


class Answers:
    """Answers by dotted place, such as source.host."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        """Raises AnswerWrong for a place that no question and no setting has."""
        self._data = copy.deepcopy(dict(data))
        for name in self._data:
            if name not in KNOWN:
                reason = phrase("unknown; possible here: {known}", known=", ".join(KNOWN))
                raise AnswerWrong(question=name, reason=reason)

    def at(self, place: str) -> Any:
        """Returns the answer at a place; None where there is none."""
        found: Any = self._data
        for step in place.split("."):
            if not isinstance(found, Mapping) or step not in found:
                return None
            found = found[step]
        return found

    def section(self, place: str) -> dict[str, Any]:
        """Returns everything below a place that is a section; {} where there is nothing.

        Raises AnswerWrong for something else.
        """
        found = self.at(place)
        if found is None or found is False:
            return {}
        if not isinstance(found, Mapping):
            raise AnswerWrong(question=place, reason=phrase("write a table of settings"))
        return copy.deepcopy(dict(found))

    def resources(self) -> list[dict[str, Any]]:
        """Returns the tables that were given. Raises AnswerWrong for something else."""
        found = self.at("resource")
        if found is None:
            return []
        if not isinstance(found, list) or not all(_is_resource(one) for one in found):
            reason = phrase("write [[resource]] with a table each")
            raise AnswerWrong(question="resource", reason=reason)
        return [copy.deepcopy(dict(one)) for one in found]


def read_answers(file: Path | None, options: Iterable[str]) -> Answers:
    """Reads the file of answers, and what options say: place=value, which counts first.

    Raises ConfigInvalid for a file that cannot be read, AnswerWrong.
    """
    data: dict[str, Any] = {}
    if file is not None:
        data = read_file(file)
        # The name of that file is not the agent's
        if data.get("name") == file.stem:
            del data["name"]
    for option in options:
        _put(data, option)
    return Answers(data)


def _put(data: dict[str, Any], option: str) -> None:
    place, equals, text = option.partition("=")
    if not equals or not place:
        raise AnswerWrong(question=option, reason=phrase("write place=value"))
    *path, name = place.strip().split(".")
    section = data
    for step in path:
        inner = section.setdefault(step, {})
        if not isinstance(inner, dict):
            raise AnswerWrong(question=place, reason=_no_section(step))
        section = inner
    section[name] = _value(text.strip())


def _no_section(step: str) -> str:
    """Says that a part of a place holds a value."""
    return phrase("{step} has a value and no settings below it", step=step)


def _value(text: str) -> Any:
    """Returns a value as TOML has it; whatever is none is a text."""
    try:
        found = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return found["v"] if len(found) == 1 else text


def _is_resource(one: object) -> bool:
    return isinstance(one, Mapping) and isinstance(one.get("table"), str)
