"""Tests the configuration file: every problem at once, and no value ever repeated.

Example and schema are complete.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from agent.config import Settings, load
from agent.config.display import effective, schema_text
from agent.config.polling import PollingSettings
from agent.config.problems import PATTERNS
from agent.config.secret import Secret
from agent.errors import ConfigInvalid, SecretMissing

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "config" / "agent.example.toml"
POLLING = ROOT / "config" / "polling.example.toml"
TRIGGER = ROOT / "config" / "trigger.example.toml"
MYSQL = ROOT / "config" / "mysql.example.toml"
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


POLLED = """
[source]
type = "polling"
url = "sqlite:////var/lib/business.db"
[kafka]
bootstrap_servers = ["127.0.0.1:9092"]
prefix = "unit"
[[resource]]
name = "person"
table = "person"
columns = ["id", "name"]
poll = { mode = "timestamp", column = "changed" }
"""


def uncommented(example: Path = EXAMPLE) -> str:
    return re.sub(
        r"^# (?=(\w+ = |\[))", "", example.read_text(encoding="utf-8"), flags=re.MULTILINE
    )


def keys(
    model: type[BaseModel], seen: set[type[BaseModel]]
) -> Iterator[tuple[type[BaseModel], str]]:
    """Yields each key of a model and of the models below it."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield model, name
        for inner in models(field.annotation):
            yield from keys(inner, seen)


def models(annotation: Any) -> list[type[BaseModel]]:
    """Returns the models in an annotation, also inside lists, unions and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


# ---- what is right ----


def test_small_file_gets_every_default(tmp_path: Path) -> None:
    """Name and derived names come from the file's stem."""
    settings = load(written(tmp_path, SMALL, "tax_office.toml"))
    assert settings.agent == "tax_office"
    assert settings.postgres.slot == settings.postgres.publication == "sync_agent_tax_office"
    assert settings.state_topic == "unit.sync-agent.tax_office"
    assert settings.front.url == "sqlite:////var/lib/unit-sync-agent/tax_office/front.db"
    assert settings.front.folder == Path("/var/lib/unit-sync-agent/tax_office")
    assert settings.topic(settings.resource[0]) == "unit.person"
    assert settings.kafka.transaction_events == 10_000


def test_name_in_the_file_wins(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'name = "other"\n' + SMALL, "Any Name.toml")).agent == "other"


def test_effective_settings_load_again_and_show_only_references(tmp_path: Path) -> None:
    """What show-config prints is complete.

    It loads to the same settings, whatever the file's name.
    """
    settings = load(written(tmp_path, uncommented(), "full.toml"))
    text = effective(settings)
    again = load(written(tmp_path, text, "again.toml"))
    assert effective(again) == text
    assert again.agent == settings.agent
    assert 'password = { file = "/etc/unit-sync-agent/source.password" }' in text
    assert 'slot = "sync_agent_agent"' in text
    assert "state topic: unit.sync-agent.agent" in text


def test_effective_settings_quote_what_needs_quotes(tmp_path: Path) -> None:
    text = replaced(
        'columns = ["id", "name"]',
        'columns = ["id", "姓 名", "a\\"b"]\nrename = { "姓 名" = "name", "a\\"b" = "c" }',
    )
    settings = load(written(tmp_path, text))
    assert load(written(tmp_path, effective(settings), "again.toml")).resource[0].rename == {
        "姓 名": "name",
        'a"b': "c",
    }


def test_password_in_a_url_is_never_shown() -> None:
    """Settings made in code, past the file's checks."""
    data = {"url": "postgresql+psycopg://u:hidden@127.0.0.1/front"}
    source, kafka = (
        {"host": "h", "database": "d", "user": "u"},
        {"bootstrap_servers": ["h:1"], "prefix": "p"},
    )
    settings = Settings.model_validate(
        {
            "source": source,
            "kafka": kafka,
            "front": data,
            "resource": [{"name": "t", "table": "t", "columns": ["id"]}],
        }
    )
    assert "hidden" not in effective(settings)


