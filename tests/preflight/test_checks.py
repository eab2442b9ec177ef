"""Tests each finding of check on real peers, before init and after.

A peer that is away hides nothing of the others, and nothing is changed.
"""

import argparse
import shlex
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not re-exported for mypy
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)
from sqlalchemy import inspect, update

from agent.connectors.postgres.setup import checks, facts, login, statements
from agent.connectors.postgres.setup import server as server_checks
from agent.connectors.resume import Resume
from agent.errors import FrontTableWrong, InitRefused, SlotLost
from agent.findings import Finding
from agent.front.opening import open_front
from agent.preflight import front_checks, kafka_checks, service_checks
from agent.preflight.checks import check
from agent.publish.base import TopicDescription
from agent.publish.topics import describe
from agent.service.health import HealthServer
from agent.service.metrics import Metrics
from tests.preflight.conftest import PERSON, TABLE, Unit
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresServer
from tests.services.processes import HOST, free_port
from tests.waiting import PATIENCE, eventually

UNLIMITED = "SLOT_LIMIT"  # the servers of the tests have no max_slot_wal_keep_size


@pytest.fixture(autouse=True)
def listen(request: pytest.FixtureRequest) -> None:
    """A listen address of the test's own."""
    for name in ("unit", "any_unit", "source", "any_source"):
        if name in request.fixturenames:
            request.getfixturevalue(name).change(service={"listen": f"{HOST}:{free_port()}"})


def wrong(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings if finding.level == "error"} - {UNLIMITED}


def find(findings: list[Finding], code: str, level: str) -> Finding:
    found = [finding for finding in findings if (finding.code, finding.level) == (code, level)]
    assert found, findings
    return found[0]


def stated(unit: Unit, table: str, **values: object) -> None:
    """Changes the agent's rows in the front end."""
    front = open_front(unit.settings.front, unit.settings.agent)
    with front.engine.begin() as connection:
        connection.execute(update(getattr(front.own, table)).values(**values))


# ---- the whole


def test_before_init_nothing_else_is_wrong_and_nothing_is_changed(any_unit: Unit) -> None:
    findings = check(any_unit.settings)
    assert wrong(findings) == {"NOT_INITIALISED"}
    assert find(findings, "NOT_INITIALISED", "error").fix == "sync-agent init --apply"
    areas = {
        "SOURCE_NETWORK",
        "SOURCE_LOGIN",
        "SERVER_OK",
        "CLOCK",
        "RIGHTS_OK",
        "TABLE_OK",
        "SOURCE_REPLICATION",
        "SLOT",
        "FRONT",
        "FRONT_TABLE",
    }
    assert areas | {"KAFKA_NETWORK", "KAFKA_LOGIN", "KAFKA_RIGHTS", "LISTEN"} <= {
        finding.code for finding in findings if finding.level == "ok"
    }
    find(findings, "PUBLICATION_MISSING", "warning")
    find(findings, "TOPIC_MISSING", "warning")
    assert any_unit.slots() == 0
    assert not list(any_unit.folder.iterdir())
    assert not any(describe(any_unit.settings.kafka, any_unit.settings.topics).values())


def test_after_init_nothing_is_wrong(any_unit: Unit) -> None:
    any_unit.initialise()
    findings = check(any_unit.settings)
    assert wrong(findings) == set()
    assert {finding.code for finding in findings if finding.level == "warning"} == set()
    assert {"INITIALISED", "PUBLICATION_OK", "SLOT", "TOPIC", "FRONT_TABLE"} <= {
        finding.code for finding in findings
    }


def test_everything_away_is_told_of_each(source: Unit) -> None:
    source.change(
        source={"port": 1}, front={"url": f"postgresql+psycopg://nobody@{HOST}:1/front"}
    ).share(PERSON)
    codes = wrong(check(source.settings))
    assert {"SOURCE_NETWORK", "FRONT_UNREACHABLE", "KAFKA_NETWORK"} <= codes


# ---- the way to the source


def test_a_host_name_that_does_not_exist(source: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **values: Any) -> Any:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "SOURCE_HOST" in wrong(source.check_source())


