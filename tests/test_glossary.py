"""Tests that one thing has one name.

Chinese messages and pages use the words of docs/GLOSSARY.md and no others.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.messages import CHINESE, catalogue

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "GLOSSARY.md"
PAGES = [
    *sorted(ROOT.glob("*.zh-CN.md")),
    *sorted((ROOT / "docs").rglob("*.zh-CN.md")),
    ROOT / "config" / "agent.example.toml",
    *sorted((ROOT / "tests" / "demo").glob("*.py")),
]


def rows(heading: str) -> list[list[str]]:
    """Returns the cells of the table below a heading of the glossary."""
    text = GLOSSARY.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


UNUSED = [(no, but, [*filter(None, others.split("、"))]) for no, but, others in rows("not used")]


def wrong(text: str) -> list[str]:
    """Returns each name of a text that is not used, with the one that is and its surroundings."""
    found = []
    for no, but, others in UNUSED:
        # Where the right name holds the wrong one, only what is left counts
        rest = text
        for allowed in (but, *others):
            rest = rest.replace(allowed, " " * len(allowed))
        for match in re.finditer(re.escape(no), rest):
            place = text[max(0, match.start() - 15) : match.end() + 15]
            found.append(f"{no} -> {but}: {' '.join(place.split())}")
    return found


def messages() -> Iterator[tuple[str, str]]:
    """English and Chinese of each message."""
    for message in catalogue(CHINESE):
        if message.id and isinstance(message.id, str):
            yield message.id, str(message.string)


def test_the_table_says_something() -> None:
    assert len(UNUSED) > 10
    assert wrong("本代理把数据写入前置表") == [
        "代理 -> 同步代理: 本代理把数据写入前置表",
        "前置表 -> 前置库表: 本代理把数据写入前置表",
    ]
    assert wrong("同步代理经中间代理写入前置库表") == []


def test_messages_use_the_names_of_the_glossary() -> None:
    assert [fault for _, chinese in messages() for fault in wrong(chinese)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_names_of_the_glossary(page: Path) -> None:
    assert wrong(page.read_text(encoding="utf-8")) == []


def test_words_of_the_glossary_are_translated_as_it_says() -> None:
    """A message that is a term alone, such as the state `live`."""
    terms: dict[str, set[str]] = {}
    for cells in rows("# Glossary"):
        english, chinese = re.split(r"[,/] ?", cells[0]), re.split(r"[、/] ?", cells[1])
        for position, word in enumerate(english):
            paired = chinese[position] if len(chinese) == len(english) else cells[1]
            terms.setdefault(word.strip().lower(), set()).add(re.sub("（.*?）", "", paired).strip())
    known = dict(messages())
    checked = {term for term in terms if term in known}
    assert {"live", "copying", "suspended", "missing", "different", "extra"} <= checked
    assert {term: known[term] for term in checked if known[term] not in terms[term]} == {}
