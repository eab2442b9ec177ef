"""Tests that init --apply makes everything, once, in an order that leaves nothing half done.

It refuses what it cannot keep its promise for.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import inspect, select, update

from agent.connectors.postgres import slot
from agent.connectors.postgres.setup import preparation, stream
from agent.connectors.postgres.setup.postgres import PostgresSetup
from agent.errors import (
    AgentError,
    AlreadyRunning,
    AnotherAgent,
    FrontReplaced,
    FrontTableWrong,
    InitRefused,
    KafkaRefused,
    KafkaUnreachable,
    LoginRefused,
)
from agent.front.opening import open_front
from agent.front.schema import AgentTables
from agent.front.store import SqlFront
from agent.preflight import initialise as module
from agent.preflight.rebinding import rebind
from agent.publish import topics
from agent.publish.state import loads
from agent.publish.topics import broker, describe
from agent.service.health import HealthServer
from agent.service.metrics import Metrics
from tests.preflight.conftest import PERSON, TABLE, Unit
from tests.services.postgres import PostgresServer
from tests.services.processes import HOST, free_port

PUBLICATION = "select count(*) from pg_publication"


def state(unit: Unit) -> dict[str, Any]:
    front = open_front(unit.settings.front, unit.settings.agent)
    stored = front.stored_state()
    front.engine.dispose()
    return dict(stored or {})


def states(unit: Unit) -> dict[str, str]:
    front = open_front(unit.settings.front, unit.settings.agent)
    rows = front.own.resource
    with front.engine.begin() as connection:
        return {
            row.name: row.state for row in connection.execute(select(rows.c.name, rows.c.state))
        }


def stated(unit: Unit, **values: object) -> None:
    """Changes what the front end says of the resources."""
    front = open_front(unit.settings.front, unit.settings.agent)
    with front.engine.begin() as connection:
        connection.execute(update(front.own.resource).values(**values))


def refused(unit: Unit, **arguments: Any) -> str:
    with pytest.raises(InitRefused) as caught:
        unit.initialise(**arguments)
    return caught.value.text("en")


def test_everything_is_made_and_a_second_run_changes_nothing(any_unit: Unit) -> None:
    any_unit.initialise()
    first = state(any_unit)
    source, made = any_unit.settings.postgres, first["identity"]
    assert (first["initialised"], first["epoch"], made["slot"]) == (
        1,
        0,
        any_unit.settings.postgres.slot,
    )
    assert first["position"] == any_unit.value(
        "select confirmed_flush_lsn::text from pg_replication_slots "
        "where database = current_database()"
    )
    assert made["system_id"] == str(
        any_unit.value("select system_identifier from pg_control_system()")
    )
    assert (
        first["source_id"]
        == f"{made['system_id']}/{source.database}/{made['slot']}/{first['agent_uuid']}"
    )
    assert first["position_time_us"] > 0
    assert any_unit.slots() == 1
    assert all(describe(any_unit.settings.kafka, any_unit.settings.topics).values())
    told = any_unit.initialise()
    assert "initialised already" in told[0]
    assert state(any_unit) == first
    assert any_unit.slots() == 1


def test_the_first_state_record_is_of_this_agent(unit: Unit) -> None:
    unit.initialise()
    stored = state(unit)
    value = (
        broker(unit.settings.kafka, unit.settings.state_topic, stored["agent_uuid"])
        .states(10**9)
        .visible
    )
    assert value is not None
    record = loads(value)
    assert (record.agent, record.epoch, record.nonce, record.number) == (
        stored["agent_uuid"],
        0,
        stored["nonce"],
        0,
    )


def test_a_front_end_in_postgres(unit: Unit) -> None:
    unit.execute("create schema front")
    source = unit.settings.postgres
    unit.change(
        front={
            "url": f"postgresql+psycopg://{source.user}@{source.host}:{source.port}/{source.database}"
        }
    )
    unit.share(PERSON | {"target": "front.person"})
    unit.initialise()
    assert state(unit)["initialised"] == 1
    assert unit.value("select count(*) from front.person") == 0
    assert unit.initialise()


# ---- what stands in the way at the source


def test_a_table_may_hold_rows(any_unit: Unit) -> None:
    """The service copies them: every table begins as copying."""
    any_unit.execute("""insert into "人员" values (1)""")
    any_unit.initialise()
    assert any_unit.slots() == 1
    assert states(any_unit) == {"person": "copying"}


def test_a_transaction_that_holds_up_the_slot_is_named(
    any_unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SLOT_SECONDS", 1.0)
    with psycopg.connect(any_unit.conninfo, application_name="long report") as other:
        other.execute("select pg_current_xact_id()")
        text = refused(any_unit)
        assert "within 1 s" in text
        assert f"{other.info.backend_pid}  long report" in text
        assert any_unit.slots() == 0
    any_unit.initialise()


def test_an_interrupt_while_waiting_leaves_no_slot(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(pgconn: Any, timeout: float) -> bool:
        monkeypatch.setattr(slot, "_wait", wait)
        raise KeyboardInterrupt

    wait = slot._wait
    monkeypatch.setattr(slot, "_wait", interrupt)
    with psycopg.connect(unit.conninfo) as other:
        other.execute("select pg_current_xact_id()")
        with pytest.raises(KeyboardInterrupt):
            unit.initialise()
    assert unit.slots() == 0


def test_an_interrupt_that_comes_too_late_drops_the_slot(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(pgconn: Any, timeout: float) -> bool:
        monkeypatch.setattr(slot, "_wait", wait)
        assert wait(pgconn, 30.0)
        raise KeyboardInterrupt

    wait = slot._wait
    monkeypatch.setattr(slot, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unit.initialise()
    assert unit.slots() == 0


def test_a_slot_that_exists_already_is_refused_with_the_way_out(any_unit: Unit) -> None:
    name = any_unit.settings.postgres.slot
    any_unit.execute(f"select pg_create_logical_replication_slot('{name}', 'pgoutput')")
    text = refused(any_unit)
    fix = f"SELECT pg_drop_replication_slot('{any_unit.settings.postgres.slot}')"
    assert fix in text
    assert state(any_unit) == {}
    any_unit.execute(fix)
    any_unit.initialise()


def test_a_slot_of_another_database_is_in_the_way_too(unit: Unit) -> None:
    with psycopg.connect(unit.conninfo, dbname="postgres", autocommit=True) as elsewhere:
        elsewhere.execute(
            "select pg_create_logical_replication_slot(%s, 'pgoutput')",
            (unit.settings.postgres.slot,),
        )
        try:
            assert "pg_drop_replication_slot" in refused(unit)
        finally:
            elsewhere.execute("select pg_drop_replication_slot(%s)", (unit.settings.postgres.slot,))


def test_a_table_that_cannot_be_shared_is_refused_before_anything_is_made(any_unit: Unit) -> None:
    any_unit.execute("""alter table "人员" replica identity nothing""")
    text = refused(any_unit)
    assert "IDENTITY_NOTHING" in text
    assert 'ALTER TABLE "public"."人员" REPLICA IDENTITY DEFAULT;' in text
    assert (any_unit.slots(), any_unit.value(PUBLICATION), state(any_unit)) == (0, 0, {})
    assert not any(describe(any_unit.settings.kafka, any_unit.settings.topics).values())


def test_an_existing_publication_is_judged_and_never_changed(any_unit: Unit) -> None:
    any_unit.execute(
        f"""create publication {any_unit.settings.postgres.publication} for table "人员" (id)"""
    )
    text = refused(any_unit)
    assert "PUBLICATION_COLUMNS" in text
    assert any_unit.value("select prattrs is not null from pg_publication_rel") is True
    any_unit.execute(f"drop publication {any_unit.settings.postgres.publication}")
    any_unit.execute(
        f"create publication {any_unit.settings.postgres.publication} "
        'for table "人员" with (publish_via_partition_root)'
    )
    assert any("exists and fits" in line for line in any_unit.initialise())


def test_a_server_without_logical_log_is_refused(unit: Unit) -> None:
    with PostgresServer.start(18, {"wal_level": "replica", "max_replication_slots": 0}) as server:
        unit.change(source={"port": server.port, "database": "postgres"})
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(TABLE)
        text = refused(unit)
    assert "WAL_LEVEL" in text
    assert "ALTER SYSTEM SET wal_level = logical;" in text
    assert "SLOTS_LEFT" in text


def test_without_a_limit_for_the_slots_log_init_warns(unit: Unit) -> None:
    assert any(line.startswith("Warning: max_slot_wal_keep_size") for line in unit.initialise())


# ---- the agent's own side


def test_a_running_agent_is_not_disturbed(unit: Unit) -> None:
    """It is told apart from a stranger: by its answer at the configured address."""
    unit.change(service={"listen": f"{HOST}:{free_port()}"}).initialise()
    front = open_front(unit.settings.front, unit.settings.agent)
    front.open("nonce")
    try:
        with pytest.raises(AnotherAgent):
            unit.initialise()
        listen, agent = unit.settings.service.listen, unit.settings.agent
        with HealthServer(listen, agent, Metrics("tax", ["person"])):
            with pytest.raises(AlreadyRunning) as running:
                rebind(unit.settings, unit.told.append, "upgrade")
            assert f"systemctl stop sync-agent@{agent}" in running.value.advice("en")
    finally:
        front.close()


def test_beside_the_running_service_only_what_is_new_is_made(unit: Unit) -> None:
    """What the service works with is nobody else's: a lost front-end table needs it stopped."""
    unit.change(service={"listen": f"{HOST}:{free_port()}"})
    with HealthServer(
        unit.settings.service.listen, unit.settings.agent, Metrics("tax", ["person"])
    ):
        unit.initialise()
        unit.execute("create table later (id int primary key)")
        unit.share(PERSON, {"name": "later", "table": "public.later", "columns": ["id"]})
        held = open_front(unit.settings.front, unit.settings.agent)
        held.open("nonce")
        try:
            assert any("systemctl reload" in line for line in unit.initialise())
            assert states(unit) == {"person": "copying", "later": "copying"}
            with held.engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE later")
            with pytest.raises(AlreadyRunning):
                unit.initialise()
        finally:
            held.close()


