"""The command line as users and systemd see it: output, language, exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from sqlalchemy import create_engine, insert
from sqlalchemy.engine import make_url

from agent import __version__
from agent.cli import app, comparison, status, status_text
from agent.cli.commands import execute
from agent.cli.requests import Answer
from agent.config import Settings, load
from agent.connectors.postgres.kept_log import KeptLog
from agent.connectors.postgres.setup import status as slot_status
from agent.errors import AnotherAgent, LoginRefused, NotInitialised, SlotAdvanced
from agent.front.schema import VERSION, AgentTables
from agent.messages import phrase
from agent.service import verdict
from agent.service.health import HealthServer
from agent.service.last_end import LastEnd
from agent.service.metrics import CONNECTED, PEERS, Metrics
from tests.services.processes import free_port
from tests.test_config import SMALL

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", "en")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Returns a configuration whose peers are all away."""
    path = tmp_path / "tax.toml"
    text = f'state_directory = "{tmp_path}"\n' + SMALL.replace(
        'host = "127.0.0.1"', 'host = "127.0.0.1"\nport = 1'
    )
    path.write_text(text + '[service]\nlisten = "127.0.0.1:1"\n', encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> tuple[int, str, str]:
    code = execute(["-c", str(config), *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# ---- commands ----


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_show_config_prints_the_settings_in_effect(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, config, "show-config")
    assert code == 0
    assert 'slot = "sync_agent_tax"' in out


def test_config_comes_from_the_environment(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_AGENT_CONFIG", str(config))
    assert execute(["show-config"]) == 0
    assert 'name = "tax"' in capsys.readouterr().out


def test_show_config_prints_the_schema_without_a_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute(["-c", "/nonexistent.toml", "show-config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "unit-sync-agent configuration"


def test_children_of_the_supervisor_are_hidden_and_refuse_to_start_alone(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["--help"]) == 0
    assert "capture" not in capsys.readouterr().out
    for command in ("capture", "publish"):
        code, _, err = run(capsys, config, command)
        assert code == 2
        assert "This command is started by `sync-agent run`." in err


class Finding(NamedTuple):
    """As `agent.findings` has it."""

    code: str
    level: str
    message: str
    fix: str


WARNING = Finding(
    "WAL_LIMIT", "warning", "no limit [here]", "ALTER SYSTEM SET x = 1;\nSELECT pg_reload_conf();"
)
ERROR = Finding(
    "WAL_LEVEL", "error", "wal_level is replica", "ALTER SYSTEM SET wal_level = logical;"
)


@pytest.mark.parametrize(("findings", "code"), [([], 0), ([WARNING], 0), ([WARNING, ERROR], 78)])
def test_check_exits_78_when_a_finding_is_an_error(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    findings: list[Finding],
    code: int,
) -> None:
    monkeypatch.setattr("agent.preflight.checks.check", lambda _settings: findings)
    assert run(capsys, config, "check")[0] == code
    assert run(capsys, config, "check", "--json")[0] == code


def test_check_prints_each_finding_with_its_fix(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.preflight.checks.check", lambda _settings: [WARNING])
    _, out, _ = run(capsys, config, "check")
    assert out == (
        "warning WAL_LIMIT: no limit [here]\n"
        "    ALTER SYSTEM SET x = 1;\n    SELECT pg_reload_conf();\n"
        "errors: 0, warnings: 1, ok: 0\n"
    )
    _, out, _ = run(capsys, config, "check", "--json")
    assert json.loads(out) == [WARNING._asdict()]


def test_check_shows_what_is_not_ok_first_and_counts_the_rest(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for 150 tables, most of which are well."""
    fine = [Finding("FRONT_TABLE", "ok", f"table {number} fits", "") for number in range(468)]
    found = [*fine[:200], WARNING, *fine[200:], ERROR]
    monkeypatch.setattr("agent.preflight.checks.check", lambda _settings: found)
    _, out, _ = run(capsys, config, "check")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("    ")] == [
        "error",
        "warning",
        "errors:",
    ]
    assert lines[-1] == "errors: 1, warnings: 1, ok: 468 (`--all` shows them)"
    _, out, _ = run(capsys, config, "check", "--all")
    assert len([line for line in out.splitlines() if line.startswith("ok FRONT_TABLE")]) == 468
    assert out.splitlines()[-1] == "errors: 1, warnings: 1, ok: 468"
    _, out, _ = run(capsys, config, "check", "--json")
    assert len(json.loads(out)) == 470


def test_init_hands_over_what_was_asked_for(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def initialise(
        settings: Settings, apply: bool, admin_url: str | None, tell: object, topics: Sequence[str]
    ) -> None:
        assert callable(tell)
        tell(" ".join([settings.agent, str(apply), str(admin_url), *topics]))

    monkeypatch.setattr("agent.preflight.initialise.initialise", initialise)
    assert run(capsys, config, "init")[1] == "tax False None\n"
    assert (
        run(capsys, config, "init", "--apply", "--as", "postgresql://a@h/d")[1]
        == "tax True postgresql://a@h/d\n"
    )
    taking = run(capsys, config, "init", "--apply", "--take-over", "a", "--take-over", "b")
    assert taking[1] == "tax True None a b\n"


def test_init_takes_no_password_on_the_command_line(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, config, "init", "--as", "postgresql://a:geheim@h/d")
    assert code == 2
    assert "PGPASSWORD" in err
    assert "geheim" not in err


# ---- errors ----


def test_agent_error_is_a_sentence_with_the_next_step(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: object) -> None:
        raise AnotherAgent(holder="pid 7")

    monkeypatch.setattr(app, "status", held)
    assert run(capsys, config, "status") == (
        75,
        "",
        (
            "ANOTHER_AGENT: Another process holds this agent's front end (pid 7)\n"
            f"  → {AnotherAgent.hint}\n"
        ),
    )
    monkeypatch.setenv("SYNC_AGENT_LANG", "zh_CN")
    assert run(capsys, config, "status")[2].startswith(
        "ANOTHER_AGENT: 本同步代理的前置库正被另一个进程占用（pid 7）\n  → 请先停止该进程"
    )


def test_unforeseen_error_shows_type_and_place_only(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text could hold a row's values."""

    def broken(*_: object) -> None:
        raise ValueError("geheim")

    monkeypatch.setattr(app, "status", broken)
    code, out, err = run(capsys, config, "status")
    assert (code, out) == (78, "")
    assert re.match(
        r"INTERNAL: The agent met something it does not know: "
        r"ValueError in broken \(test_cli.py:\d+\) < status \(commands.py:\d+\)",
        err,
    )
    assert "geheim" not in err


def test_wrong_configuration_exits_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, tmp_path / "none.toml", "run")
    assert code == 78
    assert err.startswith("CONFIG_INVALID: ")


def test_usage_errors_and_interrupts(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, config, "nonsense")[0] == 2

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "status", interrupted)
    assert run(capsys, config, "status")[0] == 130


def test_service_refuses_an_address_in_use(config: Path) -> None:
    """As systemd starts it: one readable error, exit 78."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        config.write_text(
            config.read_text().replace("127.0.0.1:1", f"127.0.0.1:{holder.getsockname()[1]}")
        )
        done = subprocess.run(
            [sys.executable, "-m", "agent", "-c", str(config), "run"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 78
    assert done.stderr.startswith("LISTEN_REFUSED: The address 127.0.0.1:")


def test_service_before_init_exits_78(config: Path) -> None:
    """The halt of a child is told once and ends the service."""
    config.write_text(config.read_text().replace("127.0.0.1:1", f"127.0.0.1:{free_port()}"))
    done = subprocess.run(
        [sys.executable, "-m", "agent", "-c", str(config), "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    assert " code=NOT_INITIALISED " in done.stderr
    assert "service_ended status=78" in done.stderr


def test_children_get_a_control_and_give_it_back(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`capture` and `publish` run under the control they inherit, with the service's nonce.

    They close it.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr("agent.service.control.die_with_parent", lambda: None)
    monkeypatch.setattr(
        "agent.capture.loop.capture",
        lambda _settings, control: calls.append((control.stage, control.nonce)),
    )
    monkeypatch.setattr(
        "agent.publish.relay.relay",
        lambda _settings, control, nonce: calls.append((control.stage, nonce)),
    )
    for command in ("capture", "publish"):
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        used, other = (write, read) if command == "capture" else (read, write)
        for name, value in {
            "SYNC_AGENT_CONTROL": str(theirs.detach()),
            "SYNC_AGENT_WAKE": str(used),
            "SYNC_AGENT_NONCE": "n",
        }.items():
            monkeypatch.setenv(name, value)
        assert execute(["-c", str(config), command]) == 0
        assert b'{"beat": "' in ours.recv(65536)
        assert ours.recv(1) == b""
        ours.close()
        os.close(other)
    assert calls == [("capture", "n"), ("publish", "n")]
    for number, handler in handlers.items():
        signal.signal(number, handler)


# ---- status ----


@pytest.fixture
def front(config: Path) -> Settings:
    """The front end of an agent that has published 40 of 50 events and suspended its table."""
    config.write_text(
        config.read_text() + '[[resource]]\nname = "permit"\ntable = "permit"\ncolumns = ["id"]\n'
    )
    settings = load(config)
    settings.directory.mkdir()
    engine, own = create_engine(settings.front.url), AgentTables(settings.agent)
    time_us = 1_700_000_000_000_000
    with engine.begin() as connection:
        own.metadata.create_all(connection)
        texts = {
            "agent_uuid": "u",
            "agent_name": "tax",
            "source_id": "s",
            "identity": '{"system_id": "1", "timeline": 1, "slot": "s", "publication": "p"}',
            "token": "",
            "nonce": "n",
            "commit_position": "0/9",
        }
        numbers = {
            "id": 1,
            "version": VERSION,
            "epoch": 3,
            "initialised": 1,
            "commit_transaction": 7,
            "commit_time_us": time_us,
            "number": 50,
            "batch": 5,
        }
        connection.execute(
            insert(own.state).values(position="0/10", position_time_us=time_us, **texts, **numbers)
        )
        connection.execute(
            insert(own.published).values(
                id=1, number=40, event_id="e", batch=4, position="0/8", time_us=time_us
            )
        )
        outbox = {"part": 0, "time_us": time_us, "payload": b"12345"}
        connection.execute(
            insert(own.outbox),
            [
                {"batch": n, "first_number": n * 10 - 9, "last_number": n * 10, **outbox}
                for n in (4, 5)
            ],
        )
        common = {"generation": 1, "seq": 25, "event_time_us": time_us}
        well = {
            "name": "person",
            "topic": "unit.person",
            "state": "live",
            "code": "",
            "details": "{}",
        }
        details = json.dumps({"resource": "permit", "table": "permit", "reason": "too wide"})
        stopped = {
            "name": "permit",
            "topic": "unit.permit",
            "state": "suspended",
            "code": "ROW_REFUSED",
            "details": details,
        }
        connection.execute(insert(own.resource), [well | common, stopped | common])
    engine.dispose()
    return settings


def test_status_as_json(front: Settings, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Source and service are away: that is part of the answer, not an error."""
    code, out, _ = run(capsys, config, "status", "--json")
    answer = json.loads(out)
    assert (code, answer["exit_code"], answer["level"]) == (2, 2, "critical")
    person, permit = answer["tables"]
    assert person["lag_seconds"] == answer["lag_seconds"] > 1_000_000
    assert {
        name: person[name] for name in ("state", "events", "topic", "target", "source", "reason")
    } == {
        "state": "live",
        "events": 25,
        "topic": "unit.person",
        "target": "person",
        "source": "public.person",
        "reason": None,
    }
    assert (permit["state"], permit["code"], permit["lag_seconds"]) == (
        "suspended",
        "ROW_REFUSED",
        None,
    )
    assert answer["position"] == "0/10"
    assert answer["last_commit"] == "2023-11-14T22:13:20.000+00:00"
    assert answer["outbox"] == {"events": 10, "bytes": 5, "oldest": "2023-11-14T22:13:20.000+00:00"}
    assert (answer["published"]["number"], answer["published"]["of"]) == (40, 50)
    source = answer["source"]
    assert (source["reachable"], source["slot"], source["exists"]) == (
        False,
        "sync_agent_tax",
        None,
    )
    assert source["code"] == "SOURCE_UNREACHABLE"
    assert answer["service"] == {"running": False, "ready": False, "checks": {}}
    assert (answer["stages"], answer["ended"]) == ({}, None)


def test_status_as_a_table(
    front: Settings,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", "zh_CN")
    _, out, _ = run(capsys, config, "status")
    for text in (
        "正常同步",
        "已暂停",
        "unit.permit",
        "ROW_REFUSED: permit：前置库表 permit 拒绝了一行：too wide",
        "→ 请使",
        "待发 10 个事件，5 字节",
        "业务库：SOURCE_UNREACHABLE: 业务库（127.0.0.1:1/business）没有响应",
        "服务：未运行",
    ):
        assert text in out


def test_status_of_a_running_service(front: Settings) -> None:
    """Seen by the service's own endpoint; another agent on that port does not count."""
    for agent, running in (("tax", True), ("other", False)):
        metrics = Metrics("tax", [])
        with HealthServer("127.0.0.1:0", agent, metrics) as server:
            settings = front.model_copy(
                update={
                    "service": front.service.model_copy(
                        update={"listen": f"127.0.0.1:{server.port}"}
                    )
                }
            )
            metrics.gauge(f"{CONNECTED}/source", 1)
            answer = status.collect(settings)
            assert (answer["service"]["running"], answer["service"]["ready"]) == (running, False)
            assert ("running, not connected: frontend, kafka" in shown(answer)) is running
            metrics.gauge(f"{CONNECTED}/frontend", 1)
            metrics.gauge(f"{CONNECTED}/kafka", 1)
            assert ("running, everything connected" in shown(status.collect(settings))) is running


def failed(metrics: Metrics) -> None:
    """Two attempts of capture's fail."""
    error = LoginRefused(peer=phrase("the business database"), user="sync", reason="no")
    for _ in range(2):
        metrics.failed("capture", error.code, error.plain_values())


def test_status_says_what_a_stage_fails_with(
    front: Settings, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything is connected, and yet it makes no progress.

    This is said where the front end cannot be read, and to monitors, too.
    """
    metrics = Metrics("tax", [])
    for peer in PEERS:
        metrics.gauge(f"{CONNECTED}/{peer}", 1)
    with HealthServer("127.0.0.1:0", "tax", metrics) as server:
        config.write_text(config.read_text().replace('127.0.0.1:1"', f'127.0.0.1:{server.port}"'))
        assert run(capsys, config, "status", "--json")[0] == 2  # for its suspended table
        failed(metrics)
        code, out, _ = run(capsys, config, "status")
        assert code == 2
        assert "service: running, but it does not get on" in out
        assert "the capture process has failed 2 times in a row, since 20" in out
        assert (
            "\nLOGIN_REFUSED: the business database refused the login of sync: no\n  → Put" in out
        )
        line = "the capture process has failed 2 times in a row: LOGIN_REFUSED: the business"
        assert line in out.splitlines()[-1]
        answer = json.loads(run(capsys, config, "status", "--json")[1])
        stage = answer["stages"]["capture"]
        assert (stage["ok"], stage["code"], stage["attempts"]) == (False, "LOGIN_REFUSED", 2)
        assert answer["stages"]["publish"] == {"ok": True}
        assert ("STAGE_FAILING", "LOGIN_REFUSED") in {
            (problem["code"], problem["error"]) for problem in answer["problems"]
        }
        Path(str(make_url(front.front.url).database)).unlink()
        code, out, err = run(capsys, config, "status")
        assert (code, err.splitlines()[0].split(":")[0]) == (3, "NOT_INITIALISED")
        assert "\nLOGIN_REFUSED: the business database refused" in out
        code, out, _ = run(capsys, config, "status", "--summary")
        assert (code, out.count("\n")) == (3, 1)
        assert line in out
        metrics.well("capture")
        assert "LOGIN_REFUSED" not in run(capsys, config, "status")[1]


@pytest.mark.parametrize(
    ("lang", "said"), [("en", "the service ended at 20"), ("zh_CN", "服务已于 20")]
)
def test_status_says_why_the_service_has_ended(
    front: Settings,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    lang: str,
    said: str,
) -> None:
    """As long as it does not work again, and also where the front end cannot be read."""
    monkeypatch.setenv("SYNC_AGENT_LANG", lang)
    error = SlotAdvanced(slot="s", confirmed="0/9", position="0/8")
    LastEnd(front.directory).note("capture", error)
    for _ in range(2):
        code, out, err = run(capsys, config, "status")
        for part in (said, f"SLOT_ADVANCED: {error.text()}", f"  → {error.advice()}"):
            assert part in out
        answer = json.loads(run(capsys, config, "status", "--json")[1])
        assert (answer["ended"]["code"], answer["ended"]["stage"]) == ("SLOT_ADVANCED", "capture")
        assert "SLOT_ADVANCED" in run(capsys, config, "status", "--summary")[1]
        Path(str(make_url(front.front.url).database)).unlink(missing_ok=True)
    assert (code, err.splitlines()[0].split(":")[0]) == (3, "NOT_INITIALISED")
    LastEnd(front.directory).forget()
    assert "SLOT_ADVANCED" not in run(capsys, config, "status")[1]


KEPT = KeptLog("reserved", 8192, 2.0**30, 4096, -1, active=True)


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (KEPT, "replication slot sync_agent_tax is 4,096 bytes behind"),
        (None, "replication slot sync_agent_tax does not exist"),
    ],
)
def test_status_of_the_slot(
    front: Settings, monkeypatch: pytest.MonkeyPatch, slot: KeptLog | None, expected: str
) -> None:
    @contextmanager
    def connected(_settings: object) -> Iterator[None]:
        yield None

    monkeypatch.setattr(slot_status, "connect", connected)
    monkeypatch.setattr(slot_status, "kept_log", lambda _connection, _name: slot)
    assert expected in shown(status.collect(front))


@pytest.mark.parametrize(
    ("most", "configured", "large"),
    [
        (-1, None, False),
        (0, None, False),
        (10 << 20, None, True),
        (18 << 20, None, False),
        (-1, 9 << 20, False),
        (-1, 8 << 20, True),
        (10 << 20, 9 << 20, False),
    ],
)
def test_status_warns_of_kept_log(
    front: Settings,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    configured: int | None,
    large: bool,
) -> None:
    """By default above half of what the server lets a slot keep; else above the configured size."""

    @contextmanager
    def connected(_settings: object) -> Iterator[None]:
        yield None

    kept = KEPT._replace(bytes=9 << 20, most_bytes=most)
    monkeypatch.setattr(slot_status, "connect", connected)
    monkeypatch.setattr(slot_status, "kept_log", lambda _connection, _name: kept)
    source = front.postgres.model_copy(update={"warn_log_bytes": configured})
    found = status.collect(front.model_copy(update={"source": source}))
    assert found["source"]["retained_bytes"] == 9 << 20
    texts = {problem.code: problem.text for problem in verdict.problems(found)}
    assert ("LOG_RETAINED" in texts) == large
    assert not large or "keeps 9 MB of log" in texts["LOG_RETAINED"]


def test_status_before_init(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, config, "status")
    assert (code, out) == (3, "")
    assert err.startswith(f"{NotInitialised.code}: ")


# ---- the exit code of status, for monitoring ----

WELL: dict[str, Any] = {
    "service": {"running": True, "ready": True, "checks": {"source": {"ok": True}}},
    "source": {"reachable": True, "trouble": None},
    "lag_seconds": 1.5,
    "tables": [{"name": "person", "state": "live", "code": None, "withheld": 0}],
}


def without_kafka_for(seconds: int) -> dict[str, object]:
    since = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")
    check = {"ok": False, "since": since}
    return {"service": {"running": True, "ready": False, "checks": {"kafka": check}}}


def table(**values: object) -> dict[str, object]:
    return {"tables": [{"name": "person", "state": "live", "code": None, "withheld": 0} | values]}


@pytest.mark.parametrize(
    ("change", "level", "codes"),
    [
        ({}, "ok", []),
        (table(state="copying"), "warning", ["TABLE_COPYING"]),
        (table(state="unknown"), "warning", ["TABLE_NOT_TAKEN_UP"]),
        (table(withheld=3), "warning", ["ROWS_WITHHELD"]),
        (table(state="suspended", code="ROW_REFUSED"), "critical", ["TABLE_SUSPENDED"]),
        ({"lag_seconds": 61.0}, "warning", ["BEHIND"]),
        ({"lag_seconds": 601.0}, "critical", ["BEHIND"]),
        ({"source": {"reachable": False}}, "warning", ["SOURCE_SILENT"]),
        (
            {"source": {"reachable": True, "trouble": ("SLOT_MISSING", "there is none")}},
            "critical",
            ["SLOT_MISSING"],
        ),
        (
            {"source": {"reachable": True, "trouble": None, "concern": ("LOG_SIZE", "many")}},
            "warning",
            ["LOG_SIZE"],
        ),
        (
            {"service": {"running": False, "ready": False, "checks": {}}, "lag_seconds": 61.0},
            "critical",
            ["SERVICE_NOT_RUNNING", "BEHIND"],
        ),
        (
            {"service": {"running": True, "ready": False, "checks": {"kafka": {"ok": False}}}},
            "critical",
            ["NOT_CONNECTED"],
        ),
        ({"service": {"running": True, "ready": False, "checks": {}}}, "critical", ["NOT_READY"]),
        (
            {"service": WELL["service"] | {"doubted_tables": 2}},
            "warning",
            ["TABLES_DOUBTED"],
        ),
        ({"standbys": 1}, "ok", []),
        ({"standbys": 0}, "warning", ["NO_STANDBY"]),
    ],
)
@pytest.mark.parametrize("lang", ["en", "zh_CN"])
def test_what_a_monitor_is_told(
    change: dict[str, object],
    level: str,
    codes: list[str],
    lang: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", lang)
    found = verdict.problems(WELL | change)
    assert [problem.code for problem in found] == codes
    told = verdict.plain(found)
    assert (told["level"], told["exit_code"]) == (level, ["ok", "warning", "critical"].index(level))
    words = {"ok": "正常", "warning": "警告", "critical": "严重"}
    line = verdict.line(found, 1)
    assert line.startswith(level.upper() if lang == "en" else words[level])
    assert "\n" not in line


@pytest.mark.parametrize(("seconds", "level"), [(0, "warning"), (60, "critical")])
def test_a_service_that_has_just_started_may_lack_a_peer(seconds: int, level: str) -> None:
    (problem,) = verdict.problems(WELL | without_kafka_for(seconds))
    assert (problem.code, problem.level) == ("NOT_CONNECTED", level)


def test_the_worst_comes_first_and_the_line_stays_short() -> None:
    tables = [
        {"name": f"t{number}", "state": state, "code": "ROW_REFUSED", "withheld": 0}
        for number in range(75)
        for state in ("copying", "suspended")
    ]
    found = verdict.problems(WELL | {"tables": tables})
    assert verdict.plain(found)["exit_code"] == 2
    assert [problem.level for problem in found] == ["critical"] * 75 + ["warning"] * 75
    line = verdict.line(found, 150)
    assert line.startswith("CRITICAL: t0 is suspended (ROW_REFUSED); ")
    assert line.endswith("; and 145 more")


def test_summary_is_one_line(
    front: Settings, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nagios shows the first line of standard output."""
    code, out, _ = run(capsys, config, "status", "--summary")
    assert code == 2
    assert out.startswith("CRITICAL: the service does not run; ")
    assert "permit is suspended (ROW_REFUSED)" in out
    assert out.count("\n") == 1
    _, whole, _ = run(capsys, config, "status")
    assert whole.splitlines()[-1].startswith("CRITICAL: ")


def test_what_cannot_be_read_is_unknown(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is 3 when nothing is initialised, and after a wrong call or an accident.

    A missing configuration gives 3, too. JSON and the one line are there all the same.
    """
    code, out, err = run(capsys, config, "status", "--json")
    answer = json.loads(out)
    assert (code, answer["level"], answer["exit_code"]) == (3, "unknown", 3)
    assert [problem["code"] for problem in answer["problems"]] == ["NOT_INITIALISED"]
    code, out, err = run(capsys, config.with_name("none.toml"), "status", "--summary")
    assert (code, out.count("\n")) == (3, 1)
    assert out.startswith("UNKNOWN: ")
    assert err.startswith("CONFIG_INVALID: ")
    assert run(capsys, config, "status", "--nonsense")[0] == 3

    def broken(*_: object) -> None:
        raise ValueError("geheim")

    monkeypatch.setattr(status, "collect", broken)
    code, out, err = run(capsys, config, "status", "--json")
    assert (code, json.loads(out)["problems"][0]["code"]) == (3, "INTERNAL")
    assert "geheim" not in out + err


@pytest.mark.parametrize(
    ("lang", "said", "nothing"),
    [
        (
            "en",
            "person: repaired: 3 rows added, 1,000 changed, 0 deleted in the front-end table",
            "person: nothing was to repair",
        ),
        (
            "zh_CN",
            "person：已修复前置库表：补入 3 行，更正 1,000 行，删除 0 行",
            "person：无需修复",
        ),
    ],
)
def test_reconcile_says_what_it_repaired(
    lang: str, said: str, nothing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verify of the same has repaired nothing."""
    monkeypatch.setenv("SYNC_AGENT_LANG", lang)
    counts = {"rows": 2000, "equal": 997, "missing": 3, "different": 1000, "extra": 0}
    answer = Answer("person", "done", {**counts, "differences": []})
    found = comparison.report(answer, False, repair=True)
    assert found["repaired"] == {"added": 3, "changed": 1000, "deleted": 0}
    assert said in printed(comparison.render([found]))
    verified = comparison.report(answer, False, repair=False)
    assert verified["repaired"] is None
    assert said not in printed(comparison.render([verified]))
    equal = Answer("person", "done", {**counts, "missing": 0, "different": 0, "differences": []})
    assert nothing in printed(comparison.render([comparison.report(equal, False, repair=True)]))


def printed(content: object) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(content)
    return captured.get()


def shown(answer: dict[str, object]) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(status_text.render(answer))
    return captured.get()
