"""Translations: complete, with the same names to fill in, and found by the user's locale."""

import pytest

from agent import messages
from agent.errors import AgentError, SlotMissing
from tests.messages import CHINESE, TEMPLATE, catalogue, clicks, marked, names, translated


def test_every_marked_message_has_a_chinese_translation() -> None:
    """`python -m tests.messages` brings the catalogue up to date and lists what is not translated."""
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
        str(error)
        == "SLOT_MISSING: The replication slot sync_agent_tax does not exist on the business database"
    )
    assert messages.translate("not in the catalogue {x}", "zh_CN", x=1) == "not in the catalogue 1"
