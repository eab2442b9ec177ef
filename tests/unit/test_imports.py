"""Each process of the service loads what it needs, and none of the libraries of the others.

A library that nobody calls costs megabytes in each process that holds it.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

CONFIG = """
[source]
host = "localhost"
database = "unit"
user = "agent"
[kafka]
bootstrap_servers = ["localhost:9092"]
client = "{client}"
prefix = "p"
[[resource]]
name = "person"
table = "public.person"
columns = ["id"]
"""

# What each process makes before it connects to anything
SUPERVISOR = """
from agent.service.health import HealthServer
from agent.service.metrics import Metrics
from agent.service.supervisor import Supervisor
Metrics("unit", ["person"])
"""
CAPTURE = """
from agent.capture import loop
from agent.connectors.opening import open_source
from agent.front.opening import open_front
open_source(settings)
open_front(settings.front, settings.agent)
"""
PUBLISH = """
from agent.publish import relay
from agent.publish.clients import cluster
from agent.front.opening import front_of
front_of(settings.front, settings.agent)
cluster(settings.kafka, settings.topics.state, settings.agent, lambda: None)
"""

OF_COMMANDS = {"rich", "babel"}  # tables and progress on a terminal
OF_METRICS = {"prometheus_client", "http.server", "socketserver"}
OF_SOURCE = {"psycopg"}
OF_FRONT = {"sqlalchemy"}
OF_KAFKA = {"kafka", "confluent_kafka"}
OTHERS = {"pymysql"}  # of a front end that is not configured


@pytest.mark.parametrize(
    ("client", "process", "needed", "unneeded"),
    [
        (
            "kafka-python",
            SUPERVISOR,
            {"prometheus_client"},
            OF_COMMANDS | OF_SOURCE | OF_FRONT | OF_KAFKA | OTHERS,
        ),
        (
            "kafka-python",
            CAPTURE,
            {"psycopg", "sqlalchemy"},
            OF_COMMANDS | OF_METRICS | OF_KAFKA | OTHERS,
        ),
        (
            "kafka-python",
            PUBLISH,
            {"kafka", "sqlalchemy"},
            OF_COMMANDS | OF_METRICS | OF_SOURCE | OTHERS | {"confluent_kafka"},
        ),
        (
            "librdkafka",
            PUBLISH,
            {"kafka", "confluent_kafka", "sqlalchemy"},
            OF_COMMANDS | OF_METRICS | OF_SOURCE | OTHERS,
        ),
    ],
    ids=["supervisor", "capture", "publish", "publish-librdkafka"],
)
def test_a_process_loads_what_it_needs(
    tmp_path: Path, client: str, process: str, needed: set[str], unneeded: set[str]
) -> None:
    config = tmp_path / "agent.toml"
    state = f'state_directory = "{tmp_path}"\nname = "unit"\n'
    config.write_text(state + CONFIG.format(client=client), encoding="utf-8")
    program = f"""
import sys
from pathlib import Path
from agent.cli import commands
settings = commands.load(Path({str(config)!r}))
{process}
print("loaded", *sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert needed <= loaded
    assert not unneeded & loaded