def test_a_table_added_later_is_made_and_copied(unit: Unit) -> None:
    """The publication carries the table, and its front-end table and topic are made.

    The tables before it stay as they are.
    """
    unit.initialise()
    stated(unit, state="live")
    unit.execute("create table later (id int primary key)")
    unit.share(PERSON, {"name": "later", "table": "public.later", "columns": ["id"]})
    assert any("Added: later" in line for line in unit.initialise())
    assert states(unit) == {"person": "live", "later": "copying"}
    assert inspect(open_front(unit.settings.front, unit.settings.agent).engine).has_table("later")
    assert unit.value("select count(*) from pg_publication_rel") == 2
    assert all(describe(unit.settings.kafka, unit.settings.topics).values())
    assert unit.slots() == 1


def test_a_slot_that_is_gone_is_made_anew_and_every_table_copied(unit: Unit) -> None:
    """What was known of the stream is forgotten.

    Who the agent is, and what it has published, stays.
    """
    unit.initialise()
    stated(unit, state="live")
    before = state(unit)
    unit.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
        "where database = current_database()"
    )
    assert any("created anew" in line for line in unit.initialise())
    after = state(unit)
    assert unit.slots() == 1
    assert states(unit) == {"person": "copying"}
    assert (after["agent_uuid"], after["source_id"], after["number"]) == (
        before["agent_uuid"],
        before["source_id"],
        before["number"],
    )
    assert after["commit_position"] == ""


