"""Tests a whole agent over verified TLS with passwords on both sides, with each client.

It has exactly the rights that docs/OPERATIONS.md names. Its status page is protected the same way.
"""

import base64
import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from agent.config.loading import load
from agent.publish import topics
from agent.service.health import asked
from tests.agent_process import SLOW_START, Installation, url
from tests.checker.front import at_front
from tests.checker.unit import create_tables
from tests.checker.writer import Writer
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaBroker, Mechanism
from tests.services.postgres import SecurePostgres
from tests.services.processes import HOST
from tests.waiting import PATIENCE, eventually

PASSWORD = "a-password-for-both"


@pytest.fixture(scope="module")
def server() -> Iterator[SecurePostgres]:
    """A PostgreSQL with TLS and passwords."""
    with SecurePostgres.start(15) as server:
        yield server


@pytest.mark.parametrize(
    ("client", "mechanism"), [("kafka-python", "SCRAM-SHA-512"), ("librdkafka", "SCRAM-SHA-256")]
)
def test_a_whole_agent(
    server: SecurePostgres,
    kafka_broker: KafkaBroker,
    topic_prefix: str,
    tmp_path: Path,
    client: str,
    mechanism: Mechanism,
) -> None:
    """The platform makes topics and grants.

    init is refused until its transactional id is granted too; then come check, run, kill -9 and
    verdict.
    """
    with fresh_database(server) as source:
        place = secured(
            Installation(tmp_path, source, kafka_broker.bootstrap, topic_prefix),
            server,
            kafka_broker,
            client,
            mechanism,
        )
        prepare(place, kafka_broker, mechanism)
        refused = place.command("init", "--apply", "--as", url(source), expect=78)
        assert (
            f"TransactionalIdAuthorizationFailedError: transactional id {agent_uuid(place)}"
            in refused.stderr + refused.stdout
        )
        kafka_broker.allow(place.name, "transactional_id", agent_uuid(place), ["write"])
        place.init()
        findings = place.command("check", "--json", expect=78).stdout
        wrong = {finding["code"] for finding in json.loads(findings) if finding["level"] != "ok"}
        # The servers of the tests have no max_slot_wal_keep_size
        assert wrong == {"SLOT_LIMIT"}, findings
        with place.start() as agent, Writer(source, 7) as writer:
            eventually(lambda: is_ready(place), SLOW_START, "the agent is connected")
            assert "<dt>events today</dt>" in status_page(place, server)
            writer.run(20)
            agent.kill9_child("publish")
            writer.run(20)
            verdict = place.verdict()
            assert verdict.equal, f"{verdict}\n{agent.log[-3000:]}"
            assert verdict.events > 20
            assert PASSWORD not in agent.log + findings


def is_ready(place: Installation) -> bool:
    """Asks as `status` does, which needs no password and trusts this host."""
    answer = asked(f"{HOST}:{place.listen}", place.name, 10)
    return answer is not None and bool(answer["ok"])


def status_page(place: Installation, server: SecurePostgres) -> str:
    """Returns the page as a browser gets it that knows the authority and the password."""
    login = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(
        f"https://localhost:{place.listen}/en", headers={"Authorization": f"Basic {login}"}
    )
    trust = ssl.create_default_context(cafile=str(server.certificates.ca_file))
    with urllib.request.urlopen(request, timeout=PATIENCE, context=trust) as answer:
        return str(answer.read().decode())


def secured(
    place: Installation,
    server: SecurePostgres,
    broker: KafkaBroker,
    client: str,
    mechanism: Mechanism,
) -> Installation:
    """Returns the same installation with TLS and passwords.

    The judge still reads the topics at the plain listener.
    """
    secret = place.directory / "password"
    secret.write_text(PASSWORD)
    password = {"file": str(secret)}
    tls = {
        "host": "localhost",
        "sslmode": "verify-full",
        "sslrootcert": str(server.certificates.ca_file),
        "password": password,
    }
    login = {"mechanism": mechanism, "user": place.name, "password": password}
    kafka = {
        "bootstrap_servers": [broker.secure_bootstrap],
        "client": client,
        "transactions": True,
        "tls": {"ca_file": broker.ca_file},
        "sasl": login,
    }
    certificate = str(server.certificates.server_file)
    service = {
        "password": password,
        "tls": {"cert_file": certificate, "key_file": certificate},
    }
    place.sections = {"source": tls, "kafka": kafka, "service": service}
    return place


def prepare(place: Installation, broker: KafkaBroker, mechanism: Mechanism) -> None:
    """What the owners of database and cluster do: role and tables; user, topics and rights."""
    create_tables(place.source, place.tables)
    with psycopg.connect(place.source, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN REPLICATION PASSWORD {}").format(
                sql.Identifier(place.name), sql.Literal(PASSWORD)
            )
        )
    place.write_config()
    broker.add_user(place.name, PASSWORD, mechanism)
    settings = load(place.config)
    plain = settings.kafka.model_copy(
        update={"bootstrap_servers": [broker.bootstrap], "tls": None, "sasl": None}
    )
    topics.create_topics(plain, settings.topics, lambda line: None)
    for topic in settings.topics.events:
        broker.allow(place.name, "topic", topic, ["write", "describe_configs"])
    broker.allow(place.name, "topic", settings.state_topic, ["write", "read", "describe_configs"])


def agent_uuid(place: Installation) -> str:
    """The transactional id, where docs/OPERATIONS.md says it stands."""
    return str(at_front(place.front_file, "SELECT agent_uuid FROM sync_agent_state")[0][0])
