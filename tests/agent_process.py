"""Runs a real agent for the tests.

It has a configuration and commands, and its service runs as processes that can be killed.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from unittest import mock

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from agent.cli.commands import execute
from tests import waiting
from tests.checker import Places, SharedTable, Verdict, compare
from tests.checker.copies import Number
from tests.checker.front import at_front
from tests.checker.table import Front, in_mariadb
from tests.checker.unit import TABLES, UnitTable, create_tables
from tests.services.postgres import alive, child_pids
from tests.services.processes import HOST, dying_with_parent, free_port
from tests.waiting import PATIENCE, Hopeless, eventually

OUTBOX = (
    "SELECT count(*) FROM sync_agent_state s JOIN sync_agent_published p ON p.number = s.number"
)
Stage = Literal["capture", "publish"]
Lines = Mapping[str, object]  # settings of one section, by name


def knows(front: Front, **identity: object) -> None:
    """Changes what a front end remembers of the source."""
    (before,) = at_front(front, "SELECT identity FROM sync_agent_state")[0]
    now = json.dumps({**json.loads(before), **identity})
    at_front(front, "UPDATE sync_agent_state SET identity = %s", now)


LASTS = 10.0  # seconds a difference must last, see `judge`
SLOW_START = 60.0  # seconds the processes may take on a busy machine


@dataclass
class Installation:
    """Is one agent between a source database, a front end and a broker.

    It knows everything that the agent's configuration says, and runs the agent's commands.
    """

    directory: Path  # of the configuration, the state and the log; made by us
    source: str  # conninfo of an administrator
    bootstrap: str
    # The name of the agent, of its role at the source, and the prefix of its topics. Nothing else
    # on the servers may be called so.
    name: str
    tables: Sequence[UnitTable] = TABLES
    front: str | None = (
        None  # conninfo of a PostgreSQL database, URL of a MariaDB one, None: SQLite
    )
    listen: int = field(default_factory=free_port)
    # Further settings, e.g. {"kafka": {"partitions": 1}}
    sections: Mapping[str, Lines] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / f"{self.name}.toml"

    @property
    def log(self) -> Path:
        """What the service writes on stderr."""
        return self.directory / "agent.log"

    @property
    def front_file(self) -> Path:
        """The SQLite front end."""
        return self.directory / "state" / self.name / "front.db"

    @property
    def places(self) -> Places:
        """What the comparison compares."""
        return Places(self.source, self.front or self.front_file, self.bootstrap)

    @property
    def slot(self) -> str:
        """The replication slot."""
        return f"sync_agent_{self.name}"

    @property
    def state_topic(self) -> str:
        """The topic of the agent's state records."""
        return f"{self.name}.sync-agent.{self.name}"

    @property
    def judged(self) -> list[SharedTable]:
        """The tables as the comparison takes them."""
        return [table.judged(self.name) for table in self.tables]

    def install(self) -> Self:
        """Makes the unit's tables and the configuration, and runs `init --apply`."""
        create_tables(self.source, self.tables)
        self.write_config()
        self.init_here()
        return self

    def init(self) -> str:
        """Runs `init --apply` as administrator and returns what it printed."""
        return self.command("init", "--apply", "--as", url(self.source)).stdout

    def init_here(self) -> None:
        """Runs `init --apply` as administrator in this process, which saves starting another."""
        done = in_this_process(self.config, "init", "--apply", "--as", url(self.source))
        assert done.returncode == 0, f"init ended with {done.returncode}:\n{done.stderr}"

    def command(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command of the agent to its end.

        `status` may say in its exit code that something is not well.
        """
        done = self.completed(*arguments)
        accepted = (0, 1, 2) if arguments[0] == "status" and not expect else (expect,)
        assert done.returncode in accepted, (
            f"{arguments[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        return done

    def completed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as a process of its own."""
        return subprocess.run(
            [*program(self.config), *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        answer = json.loads(self.command("status", "--json").stdout)
        assert isinstance(answer, dict)
        return answer

    def start(self, covered: bool = False, inside: Sequence[str] = ()) -> "Agent":
        """Starts the service; `covered` and `inside`: see Agent."""
        return Agent(self.config, self.log, self.listen, covered, inside)

    def applied(self, position: str = "") -> bool:
        """Tells whether the front end has everything up to a position, and the source knows it.

        Without a position it is all that the source had committed when asked.
        """
        with psycopg.connect(self.source, autocommit=True) as connection:
            position = position or written(connection)
            eventually(
                lambda: self.passed(connection, position),
                30,
                "the slot has passed all commits",
                0.1,
            )
        return True

    def caught_up(self, position: str = "") -> bool:
        """Whether, moreover, nothing waits in the outbox."""
        return self.applied(position) and at_front(self.places.front, OUTBOX) == [(1,)]

    def passed(self, connection: psycopg.Connection, position: str) -> bool:
        """Whether the front end holds everything up to a position and the source knows it."""
        query = (
            "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots "
            "WHERE slot_name = %s"
        )
        return connection.execute(query, [position, self.slot]).fetchone() == (True,)

    def verdict(self, timeout: float = 120.0, position: str = "") -> Verdict:
        """The comparison once everything has arrived; `position`: see applied."""
        eventually(lambda: self.caught_up(position), timeout, "all events are published", 0.5)
        return self.judge()

    def judge(self, copied: Mapping[str, Number] = {}) -> Verdict:
        """Compares all sides; a difference must last LASTS to count.

        Markers of the last transaction may be on their way. `copied`: see Copies.until.
        """
        deadline = time.monotonic() + LASTS * waiting.patience
        while True:
            verdict = compare(self.places, self.judged, copied=copied)
            if verdict.equal or time.monotonic() > deadline:
                return verdict

    def set_for_role(self, setting: str, value: str) -> None:
        """Gives new sessions of the agent at the source another setting; all others keep theirs."""
        with psycopg.connect(self.source, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(self.name), sql.Identifier(setting), sql.Literal(value)
                )
            )

    @contextmanager
    def front_locked(self) -> Iterator[None]:
        """The SQLite front end in the hands of another connection."""
        with closing(
            sqlite3.connect(self.front_file, timeout=PATIENCE, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def write_config(self) -> None:
        """The configuration file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        sections = {
            name: self._section(name) | dict(self.sections.get(name, {}))
            for name in ("source", "front", "kafka", "service")
        }
        lines = [f"state_directory = {_toml(str(self.directory / 'state'))}"]
        for section, settings in sections.items():
            lines += [
                "",
                f"[{section}]",
                *(f"{name} = {_toml(value)}" for name, value in settings.items()),
            ]
        self.config.write_text(
            "\n".join([*lines, "", *(table.toml() for table in self.tables)]), encoding="utf-8"
        )

    def source_settings(self) -> Lines:
        """Returns the settings of the source."""
        given = conninfo_to_dict(self.source)
        return {
            "host": given["host"],
            "port": int(str(given["port"])),
            "database": given["dbname"],
            "user": self.name,
            "heartbeat_seconds": 1.0,
        }

    def _section(self, name: str) -> dict[str, object]:
        own: dict[str, dict[str, object]] = {
            "source": dict(self.source_settings()),
            "front": _front(self.front) if self.front else {},
            "kafka": {"bootstrap_servers": [self.bootstrap], "prefix": self.name},
            "service": {"listen": f"{HOST}:{self.listen}"},
        }
        return own[name]


class Agent:
    """A running service, started with the object.

    `covered`: what its processes run through counts as covered. Only a process that ends by itself
    or by `stop` leaves figures, and counting costs a third of its speed: so a service that the test
    kills in the end, as leaving the context does, is not counted.
    `inside`: a command line that runs the one that is appended to it, in its own process.
    """

    def __init__(
        self,
        config: Path,
        log: Path,
        listen: int,
        covered: bool = False,
        inside: Sequence[str] = (),
    ) -> None:
        self._log = log
        self._listen = listen
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*inside, *program(config), "run"],
                env=None if covered else uncovered(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop the agent
                preexec_fn=dying_with_parent(signal.SIGKILL),  # noqa: PLW1509 - see there
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill9()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """Everything this and earlier runs have written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raises Hopeless with the end of the log when the service has ended."""
        if self.exit_code is not None:
            raise Hopeless(f"the agent ended with {self.exit_code}:\n{self.log[-4000:]}")

    def ready(self) -> bool:
        """Whether all its peers are connected."""
        self.check()
        try:
            with urllib.request.urlopen(
                f"http://{HOST}:{self._listen}/-/ready", timeout=2
            ) as answer:  # loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def wait_ready(self) -> Self:
        """Waits until all its peers are connected."""
        eventually(self.ready, SLOW_START, "the agent is connected to all its peers")
        return self

    def children(self) -> dict[str, int]:
        """The stages' process ids."""
        return {
            stage: pid
            for pid in child_pids(self.pid)
            if alive(pid) and (stage := _last_word(pid)) in ("capture", "publish")
        }

    def child(self, stage: Stage) -> int:
        """The process id of one stage, which may just be starting."""
        self.check()
        return eventually(lambda: self.children().get(stage), SLOW_START, f"{stage} runs") or 0

    def kill9_child(self, stage: Stage) -> None:
        """Kills one stage and waits until it is gone."""
        pid = self.child(stage)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid), what=f"{stage} is gone")

    def reload(self) -> None:
        """Has the service take up its configuration, as `systemctl reload` does."""
        self._process.send_signal(signal.SIGHUP)

    def kill9(self) -> None:
        """Kills the supervisor and waits until nothing of the service is left."""
        if self.exit_code is not None:
            return
        pids = [*self.children().values()]
        self._process.kill()
        self._process.wait()
        eventually(
            lambda: not any(alive(pid) for pid in pids),
            what="the stages died with their supervisor",
        )

    def stop(self, timeout: float = PATIENCE) -> float:
        """SIGTERM; returns the seconds until it had ended."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout)
        return time.monotonic() - began

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code, once it has ended by itself."""
        return self._process.wait(timeout)


def written(connection: psycopg.Connection) -> str:
    """Where the source's log ends."""
    row = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    return str(row[0])


def program(config: Path) -> list[str]:
    """The agent's command line up to the command."""
    return [sys.executable, "-m", "agent", "-c", str(config)]


def uncovered() -> dict[str, str]:
    """Returns the environment for a process that the coverage does not measure."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def in_this_process(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the agent in this process, which saves starting another."""
    with (
        mock.patch.dict(os.environ),  # the language is noted there
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as errors,
    ):
        code = execute(["-c", str(config), *arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def url(conninfo: str, scheme: str = "postgresql") -> str:
    """The URL of a conninfo without password."""
    given = conninfo_to_dict(conninfo)
    return f"{scheme}://{given['user']}@{given['host']}:{given['port']}/{given['dbname']}"


def _front(front: str) -> dict[str, object]:
    """Returns the front end's settings.

    The unit has values that no native column of MariaDB holds (NaN, years before Christ).
    """
    texts = {"types": "text"} if in_mariadb(front) else {}
    return {"url": front_url(front), **texts}


def front_url(front: str) -> str:
    """The SQLAlchemy URL of a front end on a server."""
    return (
        front.replace("mariadb://", "mariadb+pymysql://", 1)
        if in_mariadb(front)
        else url(front, "postgresql+psycopg")
    )


def _last_word(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .rstrip(b"\0")
            .rpartition(b"\0")[2]
            .decode(errors="replace")
        )
    except OSError:
        return ""


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + "}"
    # JSON's texts, numbers, booleans and lists are TOML's too
    return json.dumps(value, ensure_ascii=False)