def test_an_unchanged_server_is_not_rebound(unit: Unit) -> None:
    unit.initialise()
    with pytest.raises(InitRefused, match="nothing to rebind"):
        rebind(unit.settings, lambda line: None, "upgrade")


def test_an_upgraded_server_is_rebound_and_every_table_copied(unit: Unit) -> None:
    """Another system identifier, as after pg_upgrade; the slot is there."""
    unit.initialise()
    stated(unit, state="live")
    made = state(unit)["identity"]
    before = {**made, "system_id": "before the upgrade"}
    open_front(unit.settings.front, unit.settings.agent).update_state(identity=before)
    rebind(unit.settings, lambda line: None, "upgrade")
    assert state(unit)["identity"] == made
    assert states(unit) == {"person": "copying"}


def test_another_topic_is_refused(unit: Unit) -> None:
    unit.initialise()
    unit.share(PERSON | {"topic": "elsewhere"})
    assert "published to topic" in refused(unit)


def test_another_agents_state_is_refused(unit: Unit) -> None:
    unit.initialise()
    open_front(unit.settings.front, unit.settings.agent).update_state(agent_name="other")
    with pytest.raises(FrontReplaced):
        unit.initialise()


def test_another_slot_is_refused(unit: Unit) -> None:
    unit.initialise()
    unit.change(source={"slot": "other"})
    with pytest.raises(FrontReplaced):
        unit.initialise()


