"""Tests the questions: what is asked, what is asked again, and that nothing is written early."""

import json
import os
import sqlite3
import tomllib
from collections.abc import Sequence
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent.config import load
from agent.errors import AnswerMissing, AnswerWrong, SetupRefused
from agent.setup.answers import Answers, read_answers
from agent.setup.dialogue import Dialogue
from agent.setup.interview import EXAMPLE, Interview, Outcome
from agent.setup.secrets import Secrets
from agent.setup.writing import NewFile, refuse_target, write

ROOT = Path(__file__).parent.parent.parent
CANARY = "canary-310101"


class Person:
    """See Terminal: gives the answers it was told, and keeps what it was shown."""

    def __init__(self, answers: Sequence[str] = ()) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self._shown = StringIO()
        self._console = Console(file=self._shown, width=200)

    @property
    def shown(self) -> str:
        return self._shown.getvalue()

    @property
    def left(self) -> list[str]:
        return self._answers

    def show(self, what: object) -> None:
        self._console.print(what)

    def ask(self, text: str, default: str | None, *, hidden: bool) -> str:
        self.asked.append(text)
        assert self._answers, f"nobody was expected to ask: {text}"
        answer = self._answers.pop(0)
        if answer == "":
            assert default is not None, f"no default: {text}"
            return default
        return answer


