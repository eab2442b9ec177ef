"""Tests that the documentation says what the code does, the same in both languages.

Every code, metric, statement and link in it exists.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.commands import commands
from agent.config import Settings, load
from agent.connectors.postgres.setup import statements
from agent.connectors.postgres.setup.subscription import subscription_of
from agent.errors import AgentError
from agent.front.schema import AgentTables
from agent.publish.topics import STATE_SETTINGS
from agent.service.metrics import Metrics
from agent.service.verdict import EXIT_CODES
from tools.site import anchor, documents

ROOT = Path(__file__).parent.parent
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
RUNBOOKS = (ROOT / "docs" / "OPERATIONS.md", ROOT / "docs" / "OPERATIONS.zh-CN.md")
# One page each to hand over
FOR_THE_DBA = (ROOT / "docs" / "for-the-dba.md", ROOT / "docs" / "for-the-dba.zh-CN.md")
FOR_THE_PLATFORM = (
    ROOT / "docs" / "for-the-platform.md",
    ROOT / "docs" / "for-the-platform.zh-CN.md",
)
PAIRS = (READMES, RUNBOOKS, FOR_THE_DBA, FOR_THE_PLATFORM)
PAGES = documents()
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
_FENCED = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each code block."""
    return _FENCED.findall(page.read_text(encoding="utf-8"))


def prose(page: Path) -> str:
    """Returns the page without its code blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    return [
        (len(level), text.strip())
        for level, text in re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)
    ]


def anchors(page: Path) -> set[str]:
    """Returns the headings' anchors as forges make them."""
    return {anchor(text) for _, text in headings(page)}


def error_codes(error: type[AgentError] = AgentError) -> set[str]:
    return {error.code}.union(
        *(
            error_codes(child)
            for child in error.__subclasses__()
            if child.__module__.startswith("agent.errors")
        )
    )


def first_table(page: Path, folder: Path) -> tuple[Settings, str]:
    """Returns the settings of a README's configuration, and its text."""
    (text,) = [text for language, text in blocks(page) if language == "toml"]
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return load(path), text


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.name)
def test_every_error_code_has_its_heading_and_no_other(page: Path) -> None:
    found = [
        text for level, text in headings(page) if level == 3 and re.fullmatch(r"[A-Z][A-Z_]+", text)
    ]
    assert sorted(found) == sorted(error_codes())


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.name)
def test_every_metric_is_explained_and_no_other(page: Path) -> None:
    families = [family.name for family in Metrics("tax", ["person"]).registry.collect()]
    ours = {name for name in families if name.startswith("agent_")}
    rows = re.findall(r"^\| `(agent_[a-z_]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.removesuffix("_total") for name in rows} == ours
    assert len(rows) == len(ours)


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.name)
def test_statements_are_those_of_init(page: Path, tmp_path: Path) -> None:
    settings, _ = first_table(READMES[0], tmp_path)
    text = page.read_text(encoding="utf-8")
    subscription = subscription_of(settings)
    for statement in (
        statements.role(settings.postgres.user),
        *statements.grants(subscription),
        statements.create_publication(subscription, generated=False),
    ):
        assert f"\n{statement};\n" in text
    assert statements.bypass_row_security(subscription) in text
    for key, value in STATE_SETTINGS.items():
        assert f"--config {key}={value}" in text


