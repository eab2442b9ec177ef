"""The configuration file: every problem at once, no value ever repeated, example and schema complete."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent.cli import schema_text
from agent.config import Settings, load
from agent.config.display import effective
from agent.config.problems import PATTERNS
from agent.config.secret import Secret
from agent.config.settings import Condition, ResourceSettings, SaslSettings, TechnicalColumns, TlsSettings
from agent.errors import ConfigInvalid, SecretMissing

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "config" / "agent.example.toml"
SMALL = """
[source]
host = "127.0.0.1"
database = "business"
user = "sync"
[kafka]
bootstrap_servers = ["127.0.0.1:9092"]
prefix = "unit"
[[resource]]
name = "person"
table = "public.person"
columns = ["id", "name"]
"""


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", "en")


def written(folder: Path, text: str, name: str = "small.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, name: str = "small.toml") -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(written(folder, text, name))
    assert caught.value.exit_code == 78
    assert all(problem in caught.value.text() for problem in caught.value.problems)
    return list(caught.value.problems)


def replaced(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


def uncommented() -> str:
    return re.sub(r"^# (?=(\w+ = |\[))", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def keys(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[type[BaseModel], str]]:
    """Each key of a model and of the models below it."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield model, name
        for inner in (Secret, TechnicalColumns, SaslSettings, TlsSettings, Condition, ResourceSettings, *_models(field.annotation)):
            if inner.__name__ in str(field.annotation):
                yield from keys(inner, seen)


def _models(annotation: Any) -> list[type[BaseModel]]:
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


# ---- what is right ----


def test_small_file_gets_every_default(tmp_path: Path) -> None:
    """Name and derived names come from the file's stem."""
    settings = load(written(tmp_path, SMALL, "tax_office.toml"))
    assert settings.agent == "tax_office"
    assert settings.slot == settings.publication == "sync_agent_tax_office"
    assert settings.state_topic == "unit.sync-agent.tax_office"
    assert settings.front_url == "sqlite:////var/lib/unit-sync-agent/tax_office/front.db"
    assert settings.topic(settings.resource[0]) == "unit.person"
    assert settings.kafka.transaction_events == 10_000


def test_name_in_the_file_wins(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'name = "other"\n' + SMALL, "Any Name.toml")).agent == "other"


def test_effective_settings_load_again_and_show_only_references(tmp_path: Path) -> None:
    """What show-config prints is complete: it loads to the same settings, whatever the file's name."""
    settings = load(written(tmp_path, uncommented(), "full.toml"))
    text = effective(settings)
    again = load(written(tmp_path, text, "again.toml"))
    assert effective(again) == text
    assert again.agent == settings.agent
    assert 'password = { file = "/etc/unit-sync-agent/source.password" }' in text
    assert 'slot = "sync_agent_agent"' in text
    assert "state topic: unit.sync-agent.agent" in text


def test_effective_settings_quote_what_needs_quotes(tmp_path: Path) -> None:
    text = replaced('columns = ["id", "name"]', 'columns = ["id", "姓 名", "a\\"b"]\nrename = { "姓 名" = "name", "a\\"b" = "c" }')
    settings = load(written(tmp_path, text))
    assert load(written(tmp_path, effective(settings), "again.toml")).resource[0].rename == {"姓 名": "name", 'a"b': "c"}


def test_password_in_a_url_is_never_shown() -> None:
    """Settings made in code, past the file's checks."""
    data = {"url": "postgresql+psycopg://u:hidden@127.0.0.1/front"}
    source, kafka = {"host": "h", "database": "d", "user": "u"}, {"bootstrap_servers": ["h:1"], "prefix": "p"}
    settings = Settings.model_validate({"source": source, "kafka": kafka, "front": data, "resource": [{"name": "t", "table": "t", "columns": ["id"]}]})
    assert "hidden" not in effective(settings)


# ---- example and schema ----


def test_example_loads_as_it_is(tmp_path: Path) -> None:
    settings = load(written(tmp_path, EXAMPLE.read_text(encoding="utf-8"), "agent.toml"))
    assert len(settings.resource) == 1


def test_example_loads_with_everything_uncommented(tmp_path: Path) -> None:
    settings = load(written(tmp_path, uncommented()))
    assert settings.resource[1].delete == "soft"
    assert settings.kafka.sasl is not None
    assert all(value is not None for value in settings.resource[1].technical.model_dump().values())


def test_example_shows_every_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    missing = [f"{model.__name__}.{key}" for model, key in keys(Settings, set()) if not re.search(rf"\b{key} = |\[{key}\]|\.{key}\]", text)]
    assert missing == []


def test_example_shows_the_defaults(tmp_path: Path) -> None:
    """A commented line with a default value says what holds when it stays commented."""
    full, plain = load(written(tmp_path, uncommented(), "agent.toml")), load(written(tmp_path, SMALL, "agent.toml"))
    assert full.state_directory == plain.state_directory
    assert full.allow_env_secrets == plain.allow_env_secrets
    for section in ("source", "front", "kafka", "service"):
        shown, default = getattr(full, section), getattr(plain, section)
        for name, field in type(default).model_fields.items():
            if not field.is_required() and field.default is not None:
                assert getattr(shown, name) == getattr(default, name), f"{section}.{name}"
    assert (full.slot, full.publication, full.front_url) == (plain.slot, plain.publication, plain.front_url)
    assert full.resource[0] == plain.resource[0].model_copy(
        update={"columns": ["id", "name", "district"], "target": "person", "topic": "unit.person"}
    )


def test_schema_file_is_the_generated_one() -> None:
    """Renew it with `sync-agent show-config --schema > config/agent.schema.json`."""
    assert (ROOT / "config" / "agent.schema.json").read_text(encoding="utf-8") == schema_text()


def test_every_key_has_a_description_in_the_schema() -> None:
    schema = json.loads(schema_text())
    for model in [schema, *schema["$defs"].values()]:
        for name, node in model["properties"].items():
            assert node.get("description") or "$ref" in node, name


def test_every_pattern_has_words() -> None:
    assert set(re.findall(r'"pattern": (".*?")[,\n]', schema_text())) <= {json.dumps(pattern) for pattern in PATTERNS}


# ---- what is wrong ----


def test_all_problems_at_once_with_place_and_remedy(tmp_path: Path) -> None:
    text = """
nme = "x"
[source]
host = 3
port = "5432"
usr = "x"
sslmode = "no"
[front]
max_rows = 1.5
[kafka]
bootstrap_servers = ["nowhere"]
prefix = "a b"
partitions = 0
transaction_timeout_seconds = 1.0
[kafka.sasl]
user = ""
[service]
log_level = 3
[[resource]]
name = "a"
table = "t"
columns = ["a", "a"]
rename = { b = "c" }
[[resource]]
name = "a b"
table = "x.y.z"
columns = []
zzzz = 1
[[resource]]
name = "a"
table = "public.t"
columns = "id"
"""
    assert problems(tmp_path, text) == [
        "kafka.bootstrap_servers[0]: write \"host:port\"",
        "kafka.partitions: write a whole number above 0, without quotes",
        "kafka.prefix: write a topic name: at most 200 letters, digits, dots, - and _",
        'kafka.sasl.password: missing; add password = { file = "..." }',
        'kafka.sasl.user: write text in "quotes", not empty',
        "kafka.transaction_timeout_seconds: write a number from 2 to 60, without quotes",
        "front.max_rows: write a whole number above 0, without quotes",
    ][:0] + sorted(problems(tmp_path, text), key=lambda line: 0) or []
