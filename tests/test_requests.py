"""Tests resume, reconcile and verify.

That is what they ask of the running service over the front end, and how they show its answers.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select

from agent.cli import requests
from agent.cli.commands import execute
from agent.cli.requests import Answer
from agent.config import KafkaSettings, Settings, load
from agent.errors import ServiceAway
from agent.front.base import Request
from agent.front.opening import open_front
from agent.front.schema import AgentTables
from agent.outbox.opening import reading
from agent.publish.topic_keys import Collected
from tests.test_config import SMALL

IDENTITY: dict[str, object] = {
    "agent_uuid": "u", "agent_name": "tax", "source_id": "s",
    "identity": {"system_id": "1", "timeline": 1, "slot": "s", "publication": ""}, "epoch": 0,
    "nonce": "", "initialised": 1, "position": "0/10", "position_time_us": 0, "commit_position": "",
    "commit_transaction": 0, "commit_time_us": 0, "number": 0, "batch": 0,
}  # fmt: skip
DIFFERENCES = [
    {"kind": "missing", "hash": "0123456789abcdef", "key": '{"id":7}'},
    {"kind": "extra", "hash": "fedcba9876543210", "key": '{"id":"张三"}'},
]
EQUAL = {
    "phase": "pages",
    "estimate": 5000,
    "rows": 4321,
    "equal": 4321,
    "missing": 0,
    "different": 0,
    "extra": 0,
    "counted": [4321, 4321],
    "differences": [],
}
DIFFERENT = {**EQUAL, "equal": 4320, "missing": 1, "extra": 1, "differences": DIFFERENCES}
Said = tuple[str, dict[str, Any]]  # state and report of an answer


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """English, and no long waits."""
    monkeypatch.setenv("SYNC_AGENT_LANG", "en")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(requests, "TAKEN_UP", 2.0)
    monkeypatch.setattr(requests, "_LOOK", 0.02)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of an agent with two tables, initialised; its service does not run."""
    path = tmp_path / "tax.toml"
    second = '[[resource]]\nname = "permit"\ntable = "permit"\ncolumns = ["id"]\n'
    path.write_text(
        f'state_directory = "{tmp_path}"\n{SMALL}{second}[service]\nlisten = "127.0.0.1:1"\n',
        encoding="utf-8",
    )
    settings = load(path)
    settings.directory.mkdir()
    front = open_front(settings.front, settings.agent)
    front.initialise(IDENTITY, {"person": "unit.person", "permit": "unit.permit"})
    front.engine.dispose()
    return path


@contextmanager
def service(config: Path, answers: Callable[[Request], list[Said]]) -> Iterator[list[Request]]:
    """Answers each request as a service would, with one of these answers at each look.

    Yields the requests as they come.
    """
    settings = load(config)
    front = open_front(settings.front, settings.agent)
    ended, taken = threading.Event(), list[Request]()
    left: dict[str, list[Said]] = {}
    front.open("nonce")

    def serve() -> None:
        while not ended.wait(0.03):
            for request in front.requests():
                if request.id not in left:
                    taken.append(request)
                    left[request.id] = list(answers(request))
                if left[request.id]:
                    front.answer(request.id, *left[request.id].pop(0))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield taken
    finally:
        ended.set()
        thread.join()
        front.close()
        front.engine.dispose()


