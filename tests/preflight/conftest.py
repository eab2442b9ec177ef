"""Makes a unit whose business database, front end and topics are real.

It also holds the small tools of the tests of init and check.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from agent.config import ResourceSettings, Settings
from agent.connectors.postgres.setup.checks import check_source
from agent.connectors.postgres.setup.subscription import Subscription, subscription_of
from agent.connectors.resume import Resume
from agent.findings import Finding
from agent.preflight.initialise import initialise
from tests.services.kafka import KafkaAddress

TABLE = """create table "人员" (id int primary key, "姓名" text, secret text)"""
NOWHERE = "127.0.0.1:1"
PERSON: dict[str, Any] = {"name": "person", "table": "public.人员", "columns": ["id", "姓名"]}


class Unit:
    """One business database as its owner sees it, and the settings of an agent for it."""

    def __init__(self, conninfo: str, folder: Path, bootstrap: str, prefix: str) -> None:
        self.conninfo = conninfo
        self.folder = folder
        given = conninfo_to_dict(conninfo)
        self.settings = Settings.model_validate(
            {
                "name": prefix,
                "state_directory": str(folder),
                "source": {
                    "host": given["host"],
                    "port": int(str(given["port"])),
                    "database": given["dbname"],
                    "user": given["user"],
                },
                "kafka": {"bootstrap_servers": [bootstrap], "prefix": prefix},
                "resource": [PERSON],
            }
        )
        self.told: list[str] = []

    def execute(self, *statements: str) -> None:
        """Runs statements as the owner, each in its own transaction."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, query: str) -> Any:
        """Returns one value."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            return row[0] if row else None

    def change(self, **sections: dict[str, object]) -> "Unit":
        """Changes settings by section."""
        data = self.settings.model_dump(exclude_unset=True)
        for name, values in sections.items():
            data[name] = {**data.get(name, {}), **values}
        self.settings = Settings.model_validate(data)
        return self

    def share(self, *resources: dict[str, Any]) -> "Unit":
        """Shares these tables instead."""
        self.settings = self.settings.model_copy(
            update={
                "resource": [ResourceSettings.model_validate(resource) for resource in resources]
            }
        )
        return self

    @property
    def subscription(self) -> Subscription:
        """What PostgreSQL's setup takes of the settings."""
        return subscription_of(self.settings)

    def check_source(self, stored: Callable[[], Resume] | None = None) -> list[Finding]:
        """Returns what `check` finds at the business database alone."""
        return check_source(self.subscription, stored, self.settings.front.url).findings

    def initialise(self, admin_url: str | None = None, apply: bool = True) -> list[str]:
        """Runs `init --apply`; returns what it told."""
        self.told.clear()
        initialise(self.settings, apply, admin_url, self.told.append)
        return self.told

    def initialise_taking(self, *topics: str) -> list[str]:
        """The same with `--take-over`."""
        self.told.clear()
        initialise(self.settings, True, None, self.told.append, topics)
        return self.told

    def slots(self) -> int:
        """Slots of the business database."""
        return int(
            self.value(
                "select count(*) from pg_replication_slots where database = current_database()"
            )
        )


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_AGENT_LANG", "en")


@pytest.fixture
def unit(database: str, tmp_path: Path, kafka: KafkaAddress, topic_prefix: str) -> Unit:
    """Returns a unit with one empty table on PostgreSQL 18, and Kafka."""
    unit = Unit(database, tmp_path, kafka.bootstrap, topic_prefix)
    unit.execute(TABLE)
    return unit


@pytest.fixture
def any_unit(any_database: str, tmp_path: Path, kafka: KafkaAddress, topic_prefix: str) -> Unit:
    """Returns a unit with one empty table on each PostgreSQL in turn, and Kafka."""
    unit = Unit(any_database, tmp_path, kafka.bootstrap, topic_prefix)
    unit.execute(TABLE)
    return unit


@pytest.fixture
def source(database: str, tmp_path: Path) -> Unit:
    """A unit with an empty database 18 and without Kafka, for what concerns the source alone."""
    return Unit(database, tmp_path, NOWHERE, "source")


@pytest.fixture
def any_source(any_database: str, tmp_path: Path) -> Unit:
    """Returns a unit with an empty database and without Kafka, on each PostgreSQL in turn."""
    return Unit(any_database, tmp_path, NOWHERE, "source")