def test_a_front_table_that_does_not_fit_is_refused_before_the_slot(unit: Unit) -> None:
    front = open_front(unit.settings.front, unit.settings.agent)
    with front.engine.begin() as connection:
        connection.exec_driver_sql('create table "人员" (id integer primary key)')
    with pytest.raises(FrontTableWrong) as wrong:
        unit.initialise()
    assert 'ALTER TABLE "人员" ADD COLUMN "姓名" TEXT;' in str(wrong.value)
    plan = "\n".join(unit.initialise(apply=False))
    assert str(wrong.value) in plan
    assert "CREATE TABLE" not in plan
    assert unit.slots() == 0


def drop_front_table(unit: Unit) -> None:
    with open_front(unit.settings.front, unit.settings.agent).engine.begin() as connection:
        connection.exec_driver_sql('drop table "人员"')


def test_a_front_table_that_never_held_a_row_is_made_again(unit: Unit) -> None:
    unit.initialise()
    drop_front_table(unit)
    unit.initialise()
    assert inspect(open_front(unit.settings.front, unit.settings.agent).engine).has_table("人员")


def test_a_front_table_that_held_rows_is_made_again_and_filled(unit: Unit) -> None:
    """An empty one in its place differs from the source: it is copied."""
    unit.initialise()
    stated(unit, state="live", seq=1)
    drop_front_table(unit)
    unit.initialise()
    assert states(unit) == {"person": "copying"}


# ---- interrupted anywhere, it goes on