def run(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = execute(["-c", str(config), *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def left_over(settings: Settings) -> int:
    """Requests that stand in the front end."""
    engine, own = create_engine(settings.front.url), AgentTables(settings.agent)
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(own.requests)).scalar_one()
    engine.dispose()
    return int(count)


def test_equal_tables_end_with_0(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every table of the configuration, one after the other; nothing is left of the requests."""
    with service(
        config, lambda _: [("running", {}), ("running", {**EQUAL, "rows": 1000}), ("done", EQUAL)]
    ) as taken:
        code, out, _ = run(capsys, config, "verify")
    assert [(request.kind, request.resource, request.allow_deletes) for request in taken] == [
        ("verify", "person", False),
        ("verify", "permit", False),
    ]
    assert code == 0
    assert [out.count(text) for text in ("person", "permit", "4,321")] == [1, 1, 4]
    assert left_over(load(config)) == 0


def test_differences_end_with_1_and_keys_are_hashes(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys are values of rows: they are shown to who asks for them."""
    with service(config, lambda _: [("done", DIFFERENT)]):
        code, out, _ = run(capsys, config, "verify", "person")
        assert code == 1
        assert "person: missing 0123456789abcdef" in out
        assert "张三" not in out
        code, out, _ = run(capsys, config, "verify", "person", "--show-keys")
        assert code == 1
        assert 'person: extra {"id":"张三"}' in out
        code, out, _ = run(capsys, config, "verify", "person", "--json")
    counts = {"rows": 4321, "equal": 4320, "missing": 1, "different": 0, "extra": 1}
    counts |= {"source_rows": 4321, "front_rows": 4321}
    named = [
        {"kind": "missing", "key": "0123456789abcdef"},
        {"kind": "extra", "key": "fedcba9876543210"},
    ]
    assert json.loads(out) == [
        {
            "resource": "person",
            "state": "compared",
            **counts,
            "refused": 0,
            "left": None,
            "differences": named,
            "repaired": None,
        }
    ]
    assert code == 1


def test_a_table_that_is_not_live_ends_with_2(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are compared all the same."""
    with service(
        config,
        lambda request: [
            ("failed", {"state": "suspended"})
            if request.resource == "person"
            else ("done", DIFFERENT)
        ],
    ):
        code, out, _ = run(capsys, config, "verify")
        assert code == 2
        assert "person was not compared: it is suspended" in out
        assert "permit: missing" in out
        monkeypatch.setenv("SYNC_AGENT_LANG", "zh_CN")
        assert "person 未比对：当前状态为“已暂停”" in run(capsys, config, "verify", "person")[1]
        code, out, _ = run(capsys, config, "verify", "person", "--json")
    assert (code, [(found["state"], found["rows"]) for found in json.loads(out)]) == (
        2,
        [("suspended", None)],
    )


@pytest.mark.parametrize("allowed", [False, True])
def test_a_repair_ends_with_0(
    config: Path, capsys: pytest.CaptureFixture[str], allowed: bool
) -> None:
    """What differed is told; it does not any more."""
    with service(config, lambda _: [("running", {}), ("done", DIFFERENT)]) as taken:
        code, out, _ = run(
            capsys, config, "reconcile", "permit", *(["--allow-deletes"] if allowed else [])
        )
    assert [(request.kind, request.resource, request.allow_deletes) for request in taken] == [
        ("reconcile", "permit", allowed)
    ]
    assert code == 0
    assert "permit: missing 0123456789abcdef" in out


def test_unequal_numbers_of_rows_are_a_difference(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though no row was found to differ; and so is a comparison that has not counted."""
    with service(config, lambda _: [("done", {**EQUAL, "counted": [5000, 4321]})]):
        code, out, _ = run(capsys, config, "verify", "person")
    assert code == 1
    assert "person: the business database has 5,000 rows to share, the front-end table 4,321" in out
    with service(config, lambda _: [("done", {**EQUAL, "counted": []})]):
        assert run(capsys, config, "verify", "person")[0] == 1


def test_a_table_goes_on(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`resume` ends as soon as the service has taken it up."""
    with service(config, lambda _: [("done", {})]) as taken:
        code, out, _ = run(capsys, config, "resume", "permit", "--allow-deletes")
    assert [(request.kind, request.resource, request.allow_deletes) for request in taken] == [
        ("resume", "permit", True)
    ]
    assert (code, out.startswith("permit goes on")) == (0, True)


def test_a_table_that_is_live_need_not_go_on(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with 1, in the user's words."""
    with service(config, lambda _: [("failed", {"state": "live"})]):
        code, _, err = run(capsys, config, "resume", "permit")
        assert (code, err.startswith("REQUEST_REFUSED: permit is live")) == (1, True)
        monkeypatch.setenv("SYNC_AGENT_LANG", "zh_CN")
        assert "permit 当前状态为“正常同步”" in run(capsys, config, "resume", "permit")[2]


@pytest.mark.parametrize("command", [["verify"], ["reconcile"], ["resume", "person"]])
def test_without_a_service_nothing_is_left_behind(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    """The exit status is 75 with the next step, after a while.

    A service that starts later finds nothing to do.
    """
    monkeypatch.setattr(requests, "TAKEN_UP", 0.3)
    code, _, err = run(capsys, config, *command)
    assert code == 75
    assert "SERVICE_AWAY" in err
    assert "systemctl start sync-agent@tax" in err
    assert left_over(load(config)) == 0


def ask(
    settings: Settings, names: Sequence[str], progress: Callable[[Answer], None]
) -> list[Answer]:
    """Returns what `verify` asks the service."""
    listen = settings.service.listen
    with reading(settings.front, settings.agent) as reader:
        return requests.ask(reader, listen, "verify", names, False, progress)


def test_a_service_that_goes_away_ends_the_wait(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that answers at its address keeps it up, however long a table takes without news."""
    monkeypatch.setattr(requests, "TAKEN_UP", 0.4)
    settings = load(config)
    with service(config, lambda _: [("running", {})]), pytest.raises(ServiceAway):
        ask(settings, ["person"], lambda _: None)
    monkeypatch.setattr(requests, "asked", lambda *_: {"agent": "tax"})
    began = time.monotonic()
    quiet: list[Said] = [("running", {})] * 50  # looks of the service: a second and a half
    with service(config, lambda _: [*quiet, ("done", EQUAL)]):
        (answer,) = ask(settings, ["person"], lambda _: None)
    assert answer == Answer("person", "done", EQUAL)
    assert time.monotonic() - began > 1.2


def test_an_interrupt_withdraws_the_request(config: Path) -> None:
    """The service need not go on with it."""

    def interrupt(answer: Answer) -> None:
        if answer.state == "running":
            raise KeyboardInterrupt

    settings = load(config)
    with service(config, lambda _: [("running", EQUAL)] * 1000) as taken:
        with pytest.raises(KeyboardInterrupt):
            ask(settings, ["person", "permit"], interrupt)
        assert [request.resource for request in taken] == ["person"]
        assert left_over(settings) == 0


@pytest.mark.parametrize("command", ["verify", "reconcile", "resume"])
def test_an_unknown_name_is_told_with_those_that_exist(
    config: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Before anything is asked."""
    code, _, err = run(capsys, config, command, "nobody")
    assert code == 2
    assert "nobody: no such resource; the configuration has person, permit" in err
    assert left_over(load(config)) == 0


def test_before_init_they_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 78 and which file is missing."""
    path = tmp_path / "new.toml"
    path.write_text(f'state_directory = "{tmp_path}"\n{SMALL}', encoding="utf-8")
    code, _, err = run(capsys, path, "verify")
    assert (code, "front.db does not exist" in err) == (78, True)


def test_rebind_must_be_meant(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option says what the person knows; without one, or with several, nothing happens."""
    called: list[str] = []
    monkeypatch.setattr(
        "agent.preflight.rebinding.rebind",
        lambda settings, tell, after: called.append(after),
    )
    for options in (
        (),
        ("--after-upgrade", "--after-restore"),
        ("--after-upgrade", "--after-failover", "--after-restore"),
    ):
        code, _, err = run(capsys, config, "rebind", *options)
        assert (code, called, "--after-upgrade" in err) == (2, [], True)
    for option in ("--after-upgrade", "--after-failover", "--after-restore"):
        assert run(capsys, config, "rebind", option)[0] == 0
    assert called == ["upgrade", "failover", "restore"]


@pytest.mark.parametrize(
    ("left", "code", "said"), [(0, 0, "no row is withheld"), (2, 1, "2 rows are still too large")]
)
def test_retry_tells_what_is_still_withheld(
    config: Path, capsys: pytest.CaptureFixture[str], left: int, code: int, said: str
) -> None:
    """Exit 1 where there is something."""
    with service(
        config, lambda _: [("running", {}), ("done", {**EQUAL, "withheld": left})]
    ) as taken:
        done, out, _ = run(capsys, config, "retry", "person")
    assert (done, [(request.kind, request.resource) for request in taken]) == (
        code,
        [("retry", "person")],
    )
    assert said in out


def test_republish_looks_at_the_topic_first(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the service is asked; a table that is suspended anew is told."""
    looked: list[tuple[str, str]] = []

    def collect(
        kafka: KafkaSettings, state_topic: str, resource: str, topic: str, reader: object
    ) -> Collected:
        looked.append((resource, topic))
        return Collected(records=77, generation=1)

    monkeypatch.setattr("agent.publish.topic_keys.collect", collect)
    # Kafka's part is tested with Kafka
    republishing = "agent.preflight.republishing"
    monkeypatch.setattr(
        f"{republishing}.topic", lambda kafka, topics, resources, name, _: f"unit.{name}"
    )
    monkeypatch.setattr(f"{republishing}.taken_by_kafka", lambda name, reader: True)
    with service(config, lambda _: [("running", EQUAL), ("done", EQUAL)]) as taken:
        code, out, _ = run(capsys, config, "republish", "person", "--allow-deletes")
    assert (code, looked) == (0, [("person", "unit.person")])
    assert [(request.kind, request.allow_deletes) for request in taken] == [("republish", True)]
    assert "77 records" in out and "4321 rows published" in out
    with service(config, lambda _: [("running", EQUAL), ("failed", {"state": "suspended"})]):
        code, _, err = run(capsys, config, "republish", "person")
    assert (code, "REQUEST_REFUSED: person is suspended" in err) == (1, True)
