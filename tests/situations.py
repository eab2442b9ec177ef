"""Tests situations in which something is wrong, and what every place must say of each.

These places are the commands in both languages, the service, the log and the runbook.

A table of rows like this one is a test. `bring` makes the trouble and leaves on the stack what ends
it:

    KAFKA_AWAY = Situation(
        "Kafka is away", "KAFKA_UNREACHABLE", bring=stop_the_broker, stage="publish",
        commands={
            "status": Told(2, "Kafka at", "无法连接"),
            "check": Told(78, "does not answer", "未应答"),
        },
    )

    @pytest.mark.parametrize("situation", ROWS, ids=str)
    def test_every_place_says_what_is_wrong(situation: Situation, place: Installation) -> None:
        assert_shown(situation, place)
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.error import HTTPError
from urllib.request import urlopen

from agent.cli.commands import execute
from tests.agent_process import SLOW_START, Agent, Installation, Stage
from tests.services.processes import HOST
from tests.waiting import eventually

LANGUAGES = ("en", "zh_CN")
RUNBOOKS = tuple(
    Path(__file__).parent.parent / "docs" / name
    for name in ("OPERATIONS.md", "OPERATIONS.zh-CN.md")
)


class Told(NamedTuple):
    """What a command must say: its exit code, and words of its output in each language."""

    exit_code: int
    en: str
    zh_cn: str
    code: str | None = ""  # '' stands for the situation's own, None for none

    def words(self, language: str) -> str:
        """Returns the words in that language."""
        return self.en if language == "en" else self.zh_cn


@dataclass(frozen=True)
class Situation:
    """One thing that is wrong, how it is brought about, and what must be said of it."""

    name: str
    code: str  # of the agent's error tree, with a heading in both runbooks
    bring: Callable[[Installation, ExitStack], object]
    commands: Mapping[str, Told] = field(default_factory=dict)  # by command line, e.g. "init"
    stage: Stage | None = None  # which stage of the service stands; None: no service is started
    while_running: bool = False  # it is brought about when the service is well, not before
    ends: int | None = None  # the service's exit code, where it does not try again
    recovers: bool = False  # within seconds, once the stack has been unwound

    def __str__(self) -> str:
        """Returns the name, as pytest shows it."""
        return self.name


class Answer(NamedTuple):
    """What a command has answered."""

    exit_code: int
    text: str  # of both streams


def changed(
    place: Installation, stack: ExitStack, sections: Mapping[str, Mapping[str, object]]
) -> None:
    """Gives an installation other settings in whole sections, until the stack ends."""
    before = place.sections
    place.sections = {**before, **sections}
    place.write_config()

    def back() -> None:
        place.sections = before
        place.write_config()

    stack.callback(back)


def ask(config: Path, language: str, *arguments: str) -> Answer:
    """Gives a command in this process, as a user of that language does."""
    with mock.patch.dict(os.environ, SYNC_AGENT_LANG=language), StringIO() as said:
        with redirect_stdout(said), redirect_stderr(said):
            code = execute(["-c", str(config), *arguments])
        return Answer(code, said.getvalue())


def assert_shown(situation: Situation, place: Installation) -> None:
    """Brings the situation about at an agent that has been installed, and looks everywhere."""
    assert_in_runbooks(situation.code)
    with ExitStack() as stack:
        if situation.stage is None:
            situation.bring(place, stack)
            assert_commands(situation, place)
            return
        begun = len(place.log.read_text(encoding="utf-8")) if place.log.exists() else 0
        with _service(situation, place, stack) as agent:
            if situation.ends is not None:
                assert agent.wait() == situation.ends, agent.log[-3000:]
                assert_log(situation, situation.stage, agent.log[begun:])
                assert_commands(situation, place)
                return
            since = assert_stage(situation, situation.stage, place)
            assert_log(situation, situation.stage, agent.log[begun:])
            assert_commands(situation, place)
            again = assert_stage(situation, situation.stage, place)
            assert again == since, "it was shown as well in between"
            if situation.recovers:
                stack.close()
                agent.wait_ready()
                assert (
                    f"stage_well stage={situation.stage} code={situation.code} "
                    in agent.log[begun:]
                )


@contextmanager
def _service(situation: Situation, place: Installation, stack: ExitStack) -> Iterator[Agent]:
    """Yields the service of the situation, however it is by now."""
    if not situation.while_running:
        situation.bring(place, stack)
    with place.start(covered=True) as agent:
        if situation.while_running:
            agent.wait_ready()
            situation.bring(place, stack)
        yield agent


def assert_commands(situation: Situation, place: Installation) -> None:
    """Each command says the code, the words of its language, and what to do next."""
    for line, told in situation.commands.items():
        for language in LANGUAGES:
            answer = ask(place.config, language, *line.split())
            where = f"{line} ({language}): {answer}"
            assert answer.exit_code == told.exit_code, where
            code = situation.code if told.code == "" else told.code
            assert code is None or f"{code}: " in answer.text, where
            assert told.words(language) in answer.text, where


def assert_stage(situation: Situation, stage: Stage, place: Installation) -> str:
    """Asserts that /-/ready and the metrics name the stage's error, since when, and how often.

    Returns since when it fails.
    """
    failing = eventually(
        lambda: _failing(place, stage, situation.code),
        SLOW_START,
        f"/-/ready says {situation.code}",
    )
    assert failing is not None
    assert failing["attempts"] >= 1
    assert failing["reason"]
    assert failing["hint"]
    page = eventually(
        lambda: metrics_with(place, f',code="{situation.code}"'),
        what="the metrics name the code",
    )
    assert page is not None
    assert re.search(rf'^agent_stage_error_info{{.*stage="{stage}"}} 1\.0$', page, re.MULTILINE)
    assert re.search(
        rf'^agent_stage_failing_since_timestamp_seconds{{.*stage="{stage}"}} [1-9]',
        page,
        re.MULTILINE,
    )
    return str(failing["since"])


def ready(place: Installation) -> tuple[int, dict[str, Any]]:
    """Status and content of /-/ready."""
    try:
        with urlopen(f"http://{HOST}:{place.listen}/-/ready", timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def _failing(place: Installation, stage: Stage, code: str) -> dict[str, Any] | None:
    status, answer = ready(place)
    found = answer["stages"][stage]
    return found if (status, found["ok"], found["code"]) == (503, False, code) else None


def metrics_with(place: Installation, part: str) -> str | None:
    """Returns the page of the metrics; None as long as it does not hold that part."""
    with urlopen(f"http://{HOST}:{place.listen}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    assert isinstance(page, str)
    return page if part in page else None


def assert_log(situation: Situation, stage: Stage, log: str) -> None:
    """Asserts that the log names stage and code at the first attempt, with the next step.

    The log must not repeat itself.
    """
    lines = [
        line
        for line in log.splitlines()
        if f"stage={stage} code={situation.code} " in line and " error=" in line
    ]
    assert len(lines) == 1, log[-3000:]
    assert " next=" in lines[0]


def assert_in_runbooks(code: str) -> None:
    """Both runbooks have a heading for the code."""
    for page in RUNBOOKS:
        assert f"\n### {code}\n" in page.read_text(encoding="utf-8"), page.name
