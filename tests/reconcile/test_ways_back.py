"""The ways back: after a lost slot, and after an upgrade of the server."""

from confluent_kafka.admin import AdminClient

from tests.agent_process import Agent, Installation, knows
from tests.reconcile.system import (
    Ground,
    copied,
    equal,
    events,
    execute,
    operations,
    verified,
    wait_state,
)
from tests.reconcile.tables import INTEGERS, TEXTS, numbered
from tests.waiting import PATIENCE, eventually

HALTED = 78


def drop_slot(place: Installation) -> bool:
    """Takes the slot from under the service, whoever reads it."""
    execute(
        place.source,
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
        "WHERE slot_name = %s AND active_pid IS NOT NULL",
        place.slot,
    )
    execute(
        place.source,
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
        "WHERE slot_name = %s AND active_pid IS NULL",
        place.slot,
    )
    return (
        execute(place.source, "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", place.slot)
        == []
    )


def assert_halted(agent: Agent, code: str) -> None:
    """The service has ended for good and says why."""
    assert agent.wait() == HALTED, agent.log[-3000:]
    assert f" code={code} " in agent.log


def test_a_slot_dropped_under_the_service(each_ground: Ground) -> None:
    """`init --apply` makes a new one; what was missed is found, and nothing else is published."""
    place = each_ground.installed([INTEGERS, TEXTS], rows=300, before=numbered(1, 100))
    with place.start(covered=True) as agent:
        wait_state(place, agent, "live")
        equal(place)
        eventually(lambda: drop_slot(place), what="the slot is dropped", interval=0)
        assert_halted(agent, "SLOT_MISSING")
    before = operations(place, INTEGERS), operations(place, TEXTS)
    execute(place.source, """UPDATE "业务"."整数" SET "值" = '改' WHERE "编号" BETWEEN 1 AND 5""")
    execute(place.source, 'DELETE FROM "业务"."整数" WHERE "编号" BETWEEN 6 AND 9')
    numbered(101, 103)(place.source)
    assert place.slot in place.init()
    with place.start() as agent:
        wait_state(place, agent, "live")
        verified(place)
        equal(place)
        assert operations(place, INTEGERS) - before[0] == {"u": 5, "d": 4, "r": 3}
        assert operations(place, TEXTS) == before[1]


def test_a_lost_state_record(each_ground: Ground) -> None:
    """The state topic is deleted, and the halt names the way back.

    On it every topic begins a new generation, and keys that only a topic has are deleted.
    """
    place = each_ground.installed([INTEGERS, TEXTS], rows=200, before=numbered(1, 100))
    with place.start(covered=True) as agent:
        copied(place, agent)
        eventually(place.caught_up, 60, "all is published", 0.2)
        agent.stop()
    admin = AdminClient({"bootstrap.servers": place.bootstrap, "log_level": 0})
    admin.delete_topics([place.state_topic], operation_timeout=10)[place.state_topic].result(
        PATIENCE
    )
    execute(place.source, 'DELETE FROM "业务"."整数" WHERE "编号" BETWEEN 6 AND 9')
    numbered(101, 103)(place.source)
    with place.start(covered=True) as agent:
        assert_halted(agent, "STATE_LOST")
    assert "rebind --after-restore" in agent.log
    place.command("rebind", "--after-restore")
    with place.start() as agent:
        until = copied(place, agent)
        equal(place, until=until)
        found = [event for _, event in events(place, INTEGERS) if event.generation == 2]
        rows = execute(place.source, 'SELECT "编号" FROM "业务"."整数"')
        assert sum(event.op == "r" for event in found) == len(rows)
        numbered(104, 110)(place.source)
        equal(place, until=until)


def test_a_server_upgraded(ground: Ground) -> None:
    """The halt names the way back.

    `rebind` accepts the server, and every table is compared; a second time there is nothing to
    accept.
    """
    place = ground.installed([INTEGERS, TEXTS], rows=200)
    with place.start(covered=True) as agent:
        wait_state(place, agent, "live")
        equal(place)
        agent.stop()
    before = operations(place, INTEGERS)
    knows(place.places.front, system_id="7000000000000000000")
    numbered(1, 3)(place.source)
    with place.start(covered=True) as agent:
        assert_halted(agent, "SOURCE_REPLACED")
    place.command("rebind", "--after-upgrade")
    with place.start(covered=True) as agent:
        wait_state(place, agent, "live")
        verified(place)
        equal(place)
        agent.stop()
    assert (operations(place, INTEGERS) - before).total() == 3
    assert "INIT_REFUSED" in place.command("rebind", "--after-upgrade", expect=HALTED).stderr