@pytest.mark.parametrize("page", FOR_THE_DBA, ids=lambda page: page.name)
def test_the_administrator_is_told_the_statements_of_init(page: Path, tmp_path: Path) -> None:
    """They are those that make what the agent needs, and those that take it away."""
    settings, _ = first_table(READMES[0], tmp_path)
    subscription = subscription_of(settings)
    text = page.read_text(encoding="utf-8")
    for statement in (
        statements.role(settings.postgres.user),
        *statements.grants(subscription),
        statements.create_publication(subscription, generated=False),
        statements.drop_slot(subscription.slot),
        statements.drop_publication(subscription.publication),
        *statements.drop_role(settings.postgres.user),
    ):
        assert f"\n{statement};\n" in text


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.name)
def test_every_command_is_explained(page: Path) -> None:
    explained = set(
        re.findall(r"^\| `sync-agent ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert explained == {
        name for name, command in commands.commands.items() if not command.hidden
    } - {"run"}


@pytest.mark.parametrize(
    "page", [*RUNBOOKS, ROOT / "docs" / "ARCHITECTURE.md"], ids=lambda page: page.name
)
def test_every_table_of_the_agent_is_named_and_no_other(page: Path) -> None:
    named = set(re.findall(r"\bsync_agent_agent_[a-z]+", page.read_text(encoding="utf-8")))
    assert named == set(AgentTables("agent").metadata.tables)


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_first_table_loads_and_has_ten_lines(page: Path, tmp_path: Path) -> None:
    settings, text = first_table(page, tmp_path)
    assert settings.postgres.slot == settings.postgres.publication == "sync_agent_agent"
    assert settings.topic(settings.resource[0]) == "unit.person"
    assert len(text.splitlines()) == 10


@pytest.mark.parametrize("pages", PAIRS, ids=lambda pages: pages[0].stem)
def test_both_languages_have_the_same_shape(pages: tuple[Path, Path]) -> None:
    english, chinese = pages
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    assert [language for language, _ in blocks(english)] == [
        language for language, _ in blocks(chinese)
    ]
    codes = [
        [text for _, text in headings(page) if re.fullmatch(r"[A-Z_]+", text)] for page in pages
    ]
    assert codes[0] == codes[1]
    assert len(re.findall(r"^(\||-|\d+\.) ", prose(english), re.MULTILINE)) == len(
        re.findall(r"^(\||-|\d+\.) ", prose(chinese), re.MULTILINE)
    )


def test_both_languages_have_the_same_commands() -> None:
    """Word for word, without comments."""
    for pages in PAIRS:
        shells = [
            [
                _commands(text)
                for language, text in blocks(page)
                if language in ("sh", "sql", "toml")
            ]
            for page in pages
        ]
        assert shells[0] == shells[1]


def _commands(text: str) -> list[str]:
    return [re.sub(r" *(# |-- ).*", "", line) for line in text.splitlines()]


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_every_point_of_the_promise_is_there(page: Path) -> None:
    assert re.findall(r"^- \*\*P(\d)\*\* ", page.read_text(encoding="utf-8"), re.MULTILINE) == list(
        "12345678"
    )


def test_both_languages_mark_the_same_points() -> None:
    marks = []
    for page, not_yet in zip(READMES, ("not yet", "尚未实现"), strict=True):
        points = re.findall(
            r"^- \*\*P\d\*\* (.*(?:\n  .*)*)", page.read_text(encoding="utf-8"), re.MULTILINE
        )
        marks.append([("✔" in point, not_yet in point.lower()) for point in points])
    assert marks[0] == marks[1]


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_two_commands_are_those_of_a_stranger(page: Path) -> None:
    named = [
        line.split()[1]
        for _, text in blocks(page)
        for line in text.splitlines()
        if line.startswith("make ")
    ]
    assert named == ["demo", "test"]


def test_every_target_named_in_the_docs_is_in_the_makefile() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for named in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE):
            assert named in TARGETS, f"{page.name} names make {named}"


def test_hooks_before_a_commit_are_those_of_make_lint() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    linted = re.findall(r"^\t\$\(VENV\)(/bin/.+)$", recipe, re.MULTILINE)

    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^ +entry: \.venv(/bin/.+)$", hooks, re.MULTILINE) == linted
    assert len(linted) == 4


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in _LINK.findall(prose(page)):
            if "://" not in link:
                yield page, link


@pytest.mark.parametrize(
    ("page", "link"), list(links()), ids=lambda part: part.name if isinstance(part, Path) else part
)
def test_every_link_leads_somewhere(page: Path, link: str) -> None:
    name, _, place = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    assert target.exists()
    if place:
        assert place in anchors(target)


def test_code_and_errors_point_to_pages_that_exist() -> None:
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for named in re.findall(r"docs/[A-Za-z/.-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / named).exists(), f"{path.name} names {named}"


def test_modules_named_in_the_docs_exist() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for named in re.findall(r"`((?:agent|tests)/[a-z_/]+(?:\.py)?)`", text):
            assert (ROOT / named).exists(), f"{page.name} names {named}"


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.name)
def test_what_monitors_are_told_is_explained(page: Path) -> None:
    """Exit code, level and codes of `status`, as `agent.service.verdict` has them."""
    source = (ROOT / "agent" / "service" / "verdict.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'Problem\(\s*"([A-Z_]+)"', source))
    rows = re.findall(
        r"^\| (\d) \|([^|]*)\|([^|]*)\|$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    told = {
        int(number): (level, named)
        for number, level, named in rows
        if "ok" in level or named.strip()
    }
    assert len(codes) >= 9
    assert codes <= set(re.findall(r"`([A-Z_]+)`", " ".join(named for _, named in told.values())))
    for word, number in EXIT_CODES.items():
        assert word in told[number][0]