def test_what_kafka_answers_for_a_fresh_topic_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy broker does not know a topic, or who leads it, for its first seconds.

    That is no refusal.
    """
    monkeypatch.setattr(topics, "_AGAIN", 0.0)
    answers: list[AgentError] = [
        KafkaUnreachable(address="k", reason=name) for name in ("NotLeader", "UnknownTopic")
    ]

    def asked() -> str:
        if answers:
            raise answers.pop()
        return "answered"

    assert topics.settled(asked) == "answered"
    answers.append(KafkaUnreachable(address="k", reason="away"))
    with pytest.raises(KafkaUnreachable, match="away"):
        topics.settled(asked, patience=-1.0)
    answers.append(KafkaRefused(reason="right"))
    with pytest.raises(KafkaRefused):
        topics.settled(asked)


def fail(*arguments: Any, **values: Any) -> Any:
    raise AgentError(detail="interrupted")


STEPS: dict[str, tuple[object, str]] = {
    "front tables": (module._Init, "_make_tables"),
    "topics": (module, "create_topics"),
    "state record": (module, "write_first_state"),
    "publication": (preparation, "make_publication"),
    "slot": (stream, "_create"),
    "position": (SqlFront, "update_state"),
}


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_run_is_continued(unit: Unit, step: str) -> None:
    place, name = STEPS[step]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, fail)
        with pytest.raises(AgentError):
            unit.initialise()
    before = state(unit)
    assert (before["initialised"], before["position"]) == (0, "")
    assert unit.slots() == 0
    unit.initialise()
    after = state(unit)
    assert (after["initialised"], after["agent_uuid"]) == (1, before["agent_uuid"])
    assert unit.slots() == 1


def test_the_configuration_may_change_before_init_has_ended(unit: Unit) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "make_publication", fail)
        with pytest.raises(AgentError):
            unit.initialise()
    unit.share(PERSON | {"topic": f"{unit.settings.kafka.prefix}.changed"})
    unit.initialise()
    assert unit.initialise()


def test_killed_between_slot_and_position_it_asks_for_the_slot_to_be_dropped(unit: Unit) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlFront, "update_state", fail)
        patch.setattr(slot, "drop", lambda *arguments: None)
        with pytest.raises(AgentError):
            unit.initialise()
    assert unit.slots() == 1
    text = refused(unit)
    unit.execute(text.splitlines()[-1])
    unit.initialise()


# ---- rights


@pytest.fixture
def role(unit: Unit) -> Iterator[str]:
    """Yields the name of a role that does not exist yet."""
    name = f"{unit.settings.agent}_role"
    yield name
    unit.execute(
        f"do $$ begin if exists (select from pg_roles where rolname = '{name}') "
        f'then drop owned by "{name}"; end if; end $$',
        f'drop role if exists "{name}"',
    )


def as_role(unit: Unit, role: str, query: str) -> Any:
    with psycopg.connect(unit.conninfo, user=role, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def test_the_statements_init_prints_are_enough(unit: Unit, role: str) -> None:
    """The owner runs them as printed; then the agent alone does the rest and reads.

    It reads no column that is not listed.
    """
    unit.change(source={"user": role})
    unit.execute(
        "create schema hr", "create table hr.post (id int primary key, title text, hidden text)"
    )
    unit.share(
        PERSON,
        {
            "name": "post",
            "table": "hr.post",
            "columns": ["id"],
            "filter": [{"column": "title", "is_null": False}],
        },
    )
    told = unit.initialise(apply=False)
    printed = [
        line.strip().partition("  --")[0]
        for line in told
        if line.strip().startswith(("CREATE ROLE", "GRANT", "CREATE PUBLICATION"))
    ]
    assert len(printed) == 7
    unit.execute(f"revoke connect on database {unit.settings.postgres.database} from public")
    unit.execute(*printed)
    unit.initialise()
    unit.execute("""insert into "人员" values (1, '张三', 'x')""")
    assert as_role(unit, role, """select id, "姓名" from "人员" """) == [(1, "张三")]
    assert as_role(unit, role, "select id, title from hr.post") == []
    options = f"'proto_version', '1', 'publication_names', '{unit.settings.postgres.publication}'"
    slot = unit.settings.postgres.slot
    peek = (
        f"select count(*) from pg_logical_slot_peek_binary_changes('{slot}', null, null, {options})"
    )
    assert as_role(unit, role, peek)[0][0] > 0
    for forbidden in (
        """select secret from "人员" """,
        "select hidden from hr.post",
        "delete from hr.post",
        "create table t (id int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(unit, role, forbidden)


def test_the_administrator_makes_role_grants_and_publication(unit: Unit, role: str) -> None:
    secret = unit.folder / "password"
    secret.write_text("geheim")
    unit.change(source={"user": role, "password": {"file": str(secret)}})
    told = unit.initialise(admin_url=unit.conninfo)
    assert "geheim" not in "".join(told)
    assert unit.value(f"select rolpassword from pg_authid where rolname = '{role}'").startswith(
        "SCRAM-SHA-256$"
    )
    assert unit.value(
        "select rolreplication and not rolsuper and not rolcreatedb from pg_roles "
        f"where rolname = '{role}'"
    )
    assert state(unit)["initialised"] == 1
    assert unit.value("select pubowner::regrole::text from pg_publication") != role
    assert unit.initialise(admin_url=unit.conninfo)


def test_the_administrator_gives_an_existing_role_what_it_lacks(unit: Unit, role: str) -> None:
    unit.execute(f'create role "{role}" login')
    unit.change(source={"user": role})
    text = refused(unit)
    assert f'ALTER ROLE "{role}" LOGIN REPLICATION;' in text
    assert "RIGHT_SELECT" in text
    unit.initialise(admin_url=unit.conninfo)


def test_without_the_right_to_publish_the_owner_is_told_what_to_run(unit: Unit, role: str) -> None:
    unit.execute(
        f'create role "{role}" login replication',
        f'grant select (id, "姓名") on "人员" to "{role}"',
    )
    unit.change(source={"user": role})
    text = refused(unit)
    assert "SQLSTATE 42501" in text
    unit.execute(text.splitlines()[-1])
    unit.initialise()


def test_row_level_security_is_refused_until_the_role_may_pass_it(unit: Unit, role: str) -> None:
    unit.execute(
        f'create role "{role}" login replication',
        f'grant select (id, "姓名") on "人员" to "{role}"',
        'alter table "人员" enable row level security',
    )
    unit.change(source={"user": role})
    text = refused(unit)
    assert "ROW_SECURITY" in text
    unit.execute(text.splitlines()[-1])
    assert "SQLSTATE 42501" in refused(unit)  # the publication, which comes after


def test_a_role_that_does_not_exist_is_refused_without_an_administrator(
    unit: Unit, role: str
) -> None:
    unit.change(source={"user": role})
    with pytest.raises(LoginRefused):
        unit.initialise()


@pytest.mark.parametrize("url", ["postgresql://nobody_at_all@127.0.0.1:1/x", "not a url"])
def test_an_administrator_who_cannot_connect(unit: Unit, url: str) -> None:
    assert "--as: the connection fails" in refused(unit, admin_url=url)


def test_an_administrator_of_another_database_or_server(unit: Unit, postgres15: Any) -> None:
    with psycopg.connect(unit.conninfo) as connection:
        assert "--as leads to database postgres" in refused(
            unit, admin_url=connection.info.dsn.replace(connection.info.dbname, "postgres")
        )
        other = postgres15.dsn("postgres")
        name = connection.info.dbname
    with psycopg.connect(other, autocommit=True) as elsewhere:
        elsewhere.execute(f"create database {name}".encode())
        try:
            assert "another server" in refused(unit, admin_url=postgres15.dsn(name))
        finally:
            elsewhere.execute(f"drop database {name} with (force)".encode())


# ---- the plan


def test_the_plan_changes_nothing_and_shows_everything(any_unit: Unit) -> None:
    any_unit.settings = any_unit.settings.model_copy(
        update={"state_directory": str(any_unit.folder / "new")}
    )
    text = "\n".join(any_unit.initialise(apply=False))
    assert (
        f'CREATE PUBLICATION "{any_unit.settings.postgres.publication}" '
        'FOR TABLE ONLY "public"."人员" WITH (publish_via_partition_root = true);' in text
    )
    assert 'CREATE TABLE "人员" (' in text
    assert f"--create --topic {any_unit.settings.state_topic} --partitions 1" in text
    assert f"sync_agent_{any_unit.settings.agent}_state" in text
    assert any_unit.settings.postgres.slot in text
    assert (any_unit.slots(), any_unit.value(PUBLICATION)) == (0, 0)
    assert not (any_unit.folder / "new").exists()
    assert not any(describe(any_unit.settings.kafka, any_unit.settings.topics).values())


def test_the_plan_of_a_source_that_does_not_answer(source: Unit) -> None:
    source.change(source={"port": 1}).share(PERSON)
    text = "\n".join(source.initialise(apply=False))
    assert "cannot be asked yet" in text
    assert "CREATE ROLE" in text
    assert 'GRANT SELECT ("id", "姓名") ON TABLE "public"."人员"' in text
    assert "shown once the business database answers" in text


def test_the_plan_names_what_has_to_be_repaired(source: Unit) -> None:
    source.share(PERSON).execute("""create table "人员" (id int, "姓名" text)""")
    text = "\n".join(source.initialise(apply=False, admin_url=source.conninfo))
    assert "KEY_MISSING" in text
    assert "SLOT_LIMIT" in text


def test_the_plan_after_init_shows_what_is_there(unit: Unit) -> None:
    unit.initialise()
    text = "\n".join(unit.initialise(apply=False))
    assert "CREATE" not in text
    assert "--create" not in text
    settings = unit.settings
    own = ", ".join(AgentTables(settings.agent).metadata.tables)
    topics = (settings.topic(settings.resource[0]), settings.state_topic)
    for name in (
        f"publication {settings.postgres.publication}",
        settings.postgres.slot,
        own,
        "人员",
        *topics,
    ):
        assert f"{name}: there" in text
    unit.change(front={"url": "postgresql+psycopg://somebody@127.0.0.1:1/front"})
    assert 'PRIMARY KEY ("id")' in "\n".join(unit.initialise(apply=False))


def test_an_administrator_is_for_sources_that_know_one(
    source: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresSetup, "administered", False)
    for apply in (False, True):
        with pytest.raises(InitRefused, match="--as"):
            source.initialise("postgresql://admin@127.0.0.1/d", apply)
