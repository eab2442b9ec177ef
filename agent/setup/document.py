"""Writes a whole configuration: the example, with the answers filled in at their places.

So every comment of the example stays beside its setting, and what was not asked can be found and
set later. That is why no library rewrites TOML here: a line of the example is replaced, or stays.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.messages import mark
from agent.setup.blocks import block, both, setting
from agent.setup.proposals import Proposal

_HEADING = re.compile(r"(?:# )?\[([a-z_.]+)\]$")
_SETTING = re.compile(r"(?:# )?([a-z_]+) = ")
_RESOURCES = re.compile(r"^# -{4}[^\n]*\n\[\[resource\]\]$", re.MULTILINE)
_SOURCE = re.compile(r"^\[source\]\n.*?(?=^\[|\n\n# -{4})", re.MULTILINE | re.DOTALL)


def document(
    example: str, source_example: str, data: Mapping[str, Any], proposals: Sequence[Proposal]
) -> str:
    """Returns the text of a configuration with these settings and these tables.

    `example` is the example configuration, `source_example` one that has the settings of this kind
    of source. `data` is the configuration without its tables.
    """
    resources = _RESOURCES.search(example)
    source = _SOURCE.search(source_example)
    assert resources is not None, "the example has tables"
    assert source is not None, "the example has a source"

    head = _SOURCE.sub(lambda _: source[0], example[: resources.start()])
    heading = resources[0].partition("\n")[0]
    written = both(
        mark(
            "Written by `sync-agent setup`. All that a table can have set: `sync-agent "
            "example-config`."
        )
    )
    text = "\n".join([f"# {written}", "#", *_filled(head.rstrip("\n").split("\n"), data)])
    blocks = "\n".join([block(proposal) for proposal in proposals])
    return f"{text}\n\n\n{heading}\n{blocks}"


def _filled(lines: Iterable[str], data: Mapping[str, Any]) -> list[str]:
    """Returns the lines of the example with each setting of `data` in its place."""
    sections = _sections(lines)
    names = {name for name, _ in sections}
    filled = []
    for name, section in sections:
        values = _section(data, name, names)
        filled += section if values is None and name else _filled_section(section, values or {})
    return filled


def _sections(lines: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Returns the lines by section; '' is what stands before the first heading."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        found = _HEADING.match(line)
        if found:
            sections.append((found[1], []))
        sections[-1][1].append(line)
    return sections


def _section(
    data: Mapping[str, Any], name: str, names: Iterable[str]
) -> Mapping[str, object] | None:
    """Returns the settings of a section, without those that have one of their own; None: none."""
    found: Any = data
    path = name.split(".") if name else []
    for step in path:
        found = found.get(step)
        if found is None:
            return None
    inner = {".".join([*path, key]) for key in found} & set(names)
    return {key: value for key, value in found.items() if ".".join([*path, key]) not in inner}


def _filled_section(lines: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Returns the lines of a section that is there; what the example does not show comes last."""
    left = dict(values)
    filled: list[str] = []
    last = 0
    for line in lines:
        found = _SETTING.match(line)
        if _HEADING.match(line):
            filled.append(line.removeprefix("# "))
        elif found is None:
            filled.append(line)
            continue
        elif found[1] in left:
            filled += setting(found[1], left.pop(found[1]))
        else:
            filled.append(line if line.startswith("# ") else f"# {line}")
        last = len(filled)

    more = []
    for name, value in left.items():
        more += setting(name, value)
    return [*filled[:last], *more, *filled[last:]]
