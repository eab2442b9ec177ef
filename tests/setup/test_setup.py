"""Tests `sync-agent setup` as a unit meets it: from the first question to live tables."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from agent.config import load
from tests.agent_process import Installation, in_this_process, program, url
from tests.services.kafka import KafkaAddress
from tests.services.processes import HOST
from tests.source.databases import place_of
from tests.waiting import eventually

CANARY = "canary-310101199001010000"
SCHEMA = f"""
    CREATE TABLE person (id bigint PRIMARY KEY, name text, sfzh text, town varchar(40));
    COMMENT ON TABLE person IS '人口';
    INSERT INTO person SELECT n, 'n' || n, '{CANARY}', '{CANARY}' FROM generate_series(1, 3) n;
    CREATE TABLE permit (id int PRIMARY KEY, what text)
"""


@pytest.fixture
def business(database: str) -> str:
    """Returns a database with tables of a unit."""
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in SCHEMA.split(";"):
            connection.execute(statement.encode())
    return database


@pytest.fixture
def role(business: str, topic_prefix: str) -> Iterator[str]:
    """Returns the name of a role that may log in, and do nothing else yet."""
    name = topic_prefix.replace("-", "_")
    made = sql.Identifier(name)
    with psycopg.connect(business, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN REPLICATION").format(made))
        yield name
        connection.execute(sql.SQL("DROP OWNED BY {}").format(made))
        connection.execute(sql.SQL("DROP ROLE {}").format(made))


def answers(business: str, role: str, kafka: KafkaAddress, folder: Path, port: int) -> Path:
    """Writes a file of answers."""
    given = conninfo_to_dict(business)
    path = folder / "answers.toml"
    path.write_text(
        f"""
        tables = ["public.*"]
        state_directory = "{folder}/state"
        [source]
        host = "{given["host"]}"
        port = {given["port"]}
        database = "{given["dbname"]}"
        user = "{role}"
        password = "none"
        heartbeat_seconds = 1.0
        [kafka]
        bootstrap_servers = ["{kafka.bootstrap}"]
        prefix = "{role}"
        [service]
        listen = "{HOST}:{port}"
        """,
        encoding="utf-8",
    )
    return path


def test_from_answers_to_live_tables(
    business: str, role: str, kafka: KafkaAddress, tmp_path: Path
) -> None:
    """What setup writes is all that `init --apply` and the service need."""
    unit = Installation(tmp_path, business, kafka.bootstrap, role)
    file = answers(business, role, kafka, tmp_path, unit.listen)
    done = in_this_process(unit.config, "setup", "--answers", str(file), "--yes")
    assert done.returncode == 0, done.stderr
    # The statements with the least rights: no personal data, no other table
    assert 'GRANT SELECT ("id", "name", "town") ON TABLE "public"."person"' in done.stdout
    assert "sfzh" not in done.stdout.partition("1. Business database")[2]
    # Its role may not read rows before: that is said, and nothing of them is shown
    assert "READ_REFUSED" in done.stdout
    assert CANARY not in done.stdout
    assert f"sync-agent -c {unit.config} init --apply" in done.stdout.splitlines()[-1]
    assert unit.config.stat().st_mode & 0o777 == 0o640

    written = unit.config.read_text(encoding="utf-8")
    again = in_this_process(unit.config, "setup", "--answers", str(file), "--yes")
    assert again.returncode == 2
    assert "SETUP_REFUSED" in again.stderr
    again = in_this_process(
        unit.config, "setup", "--answers", str(file), "--yes", "--overwrite", "--as", url(business)
    )
    assert again.returncode == 0, again.stderr
    # The same answers make the same file; an administrator sees what events would be
    assert unit.config.read_text(encoding="utf-8") == written
    assert f"<character varying(40), {len(CANARY)} characters>" in again.stdout
    assert CANARY not in again.stdout
    assert '"name": "<text, 2 characters>"' in again.stdout

    unit.init()
    with unit.start() as agent:
        agent.wait_ready()
        eventually(lambda: live(unit) == ["permit", "person"], 60, "both tables are live")


def live(unit: Installation) -> list[str]:
    tables = unit.status()["tables"]
    return sorted(table["name"] for table in tables if table["state"] == "live")


def test_a_table_is_chosen_on_a_terminal_in_chinese(
    business: str, role: str, tmp_path: Path
) -> None:
    """The whole of it, over a pseudo-terminal as ssh gives one; then Ctrl-C leaves nothing."""
    config = tmp_path / "agent.toml"
    given = conninfo_to_dict(business)
    with Screen([*program(config), "setup", "--set", f"state_directory={tmp_path}"]) as screen:
        screen.answer("来源类型", "")
        screen.answer("主库地址", str(given["host"]))
        screen.answer("端口", str(given["port"]))
        screen.answer("数据库", str(given["dbname"]))
        screen.answer("专用账号", "nobody_knows")
        screen.answer("的密码", "none")
        screen.answer("TLS", "")
        # The reason is that of `check`, and all of it is asked again
        screen.expect("SOURCE_LOGIN")
        for question in ("来源类型", "主库地址", "端口", "数据库"):
            screen.answer(question, "")
        screen.answer("专用账号", role)
        screen.answer("的密码", "type")
        screen.answer("写入的文件", "")
        screen.answer("（不显示）", "geheim-canary")
        screen.answer("TLS", "")
        screen.answer("要共享的表", "")
        screen.answer("选择其中哪些", "person")
        screen.expect("身份证件")
        screen.answer("照此共享", "-town")
        screen.answer("资源名称", "people")
        screen.answer("前置库", "")
        screen.answer("Kafka 接入地址", f"{HOST}:1")
        for question in ("主题前缀", "CA 证书文件", "Kafka 账号", "副本数"):
            screen.answer(question, "")
        screen.answer("仍然保留", "y")
        screen.answer("写入", "")
        assert screen.end() == 0

    assert "geheim-canary" not in screen.text
    assert CANARY not in screen.text
    settings = load(config)
    (resource,) = settings.resource
    assert (resource.name, resource.columns) == ("people", ["id", "name"])
    password = tmp_path / "source.password"
    assert password.read_text(encoding="utf-8") == "geheim-canary\n"
    assert password.stat().st_mode & 0o777 == 0o600

    other = tmp_path / "other"
    other.mkdir()
    with Screen([*program(other / "agent.toml"), "setup", "--yes"]) as screen:
        screen.answer("数据库", "\x03")
        assert screen.end() == 130
    assert list(other.iterdir()) == []


class Screen:
    """A command on a pseudo-terminal: what it shows, and the keys that are pressed."""

    def __init__(self, command: list[str]) -> None:
        self.text = ""
        self._seen = 0
        self._main, terminal = pty.openpty()
        environment = {**os.environ, "SYNC_AGENT_LANG": "zh_CN", "TERM": "xterm", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - see there
        )
        os.close(terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._main)

    def expect(self, said: str) -> None:
        """Waits until something is shown that was not seen before."""

        def shown() -> bool:
            self._read()
            found = self.text.find(said, self._seen)
            if found >= 0:
                self._seen = found + len(said)
            return found >= 0

        eventually(shown, what=f"the screen shows {said}", interval=0.01)

    def answer(self, question: str, keys: str) -> None:
        """Waits for a question, and answers it with Enter."""
        self.expect(question)
        # Behind the question stands a colon, when it is ready for keys
        self.expect(":")
        os.write(self._main, f"{keys}\n".encode())

    def end(self) -> int:
        """Waits until the command has ended; returns its exit code."""

        def ended() -> bool:
            self._read()
            return self._process.poll() is not None

        eventually(ended, what="setup has ended")
        self._read()
        return self._process.returncode

    def _read(self) -> None:
        while select.select([self._main], [], [], 0)[0]:
            try:
                self.text += os.read(self._main, 65536).decode(errors="replace")
            except OSError:
                return  # the other end is closed


def _take_terminal() -> None:
    """Makes the pseudo-terminal that of the new session, so that Ctrl-C comes as a signal.

    Whoever runs the tests may ignore that signal, as shells let what they start behind themselves.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("kind", ["mysql", "polling", "trigger"])
