"""The whole agent as systemd runs it: behind the unit file's walls, told to reload and stop."""

import sys
from pathlib import Path

import psycopg
import pytest

from agent.config import load
from agent.service.history import Exchange, History
from tests.agent_process import Agent, Installation
from tests.checker.unit import RESIDENTS, TABLES, create_tables, insert_resident
from tests.services.kafka import KafkaAddress
from tests.services.systemd import Systemd

UNIT = Path(__file__).parent.parent / "deploy" / "systemd" / "sync-agent@.service"
SANDBOX = (sys.executable, "-m", "tests.sandbox", str(UNIT))
LINES = TABLES[1]


@pytest.fixture
def place(database: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path) -> Installation:
    """One agent that shares one table."""
    name = topic_prefix.replace(".", "_").replace("-", "_")
    return Installation(tmp_path, database, kafka.bootstrap, name, [RESIDENTS]).install()


def add_table(place: Installation) -> None:
    """Adds a second table to unit and configuration and makes what it needs."""
    create_tables(place.source, [LINES])
    place.tables = [RESIDENTS, LINES]
    place.write_config()
    place.init_here()


def check_wrong_configuration(place: Installation, agent: Agent, systemd: Systemd) -> None:
    """A file that cannot be read, and a setting that needs a restart: all goes on as it was."""
    right = place.config.read_text(encoding="utf-8")
    listen = f":{place.listen}"
    for wrong in (right + "[unknown]\n", right.replace(listen, ":1")):
        place.config.write_text(wrong, encoding="utf-8")
        agent.reload()
        systemd.hear("RELOADING=1", "READY=1")
    place.config.write_text(right, encoding="utf-8")
    assert "reload_refused code=CONFIG_INVALID" in agent.log
    assert "reload_refused needs=restart settings=service.listen" in agent.log


def check_history(place: Installation) -> None:
    """What the page shows of the past was written at the end, all that was published included."""
    total = Exchange()
    for exchange in History(load(place.config).directory).exchanges().values():
        total = total.plus(exchange)
    assert total.inserted == 2
    assert total.published == total.applied


def test_the_life_of_a_service_under_systemd(place: Installation, systemd: Systemd) -> None:
    """Ready, a table more, a configuration that is wrong, and the end."""
    with (
        psycopg.connect(place.source, autocommit=True) as unit,
        place.start(inside=SANDBOX) as agent,
    ):
        systemd.hear("READY=1", "STATUS=1 of 1 tables are live", "WATCHDOG=1")
        supervisor, capture = agent.pid, agent.child("capture")
        insert_resident(unit, 1)

        add_table(place)
        agent.reload()
        systemd.hear("RELOADING=1", "READY=1", "STATUS=2 of 2 tables are live")
        assert agent.pid == supervisor
        assert agent.child("capture") != capture
        insert_resident(unit, 2)
        assert place.verdict().equal

        capture = agent.child("capture")
        check_wrong_configuration(place, agent, systemd)
        assert agent.child("capture") == capture

        agent.stop()
        systemd.hear("STOPPING=1")
        assert agent.exit_code == 0
        check_history(place)
