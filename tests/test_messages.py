"""Translations: complete, with the same names to fill in, and found by the user's locale."""

import ast
import json
import re
from pathlib import Path

import pytest

from agent import errors, messages
from agent.errors import AgentError, FrontTableWrong, SlotMissing, TopicLost, stored
from agent.messages import mark, phrase
from tools.messages import CHINESE, TEMPLATE, catalogue, clicks, marked, names, translated


def test_every_marked_message_has_a_chinese_translation() -> None:
    """Reads the catalogue.

    `python -m tools.messages` brings it up to date and lists what is not translated.
    """
    done = {message.id for message in catalogue(CHINESE) if message.id and translated(message)}
    assert [message for message in (*marked(), *clicks()) if message not in done] == []


def test_catalogues_hold_no_message_the_code_does_not_have() -> None:
    for path in (CHINESE, TEMPLATE):
        found = {message.id for message in catalogue(path) if message.id}
        assert found == {*marked(), *clicks()}


def test_translations_keep_the_names_to_fill_in() -> None:
    for message in catalogue(CHINESE):
        if message.id and message.string:
            several = isinstance(message.id, tuple)  # singular and plural: each may have its names
            wanted, told = names(str(message.id)), names(str(message.string))
            assert told <= wanted if several else told == wanted, message.id


def test_every_error_is_translated() -> None:
    """Summary and hint of the whole tree are marked."""
    known, errors = set(marked()), [AgentError]
    while errors:
        error = errors.pop()
        errors += error.__subclasses__()
        if error.__module__ == "agent.errors":
            assert {error.summary, error.hint} <= known, error


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "SYNC_AGENT_LANG": "en"}, "en"),
    ],
)
def test_language_comes_from_the_environment(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SYNC_AGENT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert messages.language() == expected


def test_errors_speak_chinese_to_users_and_english_in_logs() -> None:
    """The compiled catalogue is in place; values are filled in."""
    error = SlotMissing(slot="sync_agent_tax", position="0/1")
    assert error.text("zh_CN") == "业务库上不存在复制槽 sync_agent_tax"
    assert error.advice("zh_CN").startswith("0/1 之后的变更可能已丢失")
    assert (
        str(error) == "SLOT_MISSING: The replication slot sync_agent_tax does not exist "
        "on the business database"
    )
    assert messages.translate("not in the catalogue {x}", "zh_CN", x=1) == "not in the catalogue 1"


# ---- reasons: sentences within the sentences of errors ----

ROOT = Path(__file__).parent.parent
_TWINS = {
    "agent/connectors/memory.py",
    "agent/connectors/memory_states.py",
    "agent/front/memory.py",
    "agent/publish/memory.py",
}
# Errors whose values are told to users; INTERNAL's `detail` is for developers and stays English
_KINDS = {name for name in errors.__all__ if name[0].isupper()} - {"AgentError"}
_HELPERS = {"_wrong", "wrong", "changed", "_forked", "Unfit"}  # which make one of them of a reason
_WORD = re.compile(r"\b[a-z]{2,}\b")


def _bare(node: ast.expr) -> list[str]:
    """Returns the texts of an expression that no call encloses; of an f-string its fixed parts."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
        return [" ".join(map(str, parts))]
    if isinstance(node, ast.IfExp):
        return _bare(node.body) + _bare(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _bare(value)]
    return []


def test_a_reason_that_is_a_sentence_is_a_phrase() -> None:
    """A reason that fails here must become a phrase.

    Write reason=phrase("column {column} is missing", column=name), then run `python -m
    tools.messages`.
    """
    found = []
    for path in sorted((ROOT / "agent").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name in _TWINS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            called = getattr(function, "id", getattr(function, "attr", ""))
            values = [keyword.value for keyword in node.keywords] if called in _KINDS else []
            values += node.args if called in _HELPERS else []
            texts = [text for value in values for text in _bare(value)]
            found += [
                f"{name}:{node.lineno} {called}: {text}"
                for text in texts
                if len(_WORD.findall(text)) > 1
            ]
    assert found == []


def test_a_reason_is_told_in_the_language_of_its_error() -> None:
    """A reason is English in logs and Chinese on the terminal.

    It is also when both were stored as JSON between, in the front end or in Kafka's state record.
    """
    reason = phrase(
        "column {name} is {declared}, narrower than the source's {wanted}",
        name="n",
        declared="int4",
        wanted="int8",
    )
    error = FrontTableWrong(resource="person", table="person", reason=reason)
    again = stored(error.code, json.loads(json.dumps(error.plain_values())))
    for one in (error, again):
        assert str(one) == (
            "FRONT_TABLE_WRONG: Front-end table person: "
            "column n is int4, narrower than the source's int8"
        )
        assert one.text("zh_CN") == "前置库表 person：列 n 为 int4，比源表的 int8 窄"
    assert error.values["reason"] == "column n is int4, narrower than the source's int8"


def test_phrases_within_phrases() -> None:
    fault = phrase("is longer than {count} bytes", count=63)
    reason = phrase(mark("the name {name} {fault}; set target or rename"), name="长", fault=fault)
    told = messages.recalled(json.loads(json.dumps(messages.plain(reason))))
    assert told == reason == "the name 长 is longer than 63 bytes; set target or rename"
    assert messages.translate("{it}", "zh_CN", it=told).startswith("名称 长 ")


def test_reasons_stored_before_they_were_phrases_are_still_told() -> None:
    """A front end or a state record that 0.1.0 has written."""
    lost = stored("TOPIC_LOST", {"resource": "r", "topic": "t", "reason": "it was deleted"})
    assert isinstance(lost, TopicLost)
    assert lost.text("en").endswith("it was deleted")