@pytest.fixture
def business(tmp_path: Path) -> Path:
    """Returns a database whose rows are no business of a screen."""
    path = tmp_path / "business.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"""
            CREATE TABLE person (
                id INTEGER PRIMARY KEY, name TEXT, phone TEXT, update_time DATETIME
            );
            CREATE INDEX person_updated ON person (update_time);
            CREATE TABLE note (what TEXT NOT NULL, who TEXT);
            CREATE TABLE citizen (sfzh TEXT NOT NULL PRIMARY KEY, town TEXT);
            INSERT INTO person VALUES (1, '{CANARY}', '13800000000', '2026-01-01 00:00:00');
            INSERT INTO person VALUES (2, NULL, NULL, NULL);
            """
        )
    return path


def interview(
    config: Path, person: Person, answers: Answers, *, interactive: bool, defaults: bool = False
) -> Outcome:
    """Holds an interview; the secrets typed are in the files that it returns."""
    dialogue = Dialogue(answers, person, interactive=interactive, defaults=defaults)
    with Secrets(config.parent, config.stem, overwrite=False) as secrets:
        held = Interview(dialogue, secrets, config, lambda name: (ROOT / name).read_text(), None)
        return held.hold()


def data(outcome: Outcome) -> dict[str, Any]:
    return tomllib.loads(outcome.files[-1].text)


GIVEN: dict[str, Any] = {
    "source": {"type": "polling"},
    "kafka": {"prefix": "310105"},
    "tables": ["*"],
}


def given(business: Path, **more: Any) -> Answers:
    source = {**GIVEN["source"], "url": f"sqlite:///{business}"}
    return Answers({**GIVEN, "source": source, **more})


def test_without_a_terminal_answers_and_defaults_make_a_configuration(
    business: Path, tmp_path: Path
) -> None:
    config = tmp_path / "tax.toml"
    person = Person()
    outcome = interview(config, person, given(business), interactive=False, defaults=True)
    assert person.asked == []
    assert list(tmp_path.glob("*.toml")) == []

    made = data(outcome)
    assert made["kafka"] == {"bootstrap_servers": ["127.0.0.1:9092"], "prefix": "310105"}
    (resource,) = made["resource"]
    assert resource["columns"] == ["id", "name", "update_time"]
    assert resource["poll"]["mode"] == "timestamp"

    write(outcome.files, [])
    settings = load(config)
    assert settings.agent == "tax"
    assert config.stat().st_mode & 0o777 == 0o640
    # What the screen shows of rows is their types and lengths
    assert CANARY not in person.shown
    assert f"<text, {len(CANARY)} characters>" in person.shown
    assert "null" in person.shown
    # The way of a type, from the source to an event
    assert "DATETIME" in person.shown
    assert "timestamp without time zone" in person.shown


@pytest.mark.parametrize(
    ("missing", "question"),
    [
        ({"source": {}}, "source.type"),
        ({"source": {"type": "polling"}}, "source.url"),
        ({"tables": None}, "tables"),
    ],
)
def test_an_answer_that_is_missing_is_named(
    business: Path, tmp_path: Path, missing: dict[str, Any], question: str
) -> None:
    whole = given(business).section("source")
    parts = {"source": whole, "kafka": {}, "tables": ["*"], **missing}
    answers = Answers({name: part for name, part in parts.items() if part is not None})
    with pytest.raises(AnswerMissing) as raised:
        interview(tmp_path / "agent.toml", Person(), answers, interactive=False)
    assert raised.value.values["question"] == question
    assert raised.value.exit_code == 2


def test_nobody_but_a_person_or_the_answers_says_which_columns_are_shared(
    business: Path, tmp_path: Path
) -> None:
    with pytest.raises(AnswerMissing, match="the columns of person"):
        interview(tmp_path / "agent.toml", Person(), given(business), interactive=False)


WHOLE = """
[source]
type = "polling"
url = "sqlite:///{business}"
every = "7s"
[front]
url = "sqlite"
[kafka]
bootstrap_servers = ["127.0.0.1:1"]
prefix = "310105"
client = "kafka-python"
tls = false
sasl = false
replication_factor = 3
[service]
listen = "127.0.0.1:9200"
[[resource]]
name = "people"
table = "person"
columns = ["id", "phone"]
delete = "soft"
[resource.technical]
deleted = "gone"
[resource.poll]
mode = "compare"
compare = "03:00"
[[resource]]
table = "note"
columns = ["what"]
[resource.poll]
mode = "compare"
compare = "03:00"
key = ["what"]
"""


def test_answers_to_everything_need_neither_terminal_nor_defaults(
    business: Path, tmp_path: Path
) -> None:
    """Settings of which nobody is asked are kept, also those of a table."""
    file = tmp_path / "answers.toml"
    file.write_text(WHOLE.format(business=business), encoding="utf-8")
    answers = read_answers(file, ["kafka.prefix=320500", "source.every=9s"])
    made = data(interview(tmp_path / "agent.toml", Person(), answers, interactive=False))
    assert made["source"]["every"] == "9s"
    assert made["kafka"]["prefix"] == "320500"
    assert made["kafka"]["replication_factor"] == 3
    assert made["service"] == {"listen": "127.0.0.1:9200"}
    note, people = made["resource"]
    assert (note["name"], note["poll"]["key"]) == ("note", ["what"])
    assert people["name"] == "people"
    assert people["columns"] == ["id", "phone"]
    assert people["delete"] == "soft"
    assert people["technical"] == {"deleted": "gone"}


@pytest.mark.parametrize(
    ("options", "question", "reason"),
    [
        (["sauce.url=x"], "sauce", "unknown"),
        (["source.url=sqlite:////nowhere/at/all.db"], "source", "SOURCE_UN"),
        (["source.url=nonsense"], "source.url", "no URL"),
        (["source.type=oracle"], "source.type", "one of"),
        (["source.every=often"], "source", "source.every"),
        (["kafka.prefix=a b"], "kafka", "kafka.prefix"),
        (["kafka.nonsense=1"], "kafka", "unknown setting"),
        (["front.url=oracle://u@h/d"], "front", "front.url"),
        (["tables=nowhere*"], "tables", "no table"),
        (["tables=note"], "tables", "KEY_MISSING"),
        (["resource=[{table = 'nowhere', columns = ['id']}]"], "resource", "nowhere"),
        (["resource=[{table = 'person', columns = ['id', 'x']}]"], "resource", "x"),
        (["resource=[{table = 'person', columns = ['id'], nonsense = 1}]"], "resource", "unknown"),
        (["resource=1"], "resource", "table each"),
        (["kafka"], "kafka", "place=value"),
    ],
)
def test_an_answer_that_is_wrong_is_named(
    business: Path, tmp_path: Path, options: list[str], question: str, reason: str
) -> None:
    base = [f"source.url=sqlite:///{business}", "source.type=polling", "tables=*"]
    with pytest.raises(AnswerWrong) as raised:
        interview(
            tmp_path / "agent.toml",
            Person(),
            read_answers(None, [*base, *options]),
            interactive=False,
            defaults=True,
        )
    assert raised.value.values["question"] == question
    assert reason in str(raised.value.values["reason"])
    assert raised.value.exit_code == 2
    assert not (tmp_path / "agent.toml").exists()


def test_a_person_is_asked_and_asked_again(business: Path, tmp_path: Path) -> None:
    person = Person(
        [
            "postgres",  # there is no such kind
            "polling",
            "nonsense",
            f"sqlite:///{tmp_path}/nowhere.db",
            # That is refused, and all of it asked again
            "",
            f"sqlite:///{business}",
            "nowhere.*",
            "*",
            "4",  # there are three
            "person, note",
            # person comes after note, in the order of their names
            "",
            "notes",
            "",
            "when",  # is no column
            "what",
            "+phone -name -id",
            "+phone -name",
            "per son",
            "person",
            "sequence",
            "timestamp update_time",
            "",  # the front end
            "127.0.0.1:1",
            "unit",
            "",
            "",
            "",
            "y",  # Kafka is away, and stays in the file
        ]
    )
    outcome = interview(tmp_path / "agent.toml", person, Answers({}), interactive=True)
    assert person.left == []
    made = data(outcome)
    note, citizen = made["resource"]
    assert (note["name"], note["poll"]["key"]) == ("notes", ["what"])
    assert (citizen["name"], citizen["columns"]) == ("person", ["id", "phone", "update_time"])
    assert citizen["poll"] == {
        "mode": "timestamp",
        "column": "update_time",
        "compare": "02:00",
    }
    for said in ("SOURCE_UN", "KAFKA_NETWORK", "id is in the key", "no table of"):
        assert said in person.shown, said
    assert CANARY not in person.shown


@pytest.mark.parametrize(
    "options",
    [
        ["resource=[{table = 'nowhere', columns = ['id']}]"],
        ["resource=[{table = 'person', columns = ['nothing']}]"],
        ["tables=note"],
    ],
)
def test_what_nobody_can_answer_ends_it(business: Path, tmp_path: Path, options: list[str]) -> None:
    """On a terminal, too: there is no question whose answer would change it."""
    base = [f"source.url=sqlite:///{business}", "source.type=polling"]
    with pytest.raises(AnswerWrong):
        interview(
            tmp_path / "agent.toml",
            Person(),
            read_answers(None, [*base, *options]),
            interactive=True,
            defaults=True,
        )


def test_a_table_whose_key_is_personal_is_shared_by_choice_only(
    business: Path, tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    made = data(interview(config, Person(), given(business), interactive=False, defaults=True))
    assert [resource["name"] for resource in made["resource"]] == ["person"]
    chosen = given(business, choose="citizen")
    made = data(interview(config, Person(), chosen, interactive=False, defaults=True))
    assert made["resource"][0]["columns"] == ["sfzh", "town"]


def test_a_typed_password_is_in_its_file_alone(tmp_path: Path) -> None:
    """Before it is written it can be read through the settings of this run, and by nobody else."""
    answers = Answers({"source": {"password": "type"}})
    person = Person(["", "geheim"])
    dialogue = Dialogue(answers, person, interactive=True, defaults=False)
    with Secrets(tmp_path, "agent", overwrite=False) as secrets:
        found = secrets.ask(dialogue, "source.password", "source", "sync_agent")
        assert found == {"file": str(tmp_path / "source.password")}
        assert list(tmp_path.iterdir()) == []
        live = secrets.live({"source": {"password": found}})
        in_memory = Path(live["source"]["password"]["file"])
        assert in_memory.read_text(encoding="utf-8") == "geheim"
        assert secrets.typed == {tmp_path / "source.password": "geheim"}
    assert not in_memory.exists()
    assert "geheim" not in person.shown

    # One that nobody has to know, for a role that is still to be made
    with Secrets(tmp_path, "tax", overwrite=False) as secrets:
        made = Answers({"source": {"password": "new"}})
        quiet = Dialogue(made, Person(), interactive=False, defaults=True)
        found = secrets.ask(quiet, "source.password", "source", "sync_agent")
        assert found == {"file": str(tmp_path / "tax.source.password")}
        assert len(secrets.typed[tmp_path / "tax.source.password"]) >= 32

    write([NewFile(tmp_path / "source.password", "geheim\n", secret=True)], [])
    assert (tmp_path / "source.password").stat().st_mode & 0o777 == 0o600


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    secret, config = tmp_path / "source.password", tmp_path / "agent.toml"
    config.write_text("kept", encoding="utf-8")
    files = [NewFile(secret, "a", secret=True), NewFile(config, "b", secret=False)]
    with pytest.raises(SetupRefused) as raised:
        write(files, [])
    assert str(config) in raised.value.text()
    assert list(tmp_path.iterdir()) == [config]
    assert config.read_text(encoding="utf-8") == "kept"

    write([file._replace(replace=True) for file in files], [])
    assert (secret.read_text(), config.read_text()) == ("a", "b")
    assert sorted(tmp_path.iterdir()) == [config, secret]


def test_a_configuration_that_somebody_wrote_is_not_replaced(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    example = (ROOT / EXAMPLE).read_text(encoding="utf-8")
    refuse_target(config, example, overwrite=False)
    # As an installation leaves it
    config.write_text(example, encoding="utf-8")
    refuse_target(config, example, overwrite=False)
    config.write_text(f"{example}# mine\n", encoding="utf-8")
    with pytest.raises(SetupRefused, match="is there already"):
        refuse_target(config, example, overwrite=False)
    refuse_target(config, example, overwrite=True)
    with pytest.raises(SetupRefused, match="no folder"):
        refuse_target(tmp_path / "nowhere" / "agent.toml", example, overwrite=False)


def test_files_of_root_belong_to_the_service(tmp_path: Path) -> None:
    """The service owns its password, and reads the configuration by its group."""
    state = tmp_path / "state"
    state.mkdir()
    me, service = os.geteuid(), 65534
    if me == 0:
        os.chown(state, service, service)
    owners = (service, 0, service) if me == 0 else (me, me, os.getegid())

    secret, config = tmp_path / "source.password", tmp_path / "agent.toml"
    write([NewFile(secret, "a", secret=True), NewFile(config, "b", secret=False)], [state])
    of_secret, of_config = secret.stat(), config.stat()
    assert (of_secret.st_uid, of_config.st_uid, of_config.st_gid) == owners
    assert (of_secret.st_mode & 0o777, of_config.st_mode & 0o777) == (0o600, 0o640)


def test_ten_events_are_shown(business: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(business)) as connection:
        for number in range(3, 30):
            connection.execute("INSERT INTO person (id) VALUES (?)", (number,))
        connection.commit()
    person = Person()
    options = given(business, choose=["person", "cit*"])
    interview(tmp_path / "agent.toml", person, options, interactive=False, defaults=True)
    # The other table is empty
    assert person.shown.count('"op": "r"') == 5
    assert "310105.citizen: the table is empty" in person.shown
    person = Person()
    interview(tmp_path / "agent.toml", person, given(business), interactive=False, defaults=True)
    assert person.shown.count('"op": "r"') == 10


def test_names_are_shown_as_they_are(business: Path, tmp_path: Path) -> None:
    """Also those that a program of terminals would take for markup."""
    with closing(sqlite3.connect(business)) as connection:
        connection.execute('CREATE TABLE "[red]x" ("[bold]y" INTEGER PRIMARY KEY)')
    person = Person()
    interview(tmp_path / "agent.toml", person, given(business), interactive=False, defaults=True)
    assert "[red]x → [red]x, 310105.red_x" in person.shown
    assert "[bold]y" in person.shown


def test_options_are_values_of_toml_or_texts() -> None:
    answers = read_answers(
        None, ["source.port=5433", "source.host=db1", 'tables=["a.*", "b"]', "kafka.tls=false"]
    )
    assert answers.at("source.port") == 5433
    assert answers.at("source.host") == "db1"
    assert answers.at("tables") == ["a.*", "b"]
    assert answers.at("kafka.tls") is False
    assert answers.at("kafka.tls.ca_file") is None
    assert json.dumps(answers.section("kafka.tls")) == "{}"