def test_login_tls_and_network_are_told_apart(source: Unit) -> None:
    def code(**changes: object) -> set[str]:
        source.change(source=changes)
        return wrong(source.check_source())

    user = source.settings.postgres.user
    assert code(user="nobody_at_all") == {"SOURCE_LOGIN"}
    assert code(user=user, sslmode="require") == {"SOURCE_TLS"}
    assert code(sslmode="verify-full", sslrootcert="/nonexistent/ca.pem") == {"SOURCE_TLS"}
    assert code(sslmode="disable", port=1) == {"SOURCE_NETWORK"}


def test_a_password_file_that_is_missing(source: Unit) -> None:
    source.change(source={"password": {"file": "/nonexistent/password"}})
    assert wrong(source.check_source()) == {"SECRET_MISSING"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            (
                'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", '
                "no encryption"
            ),
            "SOURCE_LOGIN",
        ),
        (
            (
                'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", '
                "SSL encryption"
            ),
            "SOURCE_LOGIN",
        ),
        ("致命错误:  用户 u Password 认证失败", "SOURCE_LOGIN"),
        ("FATAL:  sorry, too many clients already", "SOURCE_BUSY"),
        ("FATAL:  the database system is starting up", "SOURCE_BUSY"),
        ("SSL error: certificate verify failed", "SOURCE_TLS"),
        ("connection timeout expired", "SOURCE_NETWORK"),
        ("", "SOURCE_LOGIN"),
    ],
)
def test_what_a_refused_connection_means(source: Unit, text: str, code: str) -> None:
    finding = login.refused(source.settings.postgres, text)
    assert finding.code == code
    assert finding.fix


# ---- server, role, publication


def server(**changes: object) -> Any:
    good = {
        "version": 180006,
        "standby": False,
        "wal_level": "logical",
        "encoding": "UTF8",
        "slots": 1,
        "slots_left": 1,
        "senders": 1,
        "senders_left": 1,
        "slot_idle": 0,
        "slot_idle_text": "0",
        "slot_keep_mb": 1024,
    }
    return SimpleNamespace(**good | changes)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 130010}, "SERVER_VERSION"),
        ({"standby": True}, "SOURCE_NOT_PRIMARY"),
        ({"wal_level": "replica"}, "WAL_LEVEL"),
        ({"slots_left": 0}, "SLOTS_LEFT"),
        ({"senders_left": 0}, "SENDERS_LEFT"),
    ],
)
def test_each_want_of_the_server_is_named(changes: dict[str, object], code: str) -> None:
    assert wrong(server_checks.check_server(server(**changes), first=True)) == {code}
    assert server_checks.check_server(server(), first=True)[0].code == "SERVER_OK"


@pytest.mark.parametrize(
    ("version", "levels"), [(140_019, ["ok"]), (180_006, ["ok"]), (190_000, ["warning", "ok"])]
)
def test_a_server_newer_than_the_tested_ones_is_a_warning(version: int, levels: list[str]) -> None:
    assert [
        finding.level for finding in server_checks.check_server(server(version=version), first=True)
    ] == levels


@pytest.mark.parametrize("encoding", ["EUC_CN", "SQL_ASCII"])
def test_an_encoding_that_holds_more_than_utf8_is_a_warning(encoding: str) -> None:
    found, fine = server_checks.check_server(server(encoding=encoding), first=True)
    assert (found.code, found.level, fine.level) == ("SOURCE_ENCODING", "warning", "ok")
    assert encoding in found.message
    assert "VALUE_UNREADABLE" in found.message


def test_room_for_a_slot_is_asked_for_only_while_there_is_none() -> None:
    assert (
        wrong(server_checks.check_server(server(slots_left=0, senders_left=0), first=False))
        == set()
    )


