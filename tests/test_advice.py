"""Tests what advice must not harm, on real parts and in both languages.

There is one row for each reason that looks like another one.
"""

import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not re-exported for mypy
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.agent_process import Installation, written
from tests.checker.front import at_front
from tests.checker.unit import RESIDENTS, create_tables, insert_resident
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.services.processes import HOST, free_port
from tests.situations import Situation, Told, assert_shown, changed
from tests.waiting import PATIENCE, eventually

NAME = "advice"  # of the agent, its role and topics
Bring = Callable[[Installation, ExitStack], object]


@pytest.fixture(scope="module")
def place(
    postgres18: PostgresAddress, kafka: KafkaAddress, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Yields an agent that has been initialised."""
    folder = tmp_path_factory.mktemp(NAME)
    with fresh_database(postgres18) as source:
        create_tables(source, [RESIDENTS])
        place = Installation(folder, source, kafka.bootstrap, NAME, [RESIDENTS])
        place.write_config()
        place.init()
        yield place


# ---- how each is brought about; what is left on the stack ends it


def configured(section: str, **settings: object) -> Bring:
    """Somebody mistypes a setting."""

    def bring(place: Installation, stack: ExitStack) -> None:
        changed(place, stack, {section: settings})

    return bring


def stored(column: str, value: object) -> Bring:
    """The front end remembers something else of the server."""

    def bring(place: Installation, stack: ExitStack) -> None:
        own = f"sync_agent_{place.name}_state"
        with closing(sqlite3.connect(place.front_file, isolation_level=None)) as front:
            (before,) = front.execute(f"SELECT {column} FROM {own}").fetchone()
        stack.callback(update, place, column, before)
        update(place, column, value)

    return bring


def known(**identity: object) -> Bring:
    """The front end knows the server by something else."""

    def bring(place: Installation, stack: ExitStack) -> None:
        (before,) = at_front(place.front_file, "SELECT identity FROM sync_agent_state")[0]
        stored("identity", json.dumps({**json.loads(before), **identity}))(place, stack)

    return bring


def update(place: Installation, column: str, value: object) -> None:
    """Changes the state in the front end."""
    with closing(sqlite3.connect(place.front_file, isolation_level=None)) as front:
        front.execute(f"UPDATE sync_agent_{place.name}_state SET {column} = ?", [value])


def slot_moved_and_read(place: Installation, stack: ExitStack) -> None:
    """Makes the slot as a cloned folder meets it beside the live agent.

    The slot is past what is stored here, and somebody reads it.
    """
    stored("position", "0/1")(place, stack)
    reader = stack.enter_context(
        closing(psycopg.connect(place.source, autocommit=True, replication="database"))
    )
    options = f"proto_version '1', publication_names 'sync_agent_{place.name}'"
    reader.pgconn.exec_(f"START_REPLICATION SLOT {place.slot} LOGICAL 0/0 ({options})".encode())
    query = "SELECT active_pid IS NOT NULL FROM pg_replication_slots WHERE slot_name = %s"
    with psycopg.connect(place.source, autocommit=True) as connection:
        eventually(
            lambda: connection.execute(query, [place.slot]).fetchone() == (True,),
            what="the slot is read",
        )


def front_elsewhere(place: Installation, stack: ExitStack) -> None:
    """Somebody mistypes the front end's place: there is none yet, and the slot is there."""
    changed(place, stack, {"front": {"url": f"sqlite:///{place.directory}/elsewhere.db"}})


def topic_set(suffix: str, setting: str, value: str) -> Bring:
    """The platform has set a topic so."""

    def bring(place: Installation, stack: ExitStack) -> None:
        name = f"{place.name}.{suffix}"
        kafka = KafkaAddress(place.bootstrap)

        def alter(entry: ConfigEntry) -> None:
            resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
            for future in kafka.admin.incremental_alter_configs([resource]).values():
                future.result(PATIENCE)

        alter(ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET))
        delete = ConfigEntry(setting, None, incremental_operation=AlterConfigOpType.DELETE)
        stack.callback(alter, delete)
        with psycopg.connect(place.source) as connection:
            insert_resident(connection, -len(suffix))
            written(connection)

    return bring


def silent_server(place: Installation, stack: ExitStack) -> None:
    """One of two bootstrap servers takes connections and says nothing."""
    listener = stack.enter_context(closing(socket.create_server((HOST, 0))))
    servers = [f"{HOST}:{listener.getsockname()[1]}", place.bootstrap]
    changed(place, stack, {"kafka": {"bootstrap_servers": servers}})


