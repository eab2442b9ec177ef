"""Brings the translation catalogues up to date with the code: `python -m tools.messages`.

New messages come untranslated.
"""

import ast
import re
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import click
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
LOCALE = ROOT / "agent" / "locale"
TEMPLATE = LOCALE / "sync_agent.pot"
CHINESE = LOCALE / "zh_CN" / "LC_MESSAGES" / "sync_agent.po"
KEYWORDS = ("mark", "translate", "phrase")
# Modules of click whose words a user of the command line can meet: help, usage errors
CLICK = ("core", "decorators", "exceptions", "formatting", "parser", "shell_completion", "types")
# Git knows the real one; a changing date would make every run a change
_DATE = datetime(2026, 1, 1, tzinfo=UTC)


def marked() -> dict[str, list[str]]:
    """Returns every literal in a call of `mark` or `translate` below agent/, with its files."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and _called(node.func) in KEYWORDS):
                continue
            for part in _literals(node.args[0]):
                name = path.relative_to(ROOT).as_posix()
                if name not in found[part]:
                    found[part].append(name)
    return found


def clicks() -> dict[str | tuple[str, str], list[str]]:
    """Returns every message of click, with the module it stands in.

    A pair is one message in singular and plural.
    """
    found: dict[str | tuple[str, str], list[str]] = defaultdict(list)
    for module in CLICK:
        source = Path(click.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call) or _called(node.func) not in ("_", "ngettext"):
                continue
            texts = [text for argument in node.args[:2] for text in _literals(argument)]
            if _called(node.func) == "ngettext":
                found[texts[0], texts[1]].append(f"click/{module}.py")
            elif texts:
                found[texts[0]].append(f"click/{module}.py")
    return found


def names(message: str) -> set[str]:
    """Returns the `{names}` of a message."""
    return set(re.findall(r"\{(\w+)(?:![rs])?\}", message))


def translated(message: Message) -> bool:
    """Tells whether a message has its text in the catalogue's language."""
    texts = message.string if isinstance(message.string, list | tuple) else [message.string]
    return all(texts) and not message.fuzzy


def catalogue(path: Path) -> Catalog:
    """Reads a catalogue file."""
    with path.open("rb") as file:
        return read_po(file)


def _called(function: ast.expr) -> str:
    return (
        function.id
        if isinstance(function, ast.Name)
        else function.attr
        if isinstance(function, ast.Attribute)
        else ""
    )


def _literals(argument: ast.expr) -> list[str]:
    """Returns a text, or both texts of `a if condition else b`."""
    if isinstance(argument, ast.IfExp):
        return _literals(argument.body) + _literals(argument.orelse)
    return (
        [argument.value]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        else []
    )


def _template() -> Catalog:
    template = Catalog(project="unit-sync-agent", charset="utf-8", creation_date=_DATE)
    ours = sorted(marked().items(), key=lambda item: (item[1], item[0]))
    theirs = sorted(clicks().items(), key=lambda item: (item[1], str(item[0])))
    for message, files in [*ours, *theirs]:
        template.add(
            message,
            locations=[(file, 0) for file in dict.fromkeys(files)],
            flags=["python-brace-format"] if names(str(message)) else [],
        )
    return template


def update() -> list[str]:
    """Writes template, catalogue and compiled catalogue.

    Returns the messages without a translation.
    """
    template = _template()
    chinese = catalogue(CHINESE) if CHINESE.exists() else Catalog(locale="zh_CN", charset="utf-8")
    chinese.update(template, no_fuzzy_matching=True)
    chinese.creation_date = chinese.revision_date = _DATE
    chinese.fuzzy = False
    for content in (template, chinese):
        content.project, content.version, content.msgid_bugs_address = (
            "unit-sync-agent",
            "0",
            "none",
        )
        content.last_translator, content.language_team, content.header_comment = (
            "none",
            "none",
            "# What users of the sync agent read.",
        )
    CHINESE.parent.mkdir(parents=True, exist_ok=True)
    for path, content in ((TEMPLATE, template), (CHINESE, chinese)):
        with path.open("wb") as file:
            write_po(file, content, width=0, ignore_obsolete=True, include_lineno=False)
    with CHINESE.with_suffix(".mo").open("wb") as file:
        write_mo(file, chinese)
    return [str(message.id) for message in chinese if message.id and not translated(message)]


if __name__ == "__main__":
    untranslated = update()
    for message in untranslated:
        sys.stdout.write(f"not translated: {message}\n")
    sys.exit(1 if untranslated else 0)
