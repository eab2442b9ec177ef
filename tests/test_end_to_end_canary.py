"""Tests that nothing the agent says holds a row's value, a key or a secret.

That is logs, metrics, reports, error texts, and what the system shows of its processes.
"""

import json
import os
import re
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from agent.service.health import asked
from tests.agent_process import Agent, Installation
from tests.bundles import texts_in
from tests.checker.front import at_front
from tests.checker.inputs import CANARY, name
from tests.checker.unit import SCHEMA, UnitTable
from tests.reconcile.system import execute, states, wait_state
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.services.processes import HOST
from tests.waiting import eventually

SECRET = "password-canary-51c2"
DDL = ' ("id" text PRIMARY KEY, "值" text UNIQUE, "内部" text)'
TABLES = [
    UnitTable(resource, table, DDL, {"id": name}, {"值": name})
    for resource, table in (("good", "好"), ("refused", "拒"), ("altered", "改"))
]


@pytest.fixture
def place(
    database: str,
    postgres18: PostgresAddress,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
) -> Iterator[Installation]:
    """Yields an agent that reports all it has to report.

    Its front end is in PostgreSQL, whose errors quote whole rows.
    """
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    password = {"password": {"file": str(secret)}}  # the servers do not ask for it
    service = {"log_level": "debug", "log_format": "json"}
    with fresh_database(postgres18) as front:
        yield Installation(
            tmp_path,
            database,
            kafka.bootstrap,
            topic_prefix,
            TABLES,
            front,
            sections={"source": password, "front": password, "service": service},
        ).install()


def write(place: Installation, *tables: str) -> None:
    """A new row in each of these tables, and its change."""
    for table in tables:
        key = f"{CANARY}-{uuid.uuid4().hex}"
        where = sql.Identifier(SCHEMA, table)
        with psycopg.connect(place.source, autocommit=True) as connection:
            connection.execute(
                sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(where), [key, key, key]
            )
            connection.execute(
                sql.SQL("UPDATE {} SET {} = %s WHERE id = %s").format(where, sql.Identifier("值")),
                [key + "-new", key],
            )


class Said:
    """Everything the agent was heard to say, by where it said it."""

    def __init__(self, place: Installation) -> None:
        self.place = place
        self.texts: dict[str, str] = {}

    def listen(self, agent: Agent, when: str) -> None:
        """Hears metrics, health, page, and command lines and environments of all its processes.

        None of the processes may dump core.
        """
        with urllib.request.urlopen(
            f"http://{HOST}:{self.place.listen}/metrics", timeout=5
        ) as answer:  # loopback
            self.texts[f"metrics {when}"] = answer.read().decode()
        for path in ("en", "zh"):
            address = f"http://{HOST}:{self.place.listen}/{path}"
            with urllib.request.urlopen(address, timeout=5) as answer:
                self.texts[f"page {path} {when}"] = answer.read().decode()
        self.texts[f"health {when}"] = json.dumps(
            asked(f"{HOST}:{self.place.listen}", self.place.name, 5)
        )
        for pid in (agent.pid, *agent.children().values()):
            for file in ("cmdline", "environ"):
                self.texts[f"{file} of {pid} {when}"] = (
                    Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace")
                )
            assert re.search(
                r"^Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE
            )

    def command(self, *arguments: str, expect: int = 0) -> str:
        """What a command prints."""
        done = self.place.command(*arguments, expect=expect)
        self.texts[" ".join(arguments)] = done.stdout + done.stderr
        return done.stdout


def listed(place: Installation) -> str:
    """The refused rows, as JSON."""
    return place.command("refused", "refused", "--json").stdout


def test_a_canary_is_never_heard(place: Installation) -> None:
    """Each trouble is reported, and none with what was in it.

    There are refused rows, a changed table, broken connections, a killed process, and differences.
    """
    said = Said(place)
    with place.start(covered=True) as agent:
        agent.wait_ready()
        write(place, "好", "拒", "改")
        eventually(place.caught_up, 60, "the rows are published")
        at_front(
            place.places.front, """ALTER TABLE "拒" ADD CHECK ("值" NOT LIKE '%%-new')  NOT VALID"""
        )
        write(place, "拒")
        eventually(lambda: json.loads(listed(place)), 60, "a row is refused", 0.2)
        execute(place.source, f'ALTER TABLE {SCHEMA}."改" RENAME "值" TO "新"')
        execute(place.source, f'INSERT INTO {SCHEMA}."改" VALUES (%s, %s)', CANARY, CANARY)
        wait_state(place, agent, "suspended", "altered")
        for database in (place.source, place.front):
            execute(
                str(database),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        agent.kill9_child("publish")
        write(place, "好", "拒")
        eventually(place.caught_up, 60, "all goes on")
        at_front(place.places.front, """UPDATE "好" SET "值" = "值" || ' damaged'""")
        said.listen(agent, "in the end")
        report = json.loads(said.command("verify", "good", "--json", expect=1))
        said.command("verify", "good", expect=1)
        said.command("verify", "refused", expect=1)
        said.command("verify", "altered", expect=2)
        said.command("refused", "refused")
        said.command("refused", "refused", "--json")
        said.command("retry", "refused", expect=1)
        said.command("reconcile", "good")
        said.command("check", expect=78)
        said.command("status")
        said.command("status", "--json")
        said.command("show-config")
        said.command("init")
        archive = place.directory / "bundle.tar.gz"
        said.command("doctor", "--output", str(archive))
        said.texts |= texts_in(archive)
        agent.stop()
    said.texts["log"] = agent.log
    assert report[0]["different"] == 2
    assert states(place)["good"] == "live"
    events = [json.loads(line)["event"] for line in agent.log.splitlines()]  # each line is one
    assert {"table_suspended", "row_refused", "retry", "child_ended", "reconcile_ends"} <= set(
        events
    )
    assert [
        where
        for where, text in said.texts.items()
        if CANARY in text or SECRET in text or os.fsencode(CANARY).hex() in text
    ] == []