def never_made(place: Installation, stack: ExitStack) -> None:
    """The topic of the table is not there."""
    kafka = KafkaAddress(place.bootstrap)
    topic = f"{place.name}.{RESIDENTS.resource}"
    for future in kafka.admin.delete_topics([topic], operation_timeout=20).values():
        future.result(PATIENCE)


COMMANDS = {
    "check": Told(78, "", ""),
    "init --apply": Told(78, "", ""),
}


def told(en: str, zh_cn: str) -> dict[str, Told]:
    """Returns what `check` and `init --apply` say alike."""
    return {name: told._replace(en=en, zh_cn=zh_cn) for name, told in COMMANDS.items()}


ROWS = [
    Situation(
        "another prefix than at init",
        "FRONT_REPLACED",
        configured("kafka", prefix="advise"),
        told("its topics begin with advice, kafka.prefix is advise", "其主题以 advice 开头"),
        stage="capture",
        ends=78,
    ),
    Situation(
        "another slot than at init",
        "FRONT_REPLACED",
        configured("source", slot="other"),
        told("it follows slot sync_agent_advice", "sync_agent_advice"),
    ),
    Situation(
        "another publication than at init",
        "FRONT_REPLACED",
        configured("source", publication="other"),
        told("init made publication sync_agent_advice", "init 创建的发布是 sync_agent_advice"),
    ),
    Situation(
        "another database than at init",
        "FRONT_REPLACED",
        configured("source", database="postgres"),
        {"check": Told(78, "is source.database right", "请核对 source.database")},
    ),
    Situation(
        "another front end than at init",
        "INIT_REFUSED",
        front_elsewhere,
        {
            "init --apply": Told(78, "Was this agent initialised before", "曾经初始化过"),
            "check": Told(78, "Was this agent initialised before", "曾经初始化过", code="SLOT"),
        },
    ),
    Situation(
        "a clone beside the live agent",
        "DUPLICATE_AGENT",
        slot_moved_and_read,
        {
            "check": Told(78, "is being read by server process", "正由服务器进程"),
        },
        stage="capture",
        ends=78,
    ),
    Situation(
        "a promoted standby",
        "SOURCE_PROMOTED",
        known(timeline=7),
        told("rebind --after-failover", "rebind --after-failover"),
    ),
    Situation(
        "another cluster",
        "SOURCE_REPLACED",
        known(system_id="7000000000000000000"),
        told("rebind --after-upgrade", "rebind --after-upgrade"),
    ),
    Situation(
        "a business database that does not run",
        "SOURCE_UNREACHABLE",
        configured("source", port=free_port()),
        {"check": Told(78, "Nothing listens on port", "没有服务在监听", code="SOURCE_NETWORK")},
    ),
    Situation(
        "one of two brokers is silent",
        "KAFKA_UNREACHABLE",
        silent_server,
        {"check": Told(78, "and says nothing", "没有任何应答", code="KAFKA_NETWORK")},
    ),
    Situation(
        "a state topic that takes too little",
        "TOPIC_LIMIT",
        topic_set(f"sync-agent.{NAME}", "max.message.bytes", "600"),
        {"check": Told(78, f"Topic {NAME}.sync-agent.{NAME} takes messages", "只接受不超过 600")},
        stage="publish",
        ends=78,
    ),
    # The last one that starts the service, and not with 0: a broker refuses its own end of a
    # transaction, too, where that is older, and then the next transaction of the agent waits for
    # ever.
    Situation(
        "a clock that Kafka does not accept",
        "CLOCK_WRONG",
        topic_set(RESIDENTS.resource, "message.timestamp.before.max.ms", "2"),
        {"status": Told(2, "refuses events for their time", "拒收事件")},
        stage="publish",
    ),
    # The last one: its topic is gone for good
    Situation(
        "a topic that does not exist is published anew",
        "TOPIC_MISSING",
        never_made,
        {
            f"republish {RESIDENTS.resource}": Told(
                78, "kafka-topics.sh --bootstrap-server", "kafka-topics.sh --bootstrap-server"
            )
        },
    ),
]


@pytest.mark.parametrize("situation", ROWS, ids=str)
def test_every_place_says_what_it_is(situation: Situation, place: Installation) -> None:
    assert_shown(situation, place)