def test_what_bounds_a_slot_is_told_with_the_sql_that_changes_it(source: Unit) -> None:
    """No limit at all is an error.

    A bound of time alone (18) is a warning, and it is reported too once that time is over.
    """
    settings = {"max_replication_slots": 1, "max_wal_senders": 1}
    with (
        PostgresServer.start(18, settings) as own,
        psycopg.connect(own.dsn(), autocommit=True) as connection,
    ):

        def bounds() -> list[Finding]:
            server = facts.server(connection)
            return [server_checks.check_limit(server), *server_checks.check_idle(server)]

        finding = bounds()[0]
        assert finding.level == "error"
        for statement in finding.fix.splitlines():
            connection.execute(statement.encode())
        eventually(lambda: bounds()[0].level == "ok", what="the limit holds")

        slot = source.settings.postgres.slot
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
        connection.execute("alter system set idle_replication_slot_timeout = '1s'")
        connection.execute("select pg_reload_conf()")
        idle = eventually(lambda: bounds()[1:], what="the time is bounded")[0]
        assert (idle.code, idle.level) == ("SLOT_IDLE", "warning")
        assert "is 1s" in idle.message

        def given_up() -> str:
            connection.execute("checkpoint")
            return str(facts.slot(connection, slot).conflict)

        reason = eventually(given_up, what="the slot is given up")
        advice = SlotLost(slot=slot, reason=reason, position="0/10").advice("en")
        assert "longer than idle_replication_slot_timeout" in advice
        assert "max_slot_wal_keep_size" not in advice
        for statement in idle.fix.splitlines():
            connection.execute(statement.encode())
        eventually(lambda: not bounds()[1:], what="the time is not bounded")

        # The one slot and the one WAL sender are in use: init knows it before it makes anything, as
        # check does.
        source.change(source={"port": own.port, "database": "postgres"}).share(PERSON)
        connection.execute(TABLE)
        connection.execute("select pg_drop_replication_slot(%s)", (slot,))
        connection.execute("select pg_create_physical_replication_slot('other')")
        with psycopg.connect(f"{own.dsn()} replication=database", autocommit=True):
            with pytest.raises(InitRefused) as refused:
                source.initialise()
            told = source.initialise(apply=False)
            found = wrong(check(source.settings))
        assert {"SLOTS_LEFT", "SENDERS_LEFT"} <= found
        for text in (refused.value.text("en"), "\n".join(told)):
            assert "SLOTS_LEFT: No replication slot is left: all 1 of" in text
            assert "ALTER SYSTEM SET max_replication_slots = 11;" in text
            assert "SENDERS_LEFT: No WAL sender is left: all 1 of" in text
        assert open_front(source.settings.front, source.settings.agent).stored_state() is None


def test_rights_and_attributes_that_are_missing(any_source: Unit) -> None:
    role = f"role_{any_source.settings.postgres.database}"
    any_source.execute(TABLE, f'create role "{role}" login')
    any_source.change(source={"user": role}).share(PERSON)
    try:
        findings = check(any_source.settings)
        assert {"ROLE_ATTRIBUTES", "RIGHT_SELECT", "SOURCE_REPLICATION"} <= wrong(findings)
        for finding in findings:
            if finding.code in ("ROLE_ATTRIBUTES", "RIGHT_SELECT"):
                any_source.execute(finding.fix)
        assert not {"ROLE_ATTRIBUTES", "RIGHT_SELECT", "SOURCE_REPLICATION"} & wrong(
            check(any_source.settings)
        )
    finally:
        any_source.execute(f'drop owned by "{role}"', f'drop role "{role}"')


def test_a_schema_that_may_not_be_used(source: Unit) -> None:
    role = f"role_{source.settings.postgres.database}"
    source.execute(
        "create schema hr",
        "create table hr.person (id int primary key)",
        f'create role "{role}" login replication',
    )
    source.change(source={"user": role}).share(PERSON | {"table": "hr.person", "columns": ["id"]})
    try:
        source.execute(find(check(source.settings), "RIGHT_SCHEMA", "error").fix)
        assert "RIGHT_SCHEMA" not in wrong(check(source.settings))
    finally:
        source.execute(f'drop owned by "{role}"', f'drop role "{role}"')


def test_a_publication_that_went_missing_is_an_error(unit: Unit) -> None:
    unit.initialise()
    unit.execute(f"drop publication {unit.settings.postgres.publication}")
    unit.execute(find(check(unit.settings), "PUBLICATION_MISSING", "error").fix)
    assert wrong(check(unit.settings)) == set()


def test_a_table_that_changed_is_an_error(unit: Unit) -> None:
    unit.initialise()
    unit.execute("""alter table "人员" drop column "姓名" """)
    assert "COLUMN_MISSING" in wrong(check(unit.settings))


@pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (10, "warning"), (-3600, "error")])
def test_clocks_that_differ(
    source: Unit, monkeypatch: pytest.MonkeyPatch, seconds: float, level: str
) -> None:
    real = time.time
    monkeypatch.setattr(checks, "time", SimpleNamespace(time=lambda: real() + seconds))
    find(source.check_source(), "CLOCK", level)


