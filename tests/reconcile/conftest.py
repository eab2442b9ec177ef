"""Where the agents of these tests stand: a source, a front end of each kind, a broker."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.reconcile.system import Ground
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress

HURRIED = Path(__file__).parent.parent / "hurried"


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent reads the catalogues every second instead of every ten, the topics every other.

    The test would wait for it otherwise, for the topics half a minute.

    This is for tests that change one thing at a time: the agent may read between two changes that
    belong together, too.
    """
    monkeypatch.setenv("PYTHONPATH", str(HURRIED))
    constants = "agent.capture.loop._CATALOGUE=1.0 agent.publish.topic_watch.CHECK_SECONDS=2.0"
    monkeypatch.setenv("SYNC_TEST_CONSTANTS", constants)


@pytest.fixture
def ground(database: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path) -> Ground:
    """PostgreSQL 18 to SQLite."""
    return Ground(tmp_path / "agent", database, None, kafka.bootstrap, topic_prefix)


@pytest.fixture(params=[(18, "sqlite"), (15, "postgres")], ids=["18 to SQLite", "15 to PostgreSQL"])
def each_ground(
    request: pytest.FixtureRequest, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> Iterator[Ground]:
    """Each PostgreSQL and each front end."""
    version, kind = request.param
    server = request.getfixturevalue(f"postgres{version}")
    assert isinstance(server, PostgresAddress)
    with ExitStack() as stack:
        source = stack.enter_context(fresh_database(server))
        front = stack.enter_context(fresh_database(server)) if kind == "postgres" else None
        yield Ground(tmp_path / "agent", source, front, kafka.bootstrap, topic_prefix)
