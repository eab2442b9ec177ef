"""Tests that the written configuration loads, says what was answered, and keeps the comments."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.loading import judged
from agent.connectors.discovery import FoundTable
from agent.setup.document import document
from agent.setup.proposals import Proposals, fitted
from tests.setup.found import column, found, tables

CONFIG = Path(__file__).parent.parent.parent / "config"
KINDS = {"postgresql": "agent", "polling": "polling", "trigger": "trigger"}
FRONTS = ("", "postgresql+psycopg://u@h/db", "mariadb+pymysql://u@h/db")
PERSON = found("person", [column("id"), column("name")], ["id"])

# What a terminal may send: any characters but halves of pairs
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
passwords = st.sampled_from([None, "file", "credential"])


def example(name: str) -> str:
    return (CONFIG / f"{name}.example.toml").read_text(encoding="utf-8")


def written(data: dict[str, Any], listed: list[FoundTable]) -> str:
    kind = data["source"].get("type", "postgresql")
    proposals = Proposals(polled=kind == "polling")
    made = fitted([proposals.of(table) for table in listed], data.get("front", {}).get("url", ""))
    return document(example("agent"), example(KINDS[kind]), data, made)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Draws the settings of a configuration without its tables."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    source: dict[str, Any] = {"type": kind, "url": "sqlite:////d.db"}
    if kind == "postgresql":
        source = {"host": draw(words), "database": draw(words), "user": draw(words)}
        if draw(st.booleans()):
            source["sslmode"] = "verify-full"
            source["sslrootcert"] = draw(words)
    elif draw(st.booleans()):
        source["statement_seconds"] = draw(st.floats(0.5, 100))

    data: dict[str, Any] = {"source": source}
    place = draw(passwords)
    if place:
        source["password"] = {place: draw(words)}
    url = draw(st.sampled_from(FRONTS))
    if url:
        data["front"] = {"url": url}
    data["kafka"] = {"bootstrap_servers": ["k1:9092", "k2:9092"], "prefix": "310105"}
    if draw(st.booleans()):
        data["kafka"]["tls"] = draw(st.sampled_from([{}, {"ca_file": "/ca.pem"}]))
    if draw(st.booleans()):
        data["kafka"]["sasl"] = {"user": draw(words), "password": {"file": draw(words)}}
    if draw(st.booleans()):
        data["reconcile"] = {"max_delete_share": draw(st.floats(0, 1))}
    if draw(st.booleans()):
        data["state_directory"] = draw(words)
    return data


@given(answers(), tables())
def test_any_answers_make_a_configuration_that_says_them(
    data: dict[str, Any], listed: list[FoundTable]
) -> None:
    text = written(data, [*listed, PERSON])
    loaded = tomllib.loads(text)
    resources = loaded.pop("resource")
    # Sections that the example has always, though nothing be set there
    assert {name: value for name, value in loaded.items() if value != {}} == data
    assert "person" in [resource["table"].rpartition(".")[2] for resource in resources]

    settings, problems = judged({"name": "agent", **loaded, "resource": resources})
    assert problems == []
    assert settings is not None


@given(answers())
def test_the_same_answers_make_the_same_file(data: dict[str, Any]) -> None:
    assert written(data, [PERSON]) == written(data, [PERSON])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_comment_of_the_example_stays(kind: str) -> None:
    """What is a setting in the example is one here, set or not, under the same comment."""
    source = {"host": "h", "database": "d", "user": "u"}
    if kind != "postgresql":
        source = {"type": kind, "url": "sqlite:////d.db"}
    text = written({"source": source, "kafka": {"bootstrap_servers": ["k:1"], "prefix": "p"}}, [])
    lines = text.splitlines()
    head = example("agent").partition("# ---- The shared tables")[0]
    if kind == "postgresql":
        missing = [line for line in head.splitlines() if prose(line) and line not in lines]
        assert missing == []
    else:
        body = example(kind).partition("\n[source]\n")[2].partition("\n[kafka]\n")[0]
        assert [line for line in body.splitlines() if prose(line) and line not in lines] == []
    # A password that nobody has named is no setting
    assert '# password = { file = "/etc/unit-sync-agent/source.password" }' in lines


def prose(line: str) -> bool:
    return line.startswith("#") and " = " not in line


def test_the_file_does_not_hang_on_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {
        "source": {"host": "h", "database": "d", "user": "u"},
        "kafka": {"bootstrap_servers": ["k:1"], "prefix": "p"},
    }
    listed = [found("person", [column("id"), column("phone", "手机号")], ["id"])]
    texts = set()
    for language in ("en", "zh_CN"):
        monkeypatch.setenv("SYNC_AGENT_LANG", language)
        texts.add(written(data, listed))
    (text,) = texts
    assert "phone number" in text
    assert "电话号码" in text
