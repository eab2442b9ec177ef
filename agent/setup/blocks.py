"""Writes `[[resource]]` blocks with comments, ready for a configuration file.

What somebody has to decide first is written as a comment as a whole, so that the file loads as it
is. Comments stand in English and Chinese, as in the example configuration: the same answers make
the same file, whoever gives them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.config.toml import toml_key, toml_value
from agent.connectors.discovery import FoundTable
from agent.findings import Finding
from agent.messages import mark, phrase, translate
from agent.setup.proposals import Proposal

_WIDTH = 110  # characters of a line, where a list can be broken
_LONGEST = 200  # characters of a comment's part that comes from the database

_UNITS = ("B", "kB", "MB", "GB", "TB")


def block(proposal: Proposal) -> str:
    """Returns the block of a table with a line end; a comment as a whole where it is not ready."""
    lines = ["[[resource]]", *_settings(proposal.settings)]
    head = [*_about(proposal.found), *_left_out(proposal)]
    if not proposal.ready:
        head += _undecided(proposal)
        lines = [f"# {line}" for line in lines]
    return "\n".join([*[f"# {line}" for line in head], *lines]) + "\n"


def both(message: str, **values: object) -> str:
    """Returns a message in English, then in Chinese."""
    english = translate(message, "en", **values)
    chinese = translate(message, "zh_CN", **values)
    return english if english == chinese else f"{english}  {chinese}"


def one_line(text: str) -> str:
    """Returns a text that may stand in a comment: one line, without what TOML forbids there."""
    visible = "".join([letter if letter.isprintable() else " " for letter in text])
    visible = " ".join(visible.split())
    return visible if len(visible) <= _LONGEST else f"{visible[: _LONGEST - 3]}..."


def size_text(size: int) -> str:
    """Returns a number of bytes as people read it, such as 3.2 MB."""
    amount = float(size)
    unit = 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount /= 1000
        unit += 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} B"


# ---- comments


def _about(found: FoundTable) -> Iterable[str]:
    """Yields what is known of the table."""
    if found.comment:
        yield one_line(f"{found.full_name}: {found.comment}")
    else:
        yield one_line(found.full_name)
    if found.key:
        key = ", ".join([one_line(name) for name in found.key])
        yield both(mark("Key: {key}"), key=key)


def _left_out(proposal: Proposal) -> Iterable[str]:
    """Yields which columns are not shared, and why."""
    if proposal.guessed:
        yield both(
            mark(
                "Left out, for they seem to hold personal data; add to columns what may be shared:"
            )
        )
    yield from _guessed_columns(proposal.found, proposal.guessed)
    for column in proposal.unread:
        name, declared = one_line(column.name), one_line(column.declared)
        yield both(
            mark("Left out, for the agent cannot read it: {name} ({type})"),
            name=name,
            type=declared,
        )


def _guessed_columns(found: FoundTable, guessed: Mapping[str, str]) -> Iterable[str]:
    comments = {column.name: column.comment for column in found.columns}
    for name, kind in guessed.items():
        comment = one_line(comments.get(name, ""))
        told = both(mark("{name}: {kind}"), name=one_line(name), kind=phrase(kind))
        yield f"  {told}  ({comment})" if comment else f"  {told}"


def _undecided(proposal: Proposal) -> Iterable[str]:
    """Yields why the block is a comment, and what to do."""
    for finding in proposal.obstacles:
        yield from _finding_lines(finding)
    if proposal.personal_key:
        yield both(
            mark(
                "Not shared yet: its key seems to hold personal data, and the key is in every "
                "event. Take away the # only if it may leave the unit:"
            )
        )
        yield from _guessed_columns(proposal.found, proposal.personal_key)


def _finding_lines(finding: Finding) -> Iterable[str]:
    yield f"{finding.code}: {one_line(finding.message)}"
    for line in finding.fix.splitlines():
        yield f"    {one_line(line)}"


# ---- settings


def _settings(settings: Mapping[str, Any]) -> Iterable[str]:
    """Yields the lines of the settings; tables with a heading of their own come last."""
    tables = {}
    for name, value in settings.items():
        if (isinstance(value, Mapping) and name in ("poll", "technical")) or name == "filter":
            tables[name] = value
        else:
            yield from setting(name, value)
    for name, value in tables.items():
        if name == "filter":
            for condition in value:
                yield from _table(f"[[resource.{name}]]", condition)
        else:
            yield from _table(f"[resource.{name}]", value)


def _table(heading: str, settings: Mapping[str, Any]) -> Iterable[str]:
    yield heading
    for name, value in settings.items():
        yield from setting(name, value)


def setting(name: str, value: object) -> list[str]:
    """Returns the lines of one setting; a long list has several."""
    line = f"{toml_key(name)} = {toml_value(value)}"
    if len(line) <= _WIDTH or not isinstance(value, list):
        return [line]
    return [f"{toml_key(name)} = [", *_wrapped([f"{toml_value(item)}," for item in value]), "]"]


def _wrapped(parts: Sequence[str]) -> Iterable[str]:
    line = "   "
    for part in parts:
        if len(line) + len(part) >= _WIDTH and line.strip():
            yield line
            line = "   "
        line += f" {part}"
    yield line
