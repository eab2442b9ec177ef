"""Tests a whole agent with exactly the grants of docs/SECURITY.md, read from there.

They are enough, and with less `check` names what is missing.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from tests.agent_process import Installation
from tests.checker.front import at_front
from tests.checker.inputs import big_number, name
from tests.checker.table import in_mariadb
from tests.checker.unit import SCHEMA, UnitTable, create_tables
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaBroker, Mechanism, Resource
from tests.services.mariadb import MariaDbAddress, connected, execute
from tests.services.postgres import SecurePostgres
from tests.services.processes import HOST

PAGE = Path(__file__).parent.parent / "docs" / "SECURITY.md"
PASSWORDS = {"source": "source-password", "front": "front-password"}
DDL = ' ("id" bigint PRIMARY KEY, "name" text, "district" text, "secret" text)'
PERSON = UnitTable("person", "person", DDL, {"id": big_number}, {"name": name, "district": name})
TABLE = sql.Identifier(SCHEMA, "person")


@pytest.fixture(scope="module")
def server() -> Iterator[SecurePostgres]:
    """A PostgreSQL with TLS and passwords."""
    with SecurePostgres.start(15) as server:
        yield server


def documented(title: str, names: Mapping[str, str]) -> list[str]:
    """The lines of a block of the page, with our names in place of its own."""
    (text,) = re.findall(
        rf"^```{title}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert isinstance(text, str)
    assert all(old in text for old in names), names
    for old, new in names.items():
        text = text.replace(old, new)
    return text.splitlines()


def source_grants(place: Installation) -> list[str]:
    database = str(conninfo_to_dict(place.source)["dbname"])
    return documented(
        "sql source",
        {
            '"sync_agent"': f'"{place.name}"',
            '"sync_agent_agent"': f'"{place.slot}"',
            '"business"': f'"{database}"',
            '"public"': f'"{SCHEMA}"',
        },
    )


def allow(broker: KafkaBroker, place: Installation) -> None:
    """The ACLs, as the tool would set them."""
    for line in documented(
        "sh kafka",
        {"unit.sync-agent.agent": place.state_topic, "--topic unit. ": f"--topic {place.name}. "},
    ):
        words = shlex.split(line)
        operations = [
            re.sub("([a-z])([A-Z])", r"\1_\2", words[i + 1])
            for i, word in enumerate(words)
            if word == "--operation"
        ]
        kind: Resource = "topic" if "--topic" in words else "transactional_id"
        resource = words[words.index("--" + kind.replace("_", "-")) + 1]
        broker.allow(place.name, kind, resource, operations, prefixed="prefixed" in words)


def run_sql(conninfo: str, *statements: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture(params=["postgres", "mariadb"])
def place(
    request: pytest.FixtureRequest,
    server: SecurePostgres,
    mariadb_server: MariaDbAddress,
    kafka_broker: KafkaBroker,
    topic_prefix: str,
    tmp_path: Path,
) -> Iterator[Installation]:
    """An agent that logs in everywhere with a password; roles, grants and ACLs of the page."""
    mechanism: Mechanism = "SCRAM-SHA-512"
    kafka_broker.add_user(topic_prefix, PASSWORDS["source"], mechanism)
    files = {side: tmp_path / f"{side}.password" for side in PASSWORDS}
    for side, file in files.items():
        file.write_text(PASSWORDS[side])
    source = {
        "host": "localhost",
        "sslmode": "verify-full",
        "sslrootcert": str(server.certificates.ca_file),
        "password": {"file": str(files["source"])},
    }
    login = {
        "mechanism": mechanism,
        "user": topic_prefix,
        "password": {"file": str(files["source"])},
    }
    kafka = {
        "bootstrap_servers": [kafka_broker.secure_bootstrap],
        "client": "kafka-python" if request.param == "postgres" else "librdkafka",
        "tls": {"ca_file": kafka_broker.ca_file}, "sasl": login,
    }  # fmt: skip
    role = f"{topic_prefix}_front"
    with fresh_database(server) as database:
        place = Installation(tmp_path, database, kafka_broker.bootstrap, topic_prefix, [PERSON])
        if request.param == "postgres":
            run_sql(
                server.dsn(),
                *documented(
                    "sql front-postgresql", {"sync_agent_front": role, '"front"': f'"{role}"'}
                ),
            )
            place.front = server.dsn(role, role, PASSWORDS["front"])
            given = conninfo_to_dict(place.front)
            url = f"postgresql+psycopg://{role}@{given['host']}:{given['port']}/{role}"
        else:
            with connected(mariadb_server.url) as connection:
                for statement in documented(
                    "sql front-mariadb",
                    {
                        "sync_agent_front": role,
                        "DATABASE front": f"DATABASE {role}",
                        "front.*": f"{role}.*",
                        "10.0.0.5": HOST,
                    },
                ):
                    connection.cursor().execute(statement)
            address = make_url(str(mariadb_server.url)).set(
                username=role, password=PASSWORDS["front"], database=role
            )
            place.front = address.render_as_string(hide_password=False)
            url = f"mariadb+pymysql://{role}@{address.host}:{address.port}/{role}"
        place.sections = {
            "source": source,
            "front": {"url": url, "password": {"file": str(files["front"])}},
            "kafka": kafka,
        }
        create_tables(database, [PERSON])
        run_sql(database, *source_grants(place))
        allow(kafka_broker, place)
        place.write_config()
        yield place
        if request.param == "postgres":
            run_sql(server.dsn(), f'DROP DATABASE "{role}" WITH (FORCE)')


@pytest.fixture
def with_front_right(place: Installation, mariadb_server: MariaDbAddress) -> Callable[[str], None]:
    """Runs "REVOKE DELETE ON {} FROM {}" and the like.

    It is on the table, where the role owns it, or on the database, with the role.
    """
    role = f"{place.name}_front"

    def run(statement: str) -> None:
        if in_mariadb(place.places.front):
            execute(
                mariadb_server.url.render_as_string(hide_password=False),
                statement.format(f"`{role}`.*", f"'{role}'@'{HOST}'"),
            )
        else:
            run_sql(str(place.front), statement.format('"person"', f'"{role}"'))

    return run


def findings(place: Installation) -> dict[str, dict[str, str]]:
    """What `check` finds wrong, by code; of several with one code the messages together."""
    # The servers of the tests have no limit for slots
    told = json.loads(place.command("check", "--json", expect=78).stdout)
    found: dict[str, dict[str, str]] = {}
    for finding in told:
        if finding["level"] != "ok" and finding["code"] != "SLOT_LIMIT":
            others = found.get(finding["code"], {"message": ""})["message"]
            found[finding["code"]] = finding | {"message": others + finding["message"] + "\n"}
    return found


@contextmanager
def lacking_at_kafka(broker: KafkaBroker, place: Installation) -> Iterator[dict[str, str]]:
    """Each right that the service needs is gone, with the words in which `check` is to say so."""
    user, event, state = place.name, f"{place.name}.person", place.state_topic
    id_of = at_front(place.places.front, "SELECT agent_uuid FROM sync_agent_state")[0][0]
    with (
        broker.denied(user, "topic", event, "write"),
        broker.denied(user, "topic", state, "read"),
        broker.denied(user, "transactional_id", id_of, "describe"),
    ):
        yield {
            "WRITE": f"lacks the right WRITE on --topic {event}\n",
            "READ": f"lacks the right READ on --topic {state}\n",
            "id": f"on --transactional-id {id_of}\n",
        }


def test_the_documented_grants_are_enough_and_less_is_refused(
    place: Installation, with_front_right: Callable[[str], None], kafka_broker: KafkaBroker
) -> None:
    place.command("init", "--apply")
    assert findings(place) == {}
    person = f'"{SCHEMA}"."person"'
    run_sql(
        place.source,
        f'REVOKE SELECT ("district") ON {person} FROM "{place.name}"',
        f'ALTER ROLE "{place.name}" NOREPLICATION',
    )
    lacking = findings(place)
    assert (
        lacking["RIGHT_SELECT"]["fix"]
        == f'GRANT SELECT ("district") ON TABLE {person} TO "{place.name}";'
    )
    assert lacking["ROLE_ATTRIBUTES"]["fix"] == f'ALTER ROLE "{place.name}" LOGIN REPLICATION;'
    run_sql(place.source, lacking["RIGHT_SELECT"]["fix"], lacking["ROLE_ATTRIBUTES"]["fix"])
    with_front_right("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}")
    with lacking_at_kafka(kafka_broker, place) as expected:
        lacking = findings(place)
    assert "lacks the right INSERT, UPDATE, DELETE" in lacking["FRONT_TABLE_WRONG"]["message"]
    assert [
        words for words in expected.values() if words not in lacking["KAFKA_RIGHTS"]["message"]
    ] == []
    assert lacking.keys() == {"FRONT_TABLE_WRONG", "KAFKA_RIGHTS"}
    with_front_right("GRANT INSERT, UPDATE, DELETE ON {} TO {}")
    run_sql(
        place.source, f"INSERT INTO {person} VALUES (1, 'copied', 'a', 'x'), (2, 'gone', 'b', 'x')"
    )
    with place.start() as agent:
        agent.wait_ready()
        run_sql(
            place.source,
            f"INSERT INTO {person} SELECT n, 'streamed', 'c', 'x' FROM generate_series(3, 9) n",
            f"UPDATE {person} SET district = 'd' WHERE id = 1",
        )
        run_sql(place.source, f"DELETE FROM {person} WHERE id = 2")
        verdict = place.verdict()
        assert verdict.equal, f"{verdict}\n{agent.log[-3000:]}"
        place.command("verify")
        assert findings(place) == {}
        assert not any(password in agent.log for password in PASSWORDS.values())
