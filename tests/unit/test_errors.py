"""Tests that the error tree is complete and distinct.

Each error can be shown in either language, also after it was stored.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import orjson
import pytest

from agent import errors
from agent.errors import AgentError, Directive, Halt, Retry, Suspend, stored
from agent.errors.unforeseen import OF_A_TABLE, SHARED


def tree(kind: type[AgentError] = AgentError) -> Iterator[type[AgentError]]:
    """Yields every class of the tree but AgentError itself."""
    for below in kind.__subclasses__():
        if below.__module__.startswith(errors.__name__):
            yield below
            yield from tree(below)


GROUPS = (Retry, Suspend, Halt)
LEAVES = [kind for kind in tree() if not kind.__subclasses__()]
every_error = pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)


def values(kind: type[AgentError]) -> dict[str, object]:
    """Returns a telling value for each name in the error's texts."""
    names = {
        name
        for text in (kind.summary, kind.hint)
        for _, name, _, _ in Formatter().parse(text)
        if name
    }
    return {
        name: f"<{name} 值 {{}}>"
        for name in (names | {"resource"} if issubclass(kind, Suspend) else names)
    }


def test_every_class_of_the_module_hangs_on_the_tree() -> None:
    """None is forgotten, and the module's docstring draws each."""
    defined = {
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, AgentError)
    }
    assert defined == {AgentError, *tree()}
    drawn = set(re.findall(r"\b[A-Z]\w+[a-z]\b", errors.__doc__ or ""))
    assert {kind.__name__ for kind in defined} <= drawn


def test_codes_are_unique_and_follow_the_name() -> None:
    """A code is found in the runbook by its class and the other way round."""
    codes = [kind.code for kind in LEAVES]
    assert len(codes) == len(set(codes))
    for kind in LEAVES:
        assert kind.code == re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()


@every_error
def test_each_error_has_its_own_text_and_a_directive(kind: type[AgentError]) -> None:
    """Own code, summary and hint; the directive and exit code of its group."""
    assert {"code", "summary", "hint"} <= vars(kind).keys()
    (group,) = [group for group in GROUPS if issubclass(kind, group)]
    assert (
        kind.directive
        == {Retry: Directive.RETRY, Suspend: Directive.SUSPEND, Halt: Directive.HALT}[group]
    )
    others: dict[type[AgentError], int] = {
        errors.AlreadyRunning: 75,
        errors.AnotherAgent: 75,
        errors.ServiceAway: 75,
        errors.RequestRefused: 1,
        errors.AnswerMissing: 2,
        errors.AnswerWrong: 2,
        errors.SetupRefused: 2,
    }
    assert kind.exit_code == others.get(kind, 78)


@every_error
@pytest.mark.parametrize("lang", ["en", "zh_CN"])
def test_text_and_advice_are_whole_in_both_languages(kind: type[AgentError], lang: str) -> None:
    """Every value stands in the text; no name is left unfilled; Chinese is Chinese."""
    given = values(kind)
    error = kind(**given)
    text, advice = error.text(lang), error.advice(lang)
    summary_names = {name for _, name, _, _ in Formatter().parse(kind.summary) if name}
    assert all(str(given[name]) in text for name in summary_names)
    assert not re.search(r"\{\w+\}", text + advice)
    assert bool(re.search("[\u4e00-\u9fff]", re.sub("<.*?>", "", text))) == (lang == "zh_CN")
    assert bool(re.search("[\u4e00-\u9fff]", re.sub("<.*?>", "", advice))) == (lang == "zh_CN")
    assert str(error) == f"{kind.code}: {error.text('en')}"


@every_error
def test_a_stored_error_is_rebuilt(kind: type[AgentError]) -> None:
    """From code and values, after a way through JSON: the same class, the same texts."""
    error = kind(**values(kind))
    again = stored(error.code, orjson.loads(orjson.dumps(error.values)))
    assert type(again) is kind
    assert (again.text("zh_CN"), again.advice("en")) == (error.text("zh_CN"), error.advice("en"))
    if isinstance(error, Suspend):
        assert isinstance(again, Suspend)
        assert again.resource == error.resource


def test_a_code_of_another_version_is_told_as_unknown() -> None:
    """Never an exception while an error is being told."""
    unknown = stored("FROM_THE_FUTURE", {"resource": "person", "x": 1})
    assert type(unknown) is AgentError
    assert unknown.directive == Directive.HALT
    assert "FROM_THE_FUTURE" in unknown.text("en")


def test_places_of_the_unforeseen_are_files_of_the_agent() -> None:
    """Moved files would turn an error of one table into the service's, or the other way round."""
    agent = Path(errors.__file__).parent.parent
    assert [place for place in (*SHARED, *OF_A_TABLE) if not (agent / place).exists()] == []


def test_waits_grow_within_bounds() -> None:
    """Connections are tried at least every 3 s.

    Refused logins are tried at most every 5 s and at least every minute; what comes again, about
    once a minute.
    """
    for kind in LEAVES:
        if issubclass(kind, Retry):
            assert 0 < kind.first_wait <= kind.longest_wait
            slow = kind in (errors.LoginRefused, errors.StreamUnreadable, errors.SlotGivenUp)
            assert kind.longest_wait == (60.0 if slow else 3.0)
    assert errors.LoginRefused.first_wait >= 5.0