def test_a_transaction_that_would_hold_up_init(
    any_source: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_LONG", 0.0)
    with psycopg.connect(any_source.conninfo, application_name="long report") as other:
        other.execute("select pg_current_xact_id()")
        findings = [
            f
            for f in check(any_source.settings)
            if f.code == "LONG_TRANSACTION" and "long report" in f.message
        ]
        assert len(findings) == 1
        assert str(other.info.backend_pid) in findings[0].message
        any_source.execute(findings[0].fix)


# ---- slot


def test_a_slot_without_a_position_is_an_error(unit: Unit) -> None:
    unit.execute(
        f"select pg_create_logical_replication_slot('{unit.settings.postgres.slot}', 'pgoutput')"
    )
    dropping = statements.drop_slot(unit.settings.postgres.slot)
    assert dropping in find(check(unit.settings), "SLOT", "error").message
    unit.execute(dropping)
    assert wrong(check(unit.settings)) == {"NOT_INITIALISED"}


def test_a_slot_dropped_or_made_again_is_an_error(unit: Unit) -> None:
    unit.initialise()
    slot = unit.settings.postgres.slot
    unit.execute(f"select pg_drop_replication_slot('{slot}')")
    assert wrong(check(unit.settings)) == {"SLOT_MISSING"}
    unit.execute(
        "select pg_switch_wal()", f"select pg_create_logical_replication_slot('{slot}', 'pgoutput')"
    )
    assert wrong(check(unit.settings)) == {"SLOT_ADVANCED"}


def test_a_service_that_moves_on_while_it_is_checked_is_no_error(unit: Unit) -> None:
    """The service stores its position, then tells the source.

    It may do so between two reads of the front end, or between those of the slot and of the log's
    end.
    """
    unit.initialise()
    front = front_checks.FrontCheck(unit.settings)
    front.open()

    def moves_on() -> None:
        unit.execute("select pg_switch_wal()")
        end = unit.value("select pg_current_wal_lsn()::text")
        stated(unit, "state", position=end)
        unit.execute(
            f"select pg_replication_slot_advance('{unit.settings.postgres.slot}', '{end}')"
        )

    def state() -> Resume:
        moves_on()
        return front.resume()

    moves_on()
    assert wrong(unit.check_source(front.resume)) == set()
    assert wrong(unit.check_source(state)) == set()
    front.close()


def test_a_slot_that_is_read_or_far_behind(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    unit.initialise()
    with closing(psycopg.connect(unit.conninfo, autocommit=True, replication="database")) as reader:
        options = f"proto_version '1', publication_names '{unit.settings.postgres.publication}'"
        reader.pgconn.exec_(
            f"START_REPLICATION SLOT {unit.settings.postgres.slot} LOGICAL 0/0 ({options})".encode()
        )
        eventually(
            lambda: "being read" in find(check(unit.settings), "SLOT", "ok").message,
            what="the slot is read",
        )
    monkeypatch.setattr(checks, "_BEHIND", 0)
    unit.execute("select pg_logical_emit_message(true, 'x', 'x')")
    assert "behind" in find(check(unit.settings), "SLOT", "warning").message


def test_another_server_in_its_place(unit: Unit) -> None:
    unit.initialise()
    front = open_front(unit.settings.front, unit.settings.agent)
    known = front.stored_state()
    assert known is not None
    front.update_state(identity={**known["identity"], "system_id": "1"})
    front.engine.dispose()
    assert "SOURCE_REPLACED" in wrong(check(unit.settings))


# ---- front end


def test_a_front_end_that_belongs_to_another(unit: Unit) -> None:
    unit.initialise()
    stated(unit, "state", agent_name="other")
    assert "FRONT_REPLACED" in wrong(check(unit.settings))


def test_a_run_of_init_that_did_not_end(unit: Unit) -> None:
    unit.initialise()
    stated(unit, "state", initialised=0)
    assert "broke off" in find(check(unit.settings), "NOT_INITIALISED", "error").message


def test_tables_added_or_suspended(unit: Unit) -> None:
    unit.initialise()
    # It is copying
    assert "TABLE_SUSPENDED" not in {finding.code for finding in check(unit.settings)}
    stated(unit, "resource", state="suspended", code="READ_REFUSED")
    assert "READ_REFUSED" in find(check(unit.settings), "TABLE_SUSPENDED", "warning").message
    unit.execute("create table later (id int primary key)")
    unit.share(PERSON, {"name": "later", "table": "public.later", "columns": ["id"]})
    assert "RESOURCE_ADDED" in wrong(check(unit.settings))
    assert find(check(unit.settings), "RESOURCE_ADDED", "error").fix == "sync-agent init --apply"


def test_a_front_table_that_went_missing(unit: Unit) -> None:
    """init makes it, the service fills it."""
    unit.initialise()
    with open_front(unit.settings.front, unit.settings.agent).engine.begin() as connection:
        connection.exec_driver_sql('drop table "人员"')
    assert find(check(unit.settings), "FRONT_TABLE", "error").fix == "sync-agent init --apply"


def test_a_front_table_that_does_not_fit(unit: Unit) -> None:
    unit.initialise()
    with open_front(unit.settings.front, unit.settings.agent).engine.begin() as connection:
        connection.exec_driver_sql('drop table "人员"')
        connection.exec_driver_sql('create table "人员" (id integer primary key)')
    assert "FRONT_TABLE_WRONG" in wrong(check(unit.settings))


def test_a_front_end_file_that_is_no_database(unit: Unit) -> None:
    unit.initialise()
    file = front_checks.file_of(unit.settings.front.url)
    assert file is not None
    for path in file.parent.glob("front.db*"):
        path.unlink()
    file.write_bytes(b"this is no database, whatever its name says" * 100)
    assert "FRONT_DAMAGED" in wrong(check(unit.settings))


@pytest.mark.parametrize(
    ("free", "level"), [(100 << 30, "ok"), (1 << 30, "warning"), (1 << 20, "error")]
)
def test_room_on_the_disk(
    source: Unit, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    front = front_checks.FrontCheck(source.settings)
    front.open()
    find(front.findings, "FRONT_DISK", level)


# ---- Kafka


def run_command(command: str) -> None:
    """Does what a printed command says, with another client.

    Kafka's own scripts are not among the jars of the tests.
    """
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for option in (
        "--bootstrap-server",
        "--topic",
        "--entity-type",
        "--entity-name",
        "--add-config",
    ):
        parser.add_argument(option)
    for option in ("--partitions", "--replication-factor"):
        parser.add_argument(option, type=int)
    parser.add_argument("--config", action="append", default=[])
    for option in ("--create", "--alter"):
        parser.add_argument(option, action="store_true")
    script, *words = shlex.split(command)
    given = parser.parse_args(words)
    admin = KafkaAddress(given.bootstrap_server).admin
    futures: list[Future[Any]] = []
    if script == "kafka-topics.sh":
        assert given.create
        settings = dict(pair.split("=") for pair in given.config)
        futures += admin.create_topics(
            [NewTopic(given.topic, given.partitions, given.replication_factor, config=settings)]
        ).values()
    else:
        assert (script, given.alter, given.entity_type) == ("kafka-configs.sh", True, "topics")
        pairs = [pair.split("=") for pair in given.add_config.split(",")]
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in pairs
        ]
        futures += admin.incremental_alter_configs(
            [
                ConfigResource(
                    ConfigResource.Type.TOPIC, given.entity_name, incremental_configs=entries
                )
            ]
        ).values()
    for future in futures:
        future.result(PATIENCE)


def test_topics_are_made_by_the_commands_of_their_findings(unit: Unit) -> None:
    for finding in check(unit.settings):
        if finding.code == "TOPIC_MISSING":
            run_command(finding.fix)

    def levels() -> list[str]:
        return [
            finding.level for finding in check(unit.settings) if finding.code.startswith("TOPIC")
        ]

    eventually(lambda: levels() == ["ok", "ok"], what="the topics are known everywhere")
    unit.initialise()


def test_a_topic_that_takes_too_little_is_repaired_by_the_command_of_its_finding(
    unit: Unit,
) -> None:
    unit.initialise()
    unit.change(kafka={"max_event_bytes": 3_000_000})
    run_command(find(check(unit.settings), "TOPIC_LIMIT", "error").fix)
    eventually(lambda: wrong(check(unit.settings)) == set(), what="the topic's new settings hold")


def test_a_topic_that_went_missing_is_an_error(unit: Unit) -> None:
    unit.initialise()
    unit.share(PERSON | {"topic": f"{unit.settings.kafka.prefix}.other"})
    find(check(unit.settings), "TOPIC_MISSING", "error")


def topic(unit: Unit, name: str, partitions: int, **settings: str) -> Finding:
    described = TopicDescription(
        "id", partitions, {}, {key.replace("_", "."): value for key, value in settings.items()}
    )
    return kafka_checks._topic(
        unit.settings.kafka, unit.settings.topics, name, described, initialised=True
    )


def test_topics_that_will_not_do(source: Unit) -> None:
    name = source.settings.state_topic
    assert topic(source, name, 1, cleanup_policy="delete").fix.startswith("kafka-configs.sh")
    assert topic(source, name, 3, cleanup_policy="compact").level == "error"
    assert topic(source, "source.person", 3, cleanup_policy="compact").level == "error"
    unreadable = topic(source, "source.person", 3)
    assert unreadable.level == "warning"
    assert "DescribeConfigs" in unreadable.fix


def test_a_kafka_user_whose_password_is_missing(unit: Unit) -> None:
    unit.change(kafka={"sasl": {"user": "u", "password": {"file": "/nonexistent/password"}}})
    findings = kafka_checks.check_kafka(unit.settings.kafka, unit.settings.topics, "")
    assert any(
        finding.level == "error" and "/nonexistent/password" in finding.message
        for finding in findings
    )


# ---- this host


def test_the_disk_of_the_source(tmp_path: Path) -> None:
    assert service_checks.check_disk(None) == []
    ok = find(service_checks.check_disk(str(tmp_path)), "SOURCE_DISK", "ok")
    assert str(tmp_path) in ok.message
    gone = find(service_checks.check_disk(str(tmp_path / "gone")), "SOURCE_DISK", "error")
    assert "No such file" in gone.message
    assert gone.fix


@pytest.fixture
def taken() -> Iterator[str]:
    """Yields an address another program listens at."""
    with socket.create_server((HOST, 0)) as other:
        yield f"{HOST}:{other.getsockname()[1]}"


def test_a_listen_address_that_is_taken(
    source: Unit, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_checks, "_SECONDS", 0.1)
    source.change(service={"listen": taken})
    findings = service_checks.check_service(source.settings.service, source.settings.agent)
    assert find(findings, "LISTEN", "error").fix


def test_a_listen_address_held_by_this_very_agent(source: Unit) -> None:
    for agent, level in ((source.settings.agent, "ok"), ("other", "error")):
        listen = f"{HOST}:{free_port()}"
        source.change(service={"listen": listen})
        with HealthServer(listen, agent, Metrics("tax", [])):
            settings = source.settings
            found = service_checks.check_service(settings.service, settings.agent)
            find(found, "LISTEN", level)


# ---- front-end tables belong to others, too


def test_what_can_change_or_refuse_rows_is_a_warning(unit: Unit) -> None:
    """The warning comes with the statement that removes the cause; init reports the same.

    After the statement the table holds every row exactly again.
    """
    unit.initialise()
    front = open_front(unit.settings.front, unit.settings.agent)
    with front.engine.begin() as connection:
        connection.exec_driver_sql(
            'CREATE TRIGGER swallow BEFORE INSERT ON "人员" BEGIN SELECT RAISE(IGNORE); END'
        )
    found = check(unit.settings)
    trigger = find(found, "FRONT_TABLE", "warning")
    assert "trigger swallow" in trigger.message
    assert ("FRONT_TABLE", "ok") not in {(f.code, f.level) for f in found}
    assert any("trigger swallow" in line for line in unit.initialise())
    with front.engine.begin() as connection:
        connection.exec_driver_sql(trigger.fix)
    assert "every row" in find(check(unit.settings), "FRONT_TABLE", "ok").message
    front.engine.dispose()


def test_a_table_too_wide_for_the_front_end_is_said_before_anything_is_made(
    unit: Unit, mariadb_database: str
) -> None:
    """By check and by init; the front end is empty afterwards, and there is no slot."""
    columns = [f"c{n}" for n in range(300)]
    unit.execute(
        f"CREATE TABLE wide (id int primary key, {', '.join(f'{c} text' for c in columns)})"
    )
    unit.change(front={"url": mariadb_database.replace("mariadb:", "mariadb+pymysql:")})
    unit.share({"name": "wide", "table": "public.wide", "columns": ["id", *columns]})
    assert "share fewer" in find(check(unit.settings), "FRONT_TABLE_WRONG", "error").message
    with pytest.raises(FrontTableWrong, match="share fewer"):
        unit.initialise()
    assert unit.slots() == 0
    front = open_front(unit.settings.front, unit.settings.agent)
    with front.engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