def test_a_client_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it is named; the default needs none."""
    monkeypatch.setattr("agent.config.loading.find_spec", lambda name: None)
    load(written(tmp_path, SMALL))
    with pytest.raises(ConfigInvalid) as caught:
        load(
            written(
                tmp_path, SMALL.replace('prefix = "unit"', 'prefix = "unit"\nclient = "librdkafka"')
            )
        )
    assert caught.value.problems == (
        (
            'kafka.client: "librdkafka" needs the package confluent-kafka: '
            "install the agent with the extra fast (docs/OPERATIONS.md, Install);"
            ' or set "kafka-python"'
        ),
    )


# ---- example and schema ----


def test_example_loads_as_it_is(tmp_path: Path) -> None:
    settings = load(written(tmp_path, EXAMPLE.read_text(encoding="utf-8"), "agent.toml"))
    assert len(settings.resource) == 1


def test_example_loads_with_everything_uncommented(tmp_path: Path) -> None:
    settings = load(written(tmp_path, uncommented()))
    assert settings.resource[1].delete == "soft"
    assert settings.kafka.sasl is not None
    assert all(value is not None for value in settings.resource[1].technical.model_dump().values())


def test_polling_example_shows_the_defaults(tmp_path: Path) -> None:
    """As it is, and with everything uncommented."""
    plain = load(written(tmp_path, POLLING.read_text(encoding="utf-8"), "agent.toml"))
    full = load(written(tmp_path, uncommented(POLLING), "agent.toml"))
    assert isinstance(full.source, PollingSettings)
    assert full.source.rows_per_second is not None
    assert full.source.model_copy(update={"rows_per_second": None}) == plain.source
    shown, default = full.resource[0].poll, plain.resource[0].poll
    assert shown is not None
    assert default is not None
    assert shown.deleted is not None
    assert shown.model_copy(update={"deleted": None, "compare": None}) == default


def test_trigger_example_shows_the_defaults(tmp_path: Path) -> None:
    """As it is, and with everything uncommented."""
    plain = load(written(tmp_path, TRIGGER.read_text(encoding="utf-8"), "agent.toml"))
    full = load(written(tmp_path, uncommented(TRIGGER), "agent.toml"))
    assert full.trigger.max_rows
    assert plain.source == full.source.model_copy(update={"max_rows": None})
    assert plain.source.model_dump().keys() == plain.source.model_fields_set | {
        "log_table",
        "log_schema",
        "look_seconds",
        "statement_seconds",
        "encoding",
        "zero_dates",
        "warn_rows",
        "max_rows",
    }


def test_mysql_example_shows_the_defaults(tmp_path: Path) -> None:
    """As it is, and with everything uncommented."""
    plain = load(written(tmp_path, MYSQL.read_text(encoding="utf-8"), "agent.toml"))
    full = load(written(tmp_path, uncommented(MYSQL), "agent.toml"))
    assert full.mysql.reader_id == 1_000_000_001
    assert plain.mysql == full.mysql.model_copy(update={"server_id": plain.mysql.reader_id})
    assert 1_000_000_000 <= plain.mysql.reader_id < 2_000_000_000
    assert full.mysql.model_fields_set == full.mysql.model_dump().keys() - {"encoding"}


@pytest.mark.parametrize(
    ("line", "place", "told"),
    [
        ('url = "mariadb://user@host/unit"', "source.url", "mysql+pymysql://"),
        ('url = "sqlite:////folder/business.db"', "source.url", "mysql+pymysql://"),
        ('url = "nothing"', "source.url", "mysql+pymysql://"),
        ("server_id = 0", "source.server_id", "1"),
        ("server_id = 4294967296", "source.server_id", "4294967295"),
        ('encoding = "gbk"', "source.encoding", "take it out"),
        ('encoding = "none"', "source.encoding", "no encoding"),
        ('slot = "s"', "source.slot", "unknown"),
    ],
)
def test_what_is_wrong_with_a_binary_log_is_told(
    tmp_path: Path, line: str, place: str, told: str
) -> None:
    url = 'url = "sqlite:////var/lib/business.db"'
    right = 'url = "mysql+pymysql://user@host/unit"'
    text = POLLED.replace('type = "polling"', 'type = "mysql"')
    text = text.replace('poll = { mode = "timestamp", column = "changed" }', "")
    lines = line if line.startswith("url") else f"{right}\n{line}"
    [problem] = problems(tmp_path, text.replace(url, lines))
    assert place in problem
    assert told in problem


def test_what_is_wrong_with_polling_is_told_at_once(tmp_path: Path) -> None:
    text = POLLED.replace('url = "sqlite:////var/lib/business.db"', 'every = "5"\nslot = "s"')
    text = text.replace('mode = "timestamp", column', 'mode = "compare", column')
    found = "\n".join(problems(tmp_path, text))
    assert 'source.url: missing; add url = "..."' in found
    assert 'source.every: write a time such as "5s"' in found
    assert "source.slot: unknown setting" in found
    assert "poll.column" in found
    assert "poll.compare" in found


@pytest.mark.parametrize(
    ("poll", "place", "told"),
    [
        ('mode = "flag", column = "taken"', "poll.pending", "not taken yet"),
        ('mode = "flag", pending = [0]', "poll.column", "changed rows"),
        ('mode = "flag", column = "f", pending = [0], write_back = true', "poll.done", "taken"),
        ('mode = "flag", column = "f", pending = [0], done = 0', "poll.done", "has this value"),
        ('mode = "sequence", column = "n", done = 1', "poll.done", "take it out"),
    ],
)
def test_wrong_flags_are_told(tmp_path: Path, poll: str, place: str, told: str) -> None:
    text = POLLED.replace('mode = "timestamp", column = "changed"', poll)
    [problem] = problems(tmp_path, text)
    assert place in problem
    assert told in problem


@pytest.mark.parametrize(
    ("lines", "place", "told"),
    [
        ('every = "5s"\ncron = "* * * * *"', "source.every", "take out"),
        ('cron = "* * * * 1"', "source.cron", "as names"),
        ('cron = "daily"', "source.cron", "cron expression"),
        ('quiet = ["08:00-08:00"]', "source.quiet[0]", "another time"),
        ('quiet = ["08:00"]', "source.quiet[0]", "hours of the day"),
    ],
)
def test_wrong_times_are_told(tmp_path: Path, lines: str, place: str, told: str) -> None:
    [problem] = problems(tmp_path, POLLED.replace("[kafka]", f"{lines}\n[kafka]"))
    assert place in problem
    assert told in problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (POLLED.replace('poll = { mode = "timestamp", column = "changed" }', ""), "missing"),
        (SMALL + 'poll = { mode = "sequence", column = "id" }', "take it out"),
    ],
)
def test_a_table_is_polled_where_its_source_is(tmp_path: Path, text: str, told: str) -> None:
    [problem] = problems(tmp_path, text)
    assert "poll" in problem
    assert told in problem


def test_a_deleted_flag_is_a_condition(tmp_path: Path) -> None:
    text = POLLED.replace('"changed" }', '"changed", deleted = { column = "gone", is_in = [1] } }')
    settings = load(written(tmp_path, text))
    [condition] = settings.resource[0].conditions
    assert (condition.column, condition.not_in) == ("gone", [1])
    assert settings.resource[0].needed_columns == ["id", "name", "gone"]


def test_example_shows_every_key() -> None:
    examples = (EXAMPLE, POLLING, TRIGGER, MYSQL)
    text = "".join([example.read_text(encoding="utf-8") for example in examples])
    assert len(list(keys(Settings, set()))) > 50
    missing = [
        f"{model.__name__}.{key}"
        for model, key in keys(Settings, set())
        if not re.search(rf"\b{key} = |\[{key}\]|\.{key}\]", text)
    ]
    assert missing == []


def test_example_shows_the_defaults(tmp_path: Path) -> None:
    """A commented line with a default value says what holds when it stays commented."""
    full, plain = (
        load(written(tmp_path, uncommented(), "agent.toml")),
        load(written(tmp_path, SMALL, "agent.toml")),
    )
    assert full.state_directory == plain.state_directory
    assert full.allow_env_secrets == plain.allow_env_secrets
    for section in ("source", "front", "kafka", "service"):
        shown, default = getattr(full, section), getattr(plain, section)
        for name, field in type(default).model_fields.items():
            if not field.is_required() and field.default is not None:
                assert getattr(shown, name) == getattr(default, name), f"{section}.{name}"
    assert full.front.url == plain.front.url
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
    assert set(re.findall(r'"pattern": (".*?")[,\n]', schema_text())) <= {
        json.dumps(pattern) for pattern in PATTERNS
    }


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
    resource = "resource[0]"
    assert problems(tmp_path, text) == [
        "front.max_rows: write a whole number above 0, without quotes",
        'kafka.bootstrap_servers[0]: write "host:port"',
        "kafka.partitions: write a whole number above 0, without quotes",
        "kafka.prefix: write a topic name: at most 200 letters, digits, dots, - and _",
        'kafka.sasl.password: missing; add password = { file = "..." }',
        'kafka.sasl.user: write text in "quotes", not empty',
        "kafka.transaction_timeout_seconds: write a number from 2 to 60, without quotes",
        "nme: unknown setting; did you mean name?",
        "resource[0].columns (line 19 and after): a column is listed twice",
        (
            "resource[0].rename.b (line 19 and after): no such column in columns: "
            "add it there or take this line out"
        ),
        (
            "resource[1].columns (line 24 and after): "
            'write a list [ ... ] with at least 1 of: text in "quotes"'
        ),
        "resource[1].name (line 24 and after): write a name of at most 40 letters, digits, - and _",
        (
            "resource[1].table (line 24 and after): "
            'write "schema.table", in its exact spelling, without further quotes'
        ),
        (
            "resource[1].zzzz (line 24 and after): unknown setting; possible here: "
            "name, table, columns, rename, filter, target, topic, delete, technical, poll"
        ),
        (
            "resource[2].columns (line 29 and after): "
            'write a list [ ... ] with at least 1 of: text in "quotes"'
        ),
        (
            f"resource[2].name (line 29 and after): {resource} has the same; "
            "each resource needs its own"
        ),
        (
            f"resource[2].table (line 29 and after): {resource} has the same; "
            "each resource needs its own"
        ),
        'service.log_level: write one of "debug", "info", "warning", "error"',
        'source.database: missing; add database = "..."',
        'source.host: write text in "quotes"',
        "source.port: write a whole number from 1 to 65535, without quotes",
        'source.sslmode: write one of "disable", "prefer", "require", "verify-ca", "verify-full"',
        'source.user: missing; add user = "..."',
        "source.usr: unknown setting; did you mean user?",
    ]


def test_empty_file_names_what_to_add(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == [
        "kafka: missing; add [kafka]",
        "resource: missing; add [[resource]]",
        "source: missing; add [source]",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "[source]",
            "source = 1\n[front]\nurl = 1\n[x]",
            "source: write a table with the settings type, host",
        ),
        (
            'user = "sync"',
            'user = "sync"\npassword = "geheim"',
            "source.password: write a table with the settings file, credential, env",
        ),
        (
            'user = "sync"',
            'user = "sync"\npassword = { env = "GEHEIM" }',
            "source.password: secrets from the environment need allow_env_secrets = true",
        ),
        (
            'user = "sync"',
            'user = "sync"\npassword = { file = "a", env = "GEHEIM" }',
            "source.password: name exactly one place: { file",
        ),
        (
            'user = "sync"',
            'user = "sync"\nheartbeat_seconds = "geheim"',
            "source.heartbeat_seconds: write a number above 0 and up to 300, without quotes",
        ),
        (
            "[kafka]",
            '[front]\nurl = "postgresql+psycopg://u:geheim@h/d"\n[kafka]',
            "front.url: no password here: take it out and add password",
        ),
        (
            "[kafka]",
            '[front]\nurl = "postgresql+psycopg://h/d?password=geheim"\n[kafka]',
            "front.url: no password here: take it out and add password",
        ),
        (
            "[kafka]",
            '[front]\nurl = "mysql://h/geheim"\n[kafka]',
            (
                "front.url: this version writes to "
                "sqlite://, postgresql+psycopg://, mariadb+pymysql://, mysql+pymysql:// only"
            ),
        ),
        (
            "[kafka]",
            '[front]\nurl = "geheim"\n[kafka]',
            'front.url: no URL; write "sqlite:////folder/front.db"',
        ),
        (
            "[kafka]",
            '[front]\nurl = "sqlite://"\n[kafka]',
            'front.url: name a file: "sqlite:////folder/front.db"',
        ),
        (
            "[kafka]",
            '[front]\nurl = "postgresql+psycopg://u@h"\n[kafka]',
            "front.url: name the database",
        ),
        (
            "[kafka]",
            '[front]\nurl = "mariadb+pymysql://u@h"\n[kafka]',
            'front.url: name the database: "mariadb+pymysql://user@host/database"',
        ),
        (
            "[kafka]",
            '[front]\ntypes = "text"\n[kafka]',
            "front.types: only a MariaDB or MySQL front end has two forms",
        ),
        (
            "[kafka]",
            '[front]\nurl = "postgresql+psycopg://u@h/d"\ntypes = "text"\n[kafka]',
            "front.types: only a MariaDB or MySQL front end has two forms",
        ),
        (
            "[kafka]",
            "allow_env_secrets = 1\n[kafka]",
            "source.allow_env_secrets: unknown setting; possible here: type, host",
        ),
        (
            'columns = ["id", "name"]',
            'columns = ["id"]\nrename = "geheim"',
            "rename (line 9 and after): write a table of names: { source_column",
        ),
        (
            'columns = ["id", "name"]',
            'columns = ["id"]\ndelete = "soft"',
            'technical.deleted (line 9 and after): delete = "soft" needs the name of a column here',
        ),
        (
            'columns = ["id", "name"]',
            'columns = ["id"]\ntechnical = { deleted = "x" }',
            "technical.deleted (line 9 and after): take it out, or set delete",
        ),
        (
            'columns = ["id", "name"]',
            'columns = ["id", "b"]\nrename = { b = "id" }',
            "columns (line 9 and after): two columns of the front-end table",
        ),
        (
            'columns = ["id", "name"]',
            'columns = ["id"]\nfilter = [{ column = "x" }]',
            "filter[0] (line 9 and after): set exactly one of is_in, not_in and is_null",
        ),
        (
            'columns = ["id", "name"]',
            'columns = ["id"]\nfilter = [{ column = "x", is_null = 1 }]',
            "is_null (line 9 and after): write true or false, without quotes",
        ),
        (
            'columns = ["id", "name"]',
            'columns = ["id"]\nfilter = [{ column = "x", is_in = [1.5] }]',
            "is_in[0] (line 9 and after): write one of these: text",
        ),
    ],
)
def test_problem(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """The place, what to write, and never the value."""
    found = problems(tmp_path, replaced(old, new))
    assert any(expected in line for line in found), found
    assert "geheim" not in "".join(found).lower()


def test_environment_secrets_are_allowed_for_development(tmp_path: Path) -> None:
    text = "allow_env_secrets = true\n" + replaced(
        'user = "sync"', 'user = "sync"\npassword = { env = "GEHEIM" }'
    )
    assert load(written(tmp_path, text)).source.password is not None


def test_targets_and_topics_are_used_once(tmp_path: Path) -> None:
    second = (
        '[[resource]]\nname = "second"\ntable = "other.person"\n'
        'columns = ["id"]\ntopic = "unit.person"\n'
    )
    assert problems(tmp_path, SMALL + second) == [
        (
            "resource[1].target (line 13 and after): resource[0] has the same; "
            "each resource needs its own"
        ),
        (
            "resource[1].topic (line 13 and after): resource[0] has the same; "
            "each resource needs its own"
        ),
    ]


def test_the_topic_of_transactions_is_taken(tmp_path: Path) -> None:
    text = replaced('prefix = "unit"', 'prefix = "unit"\ntransactions = true').replace(
        'name = "person"', 'name = "transaction"'
    )
    assert problems(tmp_path, text) == [
        (
            "resource[0].topic (line 10 and after): this topic is the one kafka.transactions "
            "publishes to: give the resource another one"
        )
    ]
    assert load(written(tmp_path, text.replace("= true", "= false"))).transaction_topic is None


def test_name_that_cannot_be_taken_from_the_file(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, SMALL, "My Agent.toml")
    assert found.startswith("name: missing, and the file's name is none: add name")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = 1\nb = = 2\n", "line 2, column 5: this is not TOML: Invalid value"),
        (b"a = [1\n", "the file ends too early: Unclosed array"),
        (b"a = '\xff'", "the file is not UTF-8 text (byte 5); save it as UTF-8"),
    ],
)
def test_file_that_is_no_toml(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid) as caught:
        load(path)
    assert caught.value.problems == (expected,)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path / "missing.toml")
    assert caught.value.problems == ("the file cannot be read: No such file or directory",)
    assert "missing.toml" in str(caught.value)


def test_problems_are_told_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", "zh_CN")
    assert (
        problems(tmp_path, replaced("prefix", "prefx"))[0]
        == 'kafka.prefix: 缺少此项，请添加 prefix = "..."'
    )


# ---- secrets ----


def test_secret_from_file_credential_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("pässwort\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SOME_SECRET", "from env")
    assert Secret(file=str(tmp_path / "secret")).read("x") == "pässwort"
    assert Secret(credential="secret").read("x") == "pässwort"
    assert Secret(env="SOME_SECRET").read("x") == "from env"


def test_secret_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for secret, reason in [
        (Secret(file=str(tmp_path / "none")), "No such file"),
        (Secret(file=str(tmp_path / "binary")), "it is not UTF-8 text"),
        (Secret(credential="x"), "not started by systemd"),
        (Secret(env="NO_SUCH_VARIABLE_HERE"), "is not set"),
    ]:
        with pytest.raises(SecretMissing, match=reason) as caught:
            secret.read("source.password")
        assert "source.password" in str(caught.value)


FOLDED = {
    "sqlite": ("sqlite:////x/front.db", "Person", "person", True),
    "sqlite beyond ASCII": ("sqlite:////x/front.db", "É", "é", False),
    "postgres": ("postgresql+psycopg://u@h/d", "Person", "person", False),
    "postgres cut": ("postgresql+psycopg://u@h/d", "员" * 21 + "a", "员" * 21 + "b", True),
    "mariadb": ("mariadb+pymysql://u@h/d", "Person", "person", False),
    "mariadb blanks": ("mariadb+pymysql://u@h/d", "person ", "person", True),
    "schema of SQLite": ("sqlite:////x/front.db", "main.person", "person", True),
    "schema of PostgreSQL": ("postgresql+psycopg://u@h/d", "public.person", "person", True),
    "another schema": ("postgresql+psycopg://u@h/d", "other.person", "person", False),
    "database of MariaDB": ("mariadb+pymysql://u@h/d?charset=x", "d.person", "person", True),
    "database of MySQL": ("mysql+pymysql://u@h/D", "d.person", "person", False),
}


@pytest.mark.parametrize("case", FOLDED)
def test_targets_are_compared_as_the_front_end_does(tmp_path: Path, case: str) -> None:
    """Two names of one table are found when the configuration is read; both places are named."""
    url, one, other, same = FOLDED[case]
    text = f'[front]\nurl = "{url}"\n' + SMALL + f'target = "{one}"\n'
    text += (
        f'[[resource]]\nname = "second"\ntable = "b.second"\ncolumns = ["id"]\ntarget = "{other}"\n'
    )
    if not same:
        assert load(written(tmp_path, text)).resource[1].target == other
        return
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("resource[1].target")
    assert "the same table as that of resource[0]" in problem


COLUMNS = {
    "sqlite": ("sqlite:////x/front.db", "Name", "name", True),
    "sqlite beyond ASCII": ("sqlite:////x/front.db", "É", "é", False),
    "postgres": ("postgresql+psycopg://u@h/d", "Name", "name", False),
    "mariadb": ("mariadb+pymysql://u@h/d", "Name", "name", True),
    "mariadb beyond ASCII": ("mariadb+pymysql://u@h/d", "Ｎ", "ｎ", True),
    "a dotted I": ("mysql+pymysql://u@h/d", "İ", "i", True),
    "accents stay": ("mariadb+pymysql://u@h/d", "é", "e", False),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_are_compared_as_the_front_end_does(tmp_path: Path, case: str) -> None:
    """Shared under their own name, under a new one, or technical."""
    url, one, other, same = COLUMNS[case]
    front = f'[front]\nurl = "{url}"\n'
    plain = front + replaced('columns = ["id", "name"]', f'columns = ["id", "{one}", "{other}"]')
    technical = front + replaced(
        'columns = ["id", "name"]',
        f'columns = ["id", "x"]\nrename = {{ x = "{one}" }}\ntechnical = {{ batch = "{other}" }}',
    )
    if not same:
        assert load(written(tmp_path, plain)) and load(written(tmp_path, technical))
        return
    (first,) = problems(tmp_path, plain)
    assert first.startswith("resource[0].columns[2]")
    assert "the same column as columns[1]" in first
    (second,) = problems(tmp_path, technical)
    assert second.startswith("resource[0].technical.batch")
    assert "the same column as rename.x" in second


def test_two_hosts_need_a_front_end_that_both_reach(tmp_path: Path) -> None:
    """A SQLite file belongs to one host."""
    pair = "[service]\nstandby = true\n" + SMALL
    (found,) = problems(tmp_path, pair)
    assert found.startswith("service.standby: two hosts need a front end that both reach")
    for url in ("postgresql+psycopg://u@h/d", "mariadb+pymysql://u@h/d"):
        both = f'[front]\nurl = "{url}"\n{pair}'
        assert load(written(tmp_path, both)).service.standby


@pytest.mark.parametrize("name", ["sync_agent_state", "Sync_Agent_Outbox", "sync_agent_mine"])
def test_the_agents_own_tables_are_no_targets(tmp_path: Path, name: str) -> None:
    """Of this version or a later one."""
    found = problems(tmp_path, SMALL + f'target = "{name}"\n')
    assert any("resource[0].target" in line and "agent's own" in line for line in found), found


@pytest.mark.parametrize("kind", ["", 'type = "postgresql"', 'type = "postgres"'])
def test_the_kind_of_source_may_be_left_out_or_have_its_older_name(
    tmp_path: Path, kind: str
) -> None:
    text = SMALL.replace("[source]", f"[source]\n{kind}")
    assert load(written(tmp_path, text, "agent.toml")).postgres.slot == "sync_agent_agent"


def test_a_source_table_without_schema_is_that_of_public(tmp_path: Path) -> None:
    """Two ways to write one table are the same one."""
    source = load(written(tmp_path, SMALL, "agent.toml")).source
    assert source.place("person") == source.place("public.person") == ("public", "person")