def test_a_polled_mariadb(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Its sample events hold no value either, and the file is that of its kind of source."""
    with place_of("mariadb", request, tmp_path) as place:
        place.execute(
            "CREATE TABLE permit (id INT PRIMARY KEY, holder VARCHAR(40) COMMENT '持有人', "
            "update_time DATETIME, phone VARCHAR(20))",
            "CREATE INDEX permit_updated ON permit (update_time)",
            f"INSERT INTO permit VALUES (1, '{CANARY}', '2026-01-01 00:00:00', '13800000000')",
        )
        address = place.url
        (tmp_path / "password").write_text(str(address.password or ""), encoding="utf-8")
        secret = f'{{ file = "{tmp_path}/password" }}' if address.password else '"none"'
        config = tmp_path / "agent.toml"
        done = in_this_process(
            config,
            "setup",
            "--yes",
            *["--set", f"source.type={kind}"],
            *["--set", f"source.url={address.set(password=None)}"],
            *["--set", f"source.password={secret}"],
            *["--set", "kafka.bootstrap_servers=127.0.0.1:1"],
            *["--set", f"state_directory={tmp_path}"],
        )
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout
    assert f"<character varying(40), {len(CANARY)} characters>" in done.stdout
    data = tomllib.loads(config.read_text(encoding="utf-8"))
    assert data["resource"][0]["columns"] == ["id", "holder", "update_time"]
    assert ("poll" in data["resource"][0]) == (kind == "polling")
    assert ("轮询间隔" in config.read_text(encoding="utf-8")) == (kind == "polling")


def test_without_a_terminal_a_missing_answer_has_a_name(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    done = subprocess.run(
        [sys.executable, "-m", "agent", "-c", str(config), "setup", "--set", "source.host=h"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "SYNC_AGENT_LANG": "en"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ANSWER_MISSING: setup has no answer to source.type")
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_the_open_is_refused(tmp_path: Path) -> None:
    done = in_this_process(
        tmp_path / "agent.toml", "setup", "--yes", "--as", "postgresql://postgres:x@h/d"
    )
    assert done.returncode == 2
    done = in_this_process(
        tmp_path / "agent.toml",
        "setup",
        "--yes",
        *["--set", "source.type=polling", "--set", "source.url=mariadb+pymysql://u:geheim@h/d"],
    )
    assert done.returncode == 2
    assert "ANSWER_WRONG" in done.stderr
    assert "geheim" not in done.stderr
